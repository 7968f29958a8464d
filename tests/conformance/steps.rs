//! Preempts guest threads before each of their instructions.

use crate::signal::stepping::{self, Plan};
use std::collections::VecDeque;
use wasmtime::preempt::*;
use wasmtime::*;

/// How many instructions of a call are preempted.
const INSTRUCTIONS: u64 = 200;

/// Has threads take turns with the sibling. To be called before there are others.
pub fn take_turns(store: &mut Store<()>, sibling: ThreadId) -> Result<()> {
    store.wasm_threads().set_scheduler(Turns {
        ready: VecDeque::new(),
        sibling,
    })
}

/// The next run is stepped through. `modules` are all that it may come through.
pub fn begin(modules: &[Module]) {
    let modules: Vec<_> = modules.iter().collect();
    stepping::prepare(Plan::Each(INSTRUCTIONS), &modules, None);
}

/// The run is over.
pub fn end() -> Result<()> {
    let seen = stepping::seen();
    ensure!(seen.mistake.is_none(), "{seen:?}");
    Ok(())
}

/// A new thread is first, so that nothing else is stepped through on the way to it. Otherwise,
/// round robin.
struct Turns {
    ready: VecDeque<ThreadId>,
    sibling: ThreadId,
}

impl Turns {
    fn remove(&mut self, thread: ThreadId) {
        self.ready.retain(|ready| *ready != thread);
    }
}

impl ThreadScheduler for Turns {
    fn spawned(&mut self, _: u64, thread: ThreadId, _: &ThreadParams) {
        self.ready.push_front(thread);
    }
    fn preempted(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.ready.push_back(thread);
    }
    fn yielded(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.ready.push_back(thread);
    }
    fn parked(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.remove(thread);
    }
    fn woken(&mut self, _: u64, thread: ThreadId) {
        self.ready.push_back(thread);
    }
    fn changed(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
    fn finished(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.remove(thread);
    }
    fn next(&mut self, _: u64) -> Option<Pick> {
        let thread = self.ready.pop_front()?;
        stepping::pick(thread != self.sibling);
        Some(Pick {
            thread,
            slice: None,
        })
    }
}
