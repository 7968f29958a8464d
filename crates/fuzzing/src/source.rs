//! Preemption sources and slices.

use arbitrary::{Result, Unstructured};
use std::time::Duration;
use wasmtime::preempt::{Preemption, Slice};

/// One of the sources that this host has.
pub fn source(u: &mut Unstructured<'_>) -> Result<Preemption> {
    let timed = match Preemption::for_this_host() {
        Preemption::Signal => [Preemption::Epoch, Preemption::Signal],
        _ => [Preemption::Epoch; 2],
    };
    // Only fuel makes the same schedule each time.
    Ok(match u.int_in_range(0..=5)? {
        4 => timed[0],
        5 => timed[1],
        _ => Preemption::Fuel,
    })
}

/// A short slice, most often.
pub fn slice(source: Preemption, u: &mut Unstructured<'_>) -> Result<Slice> {
    let n: u16 = u.arbitrary()?;
    Ok(match source {
        Preemption::Fuel if n < 0x8000 => Slice::Fuel(1 + u64::from(n % 64)),
        Preemption::Fuel => Slice::Fuel(1 + u64::from(n % 5_000)),
        _ => Slice::Time(shortest(source) + Duration::from_nanos(n.into())),
    })
}

/// The shortest slice of time that it takes.
pub fn shortest(source: Preemption) -> Duration {
    match source {
        Preemption::Signal => Duration::from_micros(50),
        _ => Duration::from_nanos(1),
    }
}
