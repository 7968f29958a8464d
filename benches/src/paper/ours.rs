//! The workloads with the patched Wasmtime.

use super::server::{Build, Mode, Ran, serve};
use std::time::Duration;
use wasmtime::{Exit, Func, Preemption, Result, Slice, Store, Val, bail};

/// Answers lines of standard input until there are no more.
pub fn run(layout: u32) -> Result<()> {
    serve(&Build {
        layout,
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
        threads,
    })
}

fn threads(store: &mut Store<()>, mode: Mode, runs: &[Func], times: Val) -> Result<Ran> {
    store.wasm_threads().set_slice(match mode {
        Mode::Fuel => Slice::Fuel(10_000_000),
        _ => Slice::Time(Duration::from_millis(10)),
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
