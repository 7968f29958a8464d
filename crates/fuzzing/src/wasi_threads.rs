//! Programs with threads and locks, of a small grammar: each ends with the counts that the grammar
//! says, or with the deadlock that it says, under any source and schedule.

mod program;
mod wat;

use crate::source;
use arbitrary::{Result, Unstructured};
use preempt_policies::{Pct, Random};
use preempt_wasi_threads::{Process, ProcessOptions};
use program::{Ending, Program};
use std::time::Duration;
use wasmtime::preempt::{Slice, WaitFor};
use wasmtime::*;

/// Longer than any program takes.
const HANG: Duration = Duration::from_secs(120);

pub fn run(data: &[u8]) {
    // An error means that there are no more choices.
    let _ = program(&mut Unstructured::new(data));
}

fn program(u: &mut Unstructured<'_>) -> Result<()> {
    let source = source::source(u)?;
    let slice = source::slice(source, u)?;
    let policy = u.int_in_range(0..=3)?;
    let seed = u.arbitrary()?;
    let beside = u.ratio(1, 3)?;
    let program = Program::choose(u)?;

    let mut config = Config::new();
    config.preemption(source).shared_memory(true);
    let engine = Engine::new(&config).expect("the configuration works");
    let mut store = Store::new(&engine, ());
    let mut threads = store.wasm_threads();
    threads.set_slice(slice).expect("it is a valid slice");
    match (policy, slice) {
        (0 | 1, _) => Ok(()),
        (2, Slice::Fuel(longest)) => {
            threads.set_scheduler(Random::seeded(seed).slices(1..=longest))
        }
        (2, _) => threads.set_scheduler(Random::seeded(seed)),
        _ => threads.set_scheduler(Pct::new(seed, 8, 1_000, 3)),
    }
    .expect("there is no run");

    let text = wat::text(&program);
    let module = Module::new(&engine, &text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let linker = Linker::new(&engine);
    let made = preempt_wasi_threads::Program::new(&module, &linker);
    let made = made.expect("it is a program");
    let mut spawn = || {
        let process = made.spawn(&mut store, ProcessOptions::new());
        process.expect("there is room")
    };
    // Twice, as processes share nothing.
    let processes = match beside {
        true => vec![spawn(), spawn()],
        false => vec![spawn()],
    };
    let ran = store.run_wasm_threads_for(HANG);
    let ran = ran.expect("the source works on this host");
    for process in &processes {
        check(&program, process, &ran);
    }
    kill_stuck(&mut store, &processes);
    Ok(())
}

/// The process did what the program says.
fn check(program: &Program, process: &Process, ran: &RunSummary) {
    let ids: Vec<ThreadId> = process.threads().iter().map(|(_, id)| *id).collect();
    let stuck = ran.deadlocked.iter().filter(|(id, _)| ids.contains(id));
    let stuck: Vec<&WaitFor> = stuck.map(|(_, wait)| wait).collect();
    for wait in &stuck {
        assert!(matches!(wait, WaitFor::Atomic(_)), "{wait:?}: {program:?}");
    }
    let is_stuck = !stuck.is_empty();
    match program.ending {
        Ending::Finishes => assert!(!is_stuck, "{ran:?}: {program:?}"),
        // Those, and the first thread, which waits for their end.
        Ending::IsStuck(threads) => {
            assert_eq!(stuck.len(), threads + 1, "{ran:?}: {program:?}");
        }
        Ending::MayBeStuck => {}
    }
    match is_stuck {
        true => {
            assert_eq!(ran.end, RunEnd::Deadlock, "{program:?}");
            assert!(process.outcome().is_none(), "{program:?}");
        }
        false => {
            let outcome = process.outcome().expect("it has ended");
            assert!(outcome.error().is_none(), "{outcome:?}: {program:?}");
            assert!(process.has_ended());
        }
    }
    if !is_stuck || program.ending != Ending::MayBeStuck {
        for (address, count) in program.counts() {
            assert!(
                is(process, address, count),
                "{count} at {address}: {program:?}"
            );
        }
    }
}

/// Whether a word of the process's memory has this value.
fn is(process: &Process, address: u64, value: u32) -> bool {
    let memory = process.memory().expect("it has one");
    let waited = memory.atomic_wait32(address, value, Some(Duration::ZERO));
    waited.expect("it is in bounds") != WaitResult::Mismatch
}

/// Those that wait for ever can be ended.
fn kill_stuck(store: &mut Store<()>, processes: &[Process]) {
    processes.iter().for_each(Process::kill);
    let ran = store.run_wasm_threads_for(HANG);
    let ran = ran.expect("the source works on this host");
    assert_eq!(ran.end, RunEnd::AllFinished);
    assert!(processes.iter().all(Process::has_ended));
    assert!(store.wasm_threads().is_empty());
}
