//! The patched Wasmtime's end of the measurements.

use super::server::{Ran, serve};
use crate::served::{Build, Mode};
use std::time::Duration;
use wasmtime::{Exit, Func, Preemption, Result, Slice, Store, Val, bail};

/// Answers lines of standard input until there are no more.
pub fn run(layout: u32) -> Result<()> {
    let build = Build {
        configure: |mode, config| {
            let preemption = match mode {
                Mode::Baseline => return Ok(()),
                Mode::Fuel => Preemption::Fuel,
                Mode::Epoch => Preemption::Epoch,
                Mode::Signal => Preemption::Signal,
            };
            config.preemption(preemption);
            Ok(())
        },
        // A store starts like that.
        unlimited: |_| Ok(()),
    };
    serve(&build, threads, layout)
}

fn threads(
    store: &mut Store<()>,
    mode: Mode,
    slice: u64,
    runs: &[Func],
    times: Val,
) -> Result<Ran> {
    store.wasm_threads().set_slice(match mode {
        Mode::Fuel => Slice::Fuel(slice),
        _ => Slice::Time(Duration::from_nanos(slice)),
    })?;
    let mut ids = Vec::new();
    for run in runs {
        ids.push(store.spawn_wasm_thread(*run, &[times])?);
    }
    let run = store.run_wasm_threads_for(Duration::MAX)?;
    let mut results = Vec::new();
    for id in ids {
        match id.take_exit(&mut *store) {
            Some(Exit::Returned(returned)) => results.extend(returned),
            exit => bail!("a guest has ended as {exit:?}"),
        }
    }
    Ok(Ran {
        results,
        preemptions: run.preemptions,
    })
}
