//! The clock of components in a run that can be repeated.
//!
//! Time is virtual then, and skips ahead while all threads sleep. Upstream's pollables wait for the
//! OS's clock, which the run would depend on, and after which the virtual one would still show the
//! same. So waiting for a clock is an error. What waits for no time is ready.

use super::Host;
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut, ensure};
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as Clock;

const INTERFACE: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// Replaces what waits in the monotonic clock of `linker`.
pub fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance(INTERFACE)?;
    clock.func_wrap(
        "subscribe-duration",
        |mut store: StoreContextMut<'_, Host>, (duration,): (u64,)| {
            let mut clocks = store.data_mut().clocks();
            ensure_past(duration)?;
            Ok((clocks.subscribe_duration(duration)?,))
        },
    )?;
    clock.func_wrap(
        "subscribe-instant",
        |mut store: StoreContextMut<'_, Host>, (when,): (u64,)| {
            let mut clocks = store.data_mut().clocks();
            ensure_past(when.saturating_sub(clocks.now()?))?;
            Ok((clocks.subscribe_instant(when)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn ensure_past(wait: u64) -> Result<()> {
    ensure!(
        wait == 0,
        "a component cannot sleep in a run that --seed repeats: its clock follows the fuel that \
         guests use, and components can wait for the OS's clock only; run it without --seed, with \
         a policy that needs no seed, or with slices of time"
    );
    Ok(())
}
