//! Notifying the policy of changes, and asking it for the next thread.

use super::PreemptiveThreads;
use super::entry::enqueue;
use crate::prelude::*;
use crate::runtime::preempt::clock::Moment;
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::policy::{Pick, Policy, ThreadParams, ThreadScheduler};
use core::any::Any;

/// A thread whose turn it is.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) id: ThreadId,
    /// In ticks, if the policy chose one.
    pub(super) slice: Option<u64>,
    /// Where the table is likely to have its record.
    pub(super) page: u32,
}

impl Turn {
    pub(super) fn of(id: ThreadId) -> Turn {
        Turn {
            id,
            slice: None,
            page: 0,
        }
    }
}

impl PreemptiveThreads {
    /// Notifies the embedder's policy, if there is one.
    pub(super) fn notify_policy(
        &mut self,
        now: Option<Moment>,
        notify: impl FnOnce(&mut dyn ThreadScheduler, u64),
    ) {
        if matches!(self.policy, Policy::RoundRobin(_)) {
            return;
        }
        let now = self.ticks(now);
        if let Policy::Custom(policy) = &mut self.policy {
            notify(&mut **policy, now);
        }
    }

    /// The thread whose turn it is.
    pub(super) fn pick(&mut self, now: Moment) -> Result<Option<Turn>> {
        if let Some(paused) = &self.paused {
            return Ok(Some(Turn::of(paused.id)));
        }
        if let Policy::RoundRobin(queue) = &mut self.policy {
            // If the queue is as long as there are ready threads, no place is stale.
            let all_are_places = queue.len() == self.ready;
            while let Some((place, id, hint)) = queue.pop() {
                let turn = Turn {
                    page: hint.page,
                    ..Turn::of(id)
                };
                if all_are_places {
                    queue.fetch_next();
                    return Ok(Some(turn));
                }
                let thread = self.threads.get(&id);
                if thread.is_some_and(|thread| thread.place == place) {
                    return Ok(Some(turn));
                }
            }
            return Ok(None);
        }
        if self.ready == 0 {
            return Ok(None);
        }
        let now = self.ticks(Some(now));
        let pick = match &mut self.policy {
            Policy::Custom(policy) => policy.next(now),
            Policy::RoundRobin(_) => None,
        };
        let Some(Pick { thread, slice }) = pick else {
            bail!(
                "the scheduler has picked no guest thread, but {} are ready: it \
                 has lost them; `WasmThreads::set_scheduler` tells another \
                 one of all",
                self.ready
            );
        };
        self.ensure_ready(thread)?;
        Ok(Some(Turn {
            slice,
            ..Turn::of(thread)
        }))
    }

    /// # Errors
    ///
    /// If `id` is not ready, with the reason.
    pub(super) fn ensure_ready(&self, id: ThreadId) -> Result<()> {
        let why = match self.threads.get(&id) {
            Some(thread) if thread.status.is_ready() => return Ok(()),
            Some(thread) if thread.status.is_finished() => "has finished",
            Some(thread) if thread.status.is_suspended() => "is suspended",
            Some(thread) if thread.status.park().is_some() => "is parked",
            Some(_) => "is running",
            None => "is not in this store",
        };
        bail!(
            "the scheduler has picked guest thread {id}, which {why}; \
             `WasmThreads::set_scheduler` sets another one"
        )
    }

    /// Whether a trace or an embedder's policy follows what happens.
    pub(super) fn is_watched(&self) -> bool {
        self.trace.is_some() || matches!(self.policy, Policy::Custom(_))
    }

    /// Replaces the policy, and notifies the new one of all threads, in spawn order.
    pub(in crate::runtime::preempt) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        if self.paused.take().is_some() {
            self.ready += 1;
        }
        for id in self.live() {
            let Some(thread) = self.threads.get_mut(&id) else {
                continue;
            };
            thread.place = 0;
            let (params, blocked) = (thread.params(), thread.status.is_blocked());
            if !blocked {
                enqueue(&mut self.policy, id, thread);
            }
            self.notify_policy(None, |policy, now| {
                policy.spawned(now, id, &params);
                if blocked {
                    policy.parked(now, id, 0);
                }
            });
        }
    }

    /// # Errors
    ///
    /// During a run.
    pub(in crate::runtime::preempt) fn ensure_no_run(&self, what: &str) -> Result<()> {
        ensure!(
            !self.run_state.is_in_run(),
            "guest threads are being run: only between two runs can {what}"
        );
        Ok(())
    }

    pub(in crate::runtime::preempt) fn set_params(
        &mut self,
        id: ThreadId,
        params: ThreadParams,
    ) -> Result<()> {
        params.validate()?;
        let thread = self.live_mut(id, "given other parameters")?;
        let was_throttled = match thread.group() != params.group {
            true => self.return_grant(id, true),
            false => false,
        };
        let thread = self.live_mut(id, "given other parameters")?;
        let held = thread.fuel_held.unwrap_or(0);
        let before = core::mem::replace(&mut thread.extra_mut().params, params.clone());
        if before.group != params.group {
            if let Some(budget) = self.groups.get_mut(&before.group) {
                budget.give_back(held);
            }
            if let Some(budget) = self.groups.get_mut(&params.group) {
                budget.hold(held);
            }
        }
        self.notify_policy(None, |policy, now| policy.changed(now, id, &params));
        if was_throttled {
            self.release(vec![id]);
        }
        Ok(())
    }

    /// The embedder's policy, if it is an `S`.
    pub(in crate::runtime::preempt) fn scheduler_mut<S: ThreadScheduler>(
        &mut self,
    ) -> Option<&mut S> {
        match &mut self.policy {
            Policy::Custom(scheduler) => {
                let scheduler: &mut dyn Any = &mut **scheduler;
                scheduler.downcast_mut()
            }
            Policy::RoundRobin(_) => None,
        }
    }
}
