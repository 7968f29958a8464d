//! The sources of preemption that this host has, a test for each of them, and slices.

use std::time::Duration;
use wasmtime::Preemption;
use wasmtime::preempt::Slice;

/// Makes a test of each of these functions for each preemption source that this host
/// has, or for those in brackets only.
macro_rules! for_each_preemption {
    ([$($source:ident),* $(,)?] $($test:ident),* $(,)?) => {
        $crate::support::for_each_preemption!(@each [$($source)*] $($test)*);
    };
    (@each $sources:tt $($test:ident)*) => {
        $(mod $test {
            $crate::support::for_each_preemption!(@cases $sources $test);
        })*
    };
    (@cases [$($source:ident)*] $test:ident) => {
        $($crate::support::for_each_preemption!(@case $source $test);)*
    };
    (@case fuel $test:ident) => {
        #[test]
        fn fuel() {
            super::$test(wasmtime::Preemption::Fuel);
        }
    };
    (@case epoch $test:ident) => {
        #[test]
        fn epoch() {
            super::$test(wasmtime::Preemption::Epoch);
        }
    };
    (@case signal $test:ident) => {
        #[cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "x86_64")))]
        #[test]
        fn signal() {
            super::$test(wasmtime::Preemption::Signal);
        }
    };
    ($($test:ident),* $(,)?) => {
        $crate::support::for_each_preemption!([fuel, epoch, signal] $($test),*);
    };
}
pub(crate) use for_each_preemption;

/// The sources that this host has.
pub fn sources() -> Vec<Preemption> {
    [vec![Preemption::Fuel], timed_sources()].concat()
}

/// Those whose slices are time, and under which a thread that has the CPU to itself can
/// be interrupted.
pub fn timed_sources() -> Vec<Preemption> {
    match Preemption::for_this_host() {
        Preemption::Signal => vec![Preemption::Epoch, Preemption::Signal],
        _ => vec![Preemption::Epoch],
    }
}

/// By how many nanoseconds a slice may be too long on a busy machine, which is no
/// failure: nobody knows how busy it is.
pub const LATE: u64 = 60_000_000_000;

/// A slice which is short enough for guests that run for milliseconds to be
/// preempted often.
pub fn short_slice(preemption: Preemption) -> Slice {
    match preemption {
        Preemption::Fuel => Slice::Fuel(1_000),
        _ => Slice::Time(Duration::from_micros(200)),
    }
}

/// The shortest slice that there is.
pub fn shortest_slice(preemption: Preemption) -> Slice {
    match preemption {
        Preemption::Fuel => Slice::Fuel(1),
        Preemption::Signal => Slice::Time(Duration::from_micros(50)),
        _ => Slice::Time(Duration::from_nanos(1)),
    }
}

/// How many turns of a small loop take several of the shortest slices: those of
/// time are as long as the timer thread needs to wake up.
pub fn some_turns(preemption: Preemption) -> i32 {
    match preemption {
        Preemption::Fuel => 1_000,
        _ => 2_000_000,
    }
}
