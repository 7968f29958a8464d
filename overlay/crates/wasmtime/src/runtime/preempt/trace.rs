//! A trace of guest-thread events: a ring that keeps the latest ones.

use super::id::ThreadId;
use crate::prelude::*;
use std::collections::VecDeque;

/// What happened to a guest thread, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// In ticks of the store's clock: nanoseconds, or units of fuel where slices are
    /// fuel. See [`ThreadScheduler`](crate::preempt::ThreadScheduler).
    pub at: u64,
    /// The thread concerned. ID 0, which no thread has, stands for none.
    pub thread: ThreadId,
    /// What happened.
    pub what: Traced,
}

/// What can happen to a guest thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traced {
    /// A run of the store's threads began.
    RunStarted,
    /// The run ended.
    RunEnded,
    /// The thread was spawned, and is ready.
    Spawned,
    /// It was put on the CPU.
    Dispatched {
        /// The slice in ticks, if another thread waits for the CPU.
        slice: u64,
    },
    /// Its slice ended: it is off the CPU, and ready.
    Preempted,
    /// It yielded the CPU, and is ready.
    Yielded,
    /// It left the CPU at the end of a run, before its slice was over. The next dispatch
    /// continues this slice, unless the thread is first ended, suspended or given to another
    /// scheduler.
    Paused,
    /// It waits for something, or was suspended.
    Parked,
    /// It is ready again.
    Woken,
    /// It has finished: its function returned.
    Returned,
    /// It has finished: with an error.
    Trapped,
    /// It has finished: it was killed.
    Killed,
    /// It has finished: it was over a limit.
    OverLimit,
}

/// A record of events, oldest first: see
/// [`WasmThreads::take_trace`](super::WasmThreads::take_trace).
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What happened.
    pub events: Vec<TraceEvent>,
    /// How many earlier events the ring had no room for.
    pub lost: u64,
    /// Whether ticks are units of fuel instead of nanoseconds.
    pub fuel: bool,
    /// The named threads that were in the store at the end of the trace.
    pub names: Vec<(ThreadId, String)>,
}

/// The latest events. Allocated in full up front, so that recording does not allocate.
pub(super) struct Ring {
    events: VecDeque<TraceEvent>,
    capacity: usize,
    lost: u64,
}

impl Ring {
    /// # Errors
    ///
    /// If there is no memory for that many events.
    pub(super) fn new(capacity: usize) -> Result<Ring> {
        let mut events = VecDeque::new();
        events
            .try_reserve_exact(capacity)
            .with_context(|| format!("no memory for a trace of {capacity} events"))?;
        Ok(Ring {
            events,
            capacity,
            lost: 0,
        })
    }

    pub(super) fn record(&mut self, event: TraceEvent) {
        if self.events.len() == self.capacity {
            self.lost += 1;
            if self.events.pop_front().is_none() {
                return;
            }
        }
        self.events.push_back(event);
    }

    pub(super) fn take(&mut self) -> (Vec<TraceEvent>, u64) {
        let events = self.events.drain(..).collect();
        (events, core::mem::take(&mut self.lost))
    }
}
