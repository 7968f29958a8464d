//! By how much a guest exceeds a slice of fuel.

use super::kinds::Kind;
use super::late::{Host, spawn, spawn_observer};
use crate::distribution::Distribution;
use std::time::{Duration, Instant};
use wasmtime::{Caller, Config, Engine, Preemption, Result, Slice, Store, ThreadId, format_err};

const SLICE: u64 = 10_000;

/// How long a run is, of some thousand slices.
const RUN: Duration = Duration::from_millis(50);

/// For how long to measure at most: host functions do much for little fuel.
const MOST: Duration = Duration::from_secs(2);

/// A unit of fuel counts as a nanosecond.
pub fn measure(kind: &Kind, samples: usize) -> Result<Distribution> {
    let mut config = Config::new();
    config.preemption(Preemption::Fuel);
    kind.configure(&mut config);
    let mut store = Store::new(&Engine::new(&config)?, Host::new());
    store.wasm_threads().set_slice(Slice::Fuel(SLICE))?;
    spawn(kind, &mut store)?;
    let guest = store.wasm_threads().iter().next().map(|thread| thread.id);
    let guest = guest.ok_or_else(|| format_err!("the guest has not been spawned"))?;
    spawn_observer(&mut store, move |caller| look(caller, guest))?;
    let mut overshoot = Distribution::new(kind.name)?;
    let start = Instant::now();
    while overshoot.len() < samples && start.elapsed() < MOST {
        store.run_wasm_threads_for(RUN)?;
        for used in store.data_mut().used.drain(..) {
            let over = used.saturating_sub(SLICE);
            overshoot.record(Duration::from_nanos(over), false);
        }
    }
    Ok(overshoot)
}

fn look(mut caller: Caller<'_, Host>, guest: ThreadId) {
    let Some(now) = guest.info(&caller).map(|info| info.stats.fuel_consumed) else {
        return;
    };
    let host = caller.data_mut();
    host.used.push(now - host.used_before);
    host.used_before = now;
}
