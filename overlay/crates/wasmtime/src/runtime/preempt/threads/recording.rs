//! The clocks, and the trace of what happened to threads.

use super::PreemptiveThreads;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, nanos};
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::info::ThreadInfo;
use crate::runtime::preempt::policy::{Place, Policy};
use crate::runtime::preempt::slice::{Preemption, Slice};
use crate::runtime::preempt::trace::{Ring, Trace, TraceEvent, Traced};
use std::collections::HashMap;

impl PreemptiveThreads {
    /// The clock that policies and traces see.
    pub(super) fn ticks(&self, now: Option<Moment>) -> u64 {
        if self.preemption == Preemption::Fuel {
            return self.fuel_clock;
        }
        let now = now.unwrap_or_else(Moment::now);
        now.since(self.start)
    }

    /// How much fuel all threads together have used, by the last count of the running one's.
    pub(super) fn fuel_used(&self) -> u64 {
        let running = match self.is_running {
            true => self.running.fuel_consumed,
            false => 0,
        };
        self.fuel_clock.saturating_add(running)
    }

    /// The clock that ticks only during runs, in nanoseconds.
    #[inline]
    pub(super) fn run_clock(&self, now: Option<Moment>) -> u64 {
        let in_run = self
            .run_start
            .map_or(0, |start| now.unwrap_or_else(Moment::now).since(start));
        self.run_time + in_run
    }

    /// A run begins, or goes on after a thread has kept the store between two polls.
    pub(in crate::runtime::preempt) fn start_run(&mut self, now: Moment) {
        self.run_start = Some(now);
        if !self.run_is_traced {
            self.run_is_traced = self.trace.is_some();
            self.record(Some(now), None, Traced::RunStarted);
        }
    }

    /// The run, or a kill or shutdown outside one, is over, or a thread keeps the store.
    pub(in crate::runtime::preempt) fn end_run(&mut self, now: Moment) {
        self.run_time = self.run_clock(Some(now));
        self.run_start = None;
        // That thread stays on the CPU, so in the trace the run goes on.
        if self.run_state.is_kept() {
            return;
        }
        let paused = self.paused.as_mut().and_then(|paused| {
            let recorded = core::mem::replace(&mut paused.recorded, true);
            (!recorded).then_some(paused.id)
        });
        if core::mem::take(&mut self.run_is_traced) {
            if let Some(id) = paused {
                self.record(Some(now), Some(id), Traced::Paused);
            }
            self.record(Some(now), None, Traced::RunEnded);
        }
    }

    pub(in crate::runtime::preempt) fn record(
        &mut self,
        now: Option<Moment>,
        thread: Option<ThreadId>,
        what: Traced,
    ) {
        if self.trace.is_none() {
            return;
        }
        let at = self.ticks(now);
        if let Some(ring) = &mut self.trace {
            ring.record(TraceEvent {
                at,
                thread: thread.unwrap_or(ThreadId(0)),
                what,
            });
        }
    }

    pub(super) fn record_dispatch(&mut self, now: Moment) {
        if self.trace.is_some()
            && let Some(running) = self.running()
            && !running.is_seen_on_cpu
        {
            let (id, slice) = (running.id, in_ticks(running.slice));
            self.record(Some(now), Some(id), Traced::Dispatched { slice });
        }
    }

    /// What the current or last thread on the CPU has used in this dispatch, in ticks.
    pub(super) fn used(&self, now: Moment) -> u64 {
        match self.preemption {
            Preemption::Fuel => {
                let running = &self.running;
                running.used_before.saturating_add(running.fuel_consumed)
            }
            _ => now.since(self.running.since),
        }
    }

    /// # Errors
    ///
    /// If there is not enough memory. The trace is then unchanged.
    pub(in crate::runtime::preempt) fn set_trace(&mut self, capacity: usize) -> Result<()> {
        self.trace = match capacity {
            0 => None,
            _ => Some(Ring::new(capacity)?),
        };
        let mut ids = self.live();
        if let Policy::RoundRobin(queue) = &self.policy {
            // In the order in which they will run.
            let order = queue.iter().filter(|(place, id)| {
                let thread = self.threads.get(id);
                thread.is_some_and(|thread| thread.place == *place)
            });
            let order: HashMap<ThreadId, Place> = order.map(|(place, id)| (id, place)).collect();
            ids.sort_by_key(|id| order.get(id).copied());
        }
        if self.run_state.is_in_run() {
            self.run_is_traced = true;
            self.record(None, None, Traced::RunStarted);
        }
        for id in ids {
            self.record(None, Some(id), Traced::Spawned);
            if self
                .threads
                .get(&id)
                .is_some_and(|thread| thread.status.is_blocked())
            {
                self.record(None, Some(id), Traced::Parked);
            }
        }
        self.running.is_seen_on_cpu = false;
        if let Some(paused) = &mut self.paused {
            paused.recorded = true;
        }
        self.record_dispatch(Moment::now());
        Ok(())
    }

    pub(in crate::runtime::preempt) fn take_trace(&mut self) -> Option<Trace> {
        let (events, lost) = self.trace.as_mut()?.take();
        let name = |info: ThreadInfo<'_>| Some((info.id, info.name?.to_string()));
        Some(Trace {
            events,
            lost,
            fuel: self.preemption == Preemption::Fuel,
            names: self.list().filter_map(name).collect(),
        })
    }
}

fn in_ticks(slice: Slice) -> u64 {
    match slice {
        Slice::Time(time) => nanos(time),
        Slice::Fuel(fuel) => fuel,
    }
}
