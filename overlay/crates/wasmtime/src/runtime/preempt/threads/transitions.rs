//! The transitions between the states that `state.rs` draws, with all that they change: counts,
//! clocks, limits, the trace, the policy.

use super::PreemptiveThreads;
use super::entry::{End, Exited, Extra, Off, Start, Thread, Usage, enqueue};
use super::grant::{Next, Throttle};
use super::scheduling::Turn;
use super::state::Status;
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER, nanos};
use crate::runtime::preempt::exit::OwnedExit;
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::limits::{Allowance, Budget, thread_cpu_time};
use crate::runtime::preempt::options::ThreadOptions;
use crate::runtime::preempt::policy::{Policy, ThreadParams};
use crate::runtime::preempt::slice::Slice;
use crate::runtime::preempt::suspend::Leave;
use crate::runtime::preempt::trace::Traced;
use crate::store::InstanceId;
use core::time::Duration;

fn traced(exit: &OwnedExit) -> Traced {
    match exit {
        OwnedExit::Returned(..) => Traced::Returned,
        OwnedExit::Trapped(_) | OwnedExit::Threw(..) => Traced::Trapped,
        OwnedExit::Killed => Traced::Killed,
        OwnedExit::OverLimit(_) => Traced::OverLimit,
    }
}

impl PreemptiveThreads {
    #[cfg(debug_assertions)]
    pub(in crate::runtime::preempt) fn count_from(&mut self, start: u64) {
        self.last_id = self.last_id.max(start);
        if let Policy::RoundRobin(queue) = &mut self.policy {
            queue.count_from(start);
        }
    }

    /// Arrow 1.
    pub(in crate::runtime::preempt) fn insert(
        &mut self,
        fiber: Box<StoreFiber<'static>>,
        options: ThreadOptions,
        instance: Option<InstanceId>,
    ) -> ThreadId {
        self.last_id += 1;
        let id = ThreadId(self.last_id);
        let extra = options.attributes.map(|attributes| {
            let limits = attributes.limits;
            self.has_rates |= limits.cpu_rate.is_some() || attributes.tenant.is_some();
            let timeout = limits.wall_time.and_then(|time| {
                let now = Moment::now();
                Some((now, now.checked_add(time)?))
            });
            if let Some((_, end)) = timeout {
                self.timeouts.insert((end, id));
            }
            Box::new(Extra {
                params: attributes.params,
                budget: (!limits.is_none()).then(|| Budget::new(limits)),
                timeout,
                exit_hook: None,
                throttle: Throttle::of(attributes.tenant),
            })
        });
        let ready_since = self.run_clock(None);
        let make = || Thread {
            status: Status::ready(fiber),
            name: options.name,
            slice: options.slice,
            detached: options.detached,
            extra,
            instance,
            waker: None,
            place: 0,
            spawned: ready_since,
            ready_since,
            usage: Usage::default(),
            fuel_held: None,
            left_at: 0,
            page: 0,
        };
        if let Some(thread) = self.threads.insert(id, make) {
            self.ready += 1;
            enqueue(&mut self.policy, id, thread);
        }
        self.live += 1;
        if let Some(instance) = instance {
            self.sharing.enter(instance);
        }
        self.record(None, Some(id), Traced::Spawned);
        if let Policy::Custom(_) = &self.policy {
            let thread = self.threads.get(&id);
            let params = thread.map_or_else(ThreadParams::default, Thread::params);
            self.notify_policy(None, |policy, now| policy.spawned(now, id, &params));
        }
        id
    }

    /// Counts `id` as ready and puts it at the end of the queue.
    pub(super) fn make_ready(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get_mut(&id) {
            self.ready += 1;
            enqueue(&mut self.policy, id, thread);
        }
    }

    /// Arrow 2. `None` if no thread is ready.
    ///
    /// # Errors
    ///
    /// If the embedder's policy gives an invalid answer.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn start_next(
        &mut self,
        now: Moment,
    ) -> Result<Option<Box<StoreFiber<'static>>>> {
        let turn = loop {
            let Some(turn) = self.pick(now)? else {
                return Ok(None);
            };
            if !self.has_rates || !self.throttle(turn.id, now) {
                break turn;
            }
        };
        let fiber = self.start(turn, now, Start::Dispatch);
        self.record_dispatch(now);
        Ok(fiber)
    }

    /// Puts a thread on the CPU. `None` if it is gone or its fiber is not here.
    #[inline(always)]
    fn start(&mut self, turn: Turn, now: Moment, why: Start) -> Option<Box<StoreFiber<'static>>> {
        let id = turn.id;
        let run_clock = self.run_clock(Some(now));
        let goes_on = self.paused.as_ref().is_some_and(|paused| paused.id == id);
        // A dispatched thread was ready.
        let was_ready = match why {
            _ if goes_on => false,
            Start::Dispatch => true,
            Start::End => {
                let was_ready = self.threads.get(&id)?.status.is_ready();
                self.unpark(id);
                was_ready
            }
        };
        let thread = self.threads.get_near_mut(turn.page, &id)?;
        let fiber = thread.status.start()?;
        thread.place = 0;

        let running = &mut self.running;
        // Most threads have no limits.
        running.allowance = Allowance::default();
        running.limit_end = NEVER;
        running.over = None;
        running.cpu_since = None;
        if why == Start::Dispatch {
            if thread.extra.is_some() || !self.timeouts.is_empty() {
                let (mut allowance, over) = thread.allowance(&self.groups, &self.timeouts, now);
                if self.has_rates {
                    let by_fuel = self.wait_clock.is_virtual();
                    allowance = thread.within_grant(allowance, self.preemption, by_fuel);
                }
                running.allowance = allowance;
                running.limit_end = allowance.end(now);
                running.over = over;
                if allowance.count_cpu_time {
                    running.cpu_since = thread_cpu_time();
                }
            }
            let waited = run_clock.saturating_sub(thread.ready_since);
            thread.usage.ready_time += waited;
            thread.usage.longest_wait = thread.usage.longest_wait.max(waited);
            // Continuing after a pause is not counted: pauses depend on the clock, and counts
            // must not if slices are fuel.
            thread.usage.dispatches += u64::from(!goes_on);
        }
        running.id = id;
        running.page = thread.page;
        running.was_paused = goes_on;
        running.is_seen_on_cpu = false;
        running.used_before = 0;
        running.slice = match turn.slice {
            Some(ticks) => Slice::nearest(ticks, self.preemption),
            None if goes_on || why == Start::End => thread.slice.unwrap_or(self.slice),
            None => self.jitter.apply(thread.slice.unwrap_or(self.slice)),
        };
        if goes_on && let Some(paused) = self.paused.take() {
            running.slice = Slice::nearest(paused.slice, self.preemption);
            running.is_seen_on_cpu = !paused.recorded;
            running.used_before = paused.used;
        }
        running.slice_end = match running.slice {
            Slice::Time(slice) => now.as_nanos().saturating_add(nanos(slice)),
            Slice::Fuel(_) => 0,
        };
        running.since = now;
        running.cpu_before = Duration::ZERO;
        running.fuel_armed = 0;
        running.fuel_consumed = 0;
        running.fuel_held = thread.fuel_held.take();
        running.left = Leave::Yielded;
        running.left_at = 0;
        running.fuel_in_register = false;
        running.park = None;
        running.results = None;
        self.is_running = true;

        if let Some(held) = running.fuel_held
            && !self.groups.is_empty()
            && let Some(budget) = self.groups.get_mut(&thread.group())
        {
            budget.give_back(held);
        }
        if was_ready {
            self.ready -= 1;
        }
        self.remote.start(id, self.ready == 0, self.preemption);
        Some(fiber)
    }

    /// The first half of arrow 5: puts `id` on the CPU, unless it has finished.
    pub(in crate::runtime::preempt) fn start_ending(
        &mut self,
        id: ThreadId,
        now: Moment,
    ) -> Option<Box<StoreFiber<'static>>> {
        self.start(Turn::of(id), now, Start::End)
    }

    /// Arrow 3.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn stop_running(
        &mut self,
        fiber: Box<StoreFiber<'static>>,
        fuel_held: Option<i64>,
        now: Moment,
    ) -> Option<Off> {
        if !core::mem::take(&mut self.is_running) {
            return None;
        }
        self.remote.stop();
        self.fuel_clock = self.fuel_clock.saturating_add(self.running.fuel_consumed);
        let (id, left) = (self.running.id, self.running.left);
        let preempted = left == Leave::SliceOver;
        let park = match self.running.park.take() {
            Some(park) => self.park(id, park),
            None => None,
        };
        let run_clock = self.run_clock(Some(now));
        let thread = self.threads.get_near_mut(self.running.page, &id)?;
        let used = thread.charge(&self.running, now, &mut self.groups);
        let blocked = thread.status.stop(fiber, park);
        if self.has_rates {
            let next = match (blocked, left) {
                (true, _) => Next::Gone,
                (false, Leave::Paused) => Next::Continues,
                (false, _) => Next::Ready,
            };
            let used = match self.wait_clock.is_virtual() {
                true => self.running.fuel_consumed,
                false => used,
            };
            thread.settle(used, next, &mut self.groups);
        }
        thread.fuel_held = fuel_held;
        thread.left_at = self.running.left_at;
        thread.ready_since = run_clock;
        if let Some(held) = fuel_held
            && !self.groups.is_empty()
            && let Some(budget) = self.groups.get_mut(&thread.group())
        {
            budget.hold(held);
        }
        let limited = thread.extra.is_some();
        if left == Leave::Paused && !blocked {
            self.paused = self.running.paused();
            return Some(Off {
                id,
                preempted,
                limited,
            });
        }
        if preempted {
            thread.usage.preemptions += 1;
        } else {
            thread.usage.yields += 1;
        }
        if !blocked {
            self.ready += 1;
            enqueue(&mut self.policy, id, thread);
        }
        if self.is_watched() {
            let what = match preempted {
                true => Traced::Preempted,
                false => Traced::Yielded,
            };
            self.record(Some(now), Some(id), what);
            if blocked {
                self.record(Some(now), Some(id), Traced::Parked);
            }
            let used = self.used(now);
            self.notify_policy(Some(now), |policy, now| match (blocked, preempted) {
                (true, _) => policy.parked(now, id, used),
                (false, true) => policy.preempted(now, id, used),
                (false, false) => policy.yielded(now, id, used),
            });
        }
        Some(Off {
            id,
            preempted,
            limited,
        })
    }

    /// Arrow 4.
    pub(in crate::runtime::preempt) fn finish(&mut self, end: End, now: Moment) {
        if !core::mem::take(&mut self.is_running) {
            return;
        }
        self.remote.stop();
        self.fuel_clock = self.fuel_clock.saturating_add(self.running.fuel_consumed);
        let id = self.running.id;
        let run_clock = self.run_clock(Some(now));
        let Some(thread) = self.threads.get_near_mut(self.running.page, &id) else {
            return;
        };
        let used = thread.charge(&self.running, now, &mut self.groups);
        if self.has_rates {
            let used = match self.wait_clock.is_virtual() {
                true => self.running.fuel_consumed,
                false => used,
            };
            thread.settle(used, Next::Gone, &mut self.groups);
        }
        let exceeded = match end {
            End::ByItself(_) => thread.exceeded(&self.groups, now),
            End::Ended(_) => None,
        };
        thread.usage.wall_time = run_clock.saturating_sub(thread.spawned);
        self.live -= 1;
        if let Some(instance) = thread.instance.take() {
            self.sharing.leave(instance);
        }
        if let Some(extra) = &mut thread.extra
            && let Some((_, end)) = extra.timeout.take()
        {
            self.timeouts.remove(&(end, id));
        }
        let over = match &end {
            // It was unwound because of this.
            End::ByItself(Some(OwnedExit::Trapped(error))) => error.downcast_ref().copied(),
            _ => None,
        };
        // It may have ended before anybody checked.
        let over = over.or(exceeded);
        let hook = thread
            .extra
            .as_mut()
            .and_then(|extra| extra.exit_hook.take());
        let what = match (&end, over) {
            (End::Ended(exit), _) | (End::ByItself(Some(exit)), None) => traced(exit),
            (End::ByItself(_), Some(_)) => Traced::OverLimit,
            (End::ByItself(None), None) => Traced::Returned,
        };
        let detached = thread.detached;
        if detached && hook.is_none() {
            self.threads.remove(&id, |_| Some(()));
        } else {
            // Made where it is kept: a move is dear right after its parts were written.
            thread.status.finish(match (end, over) {
                (End::Ended(exit), _) | (End::ByItself(Some(exit)), None) => exit,
                (End::ByItself(_), Some(over)) => OwnedExit::OverLimit(over),
                (End::ByItself(None), None) => match self.running.results.take() {
                    Some((func, values)) => OwnedExit::Returned(func, values),
                    // It was ended before it returned.
                    None => OwnedExit::Killed,
                },
            });
        }
        if let Some(hook) = hook {
            self.exited.push_back(Exited { id, hook, detached });
        }
        let woken = self.wake_joiners(id, now);
        self.sweep_queue();
        // Notify the policy last, as it may panic.
        if self.is_watched() {
            self.record(Some(now), Some(id), what);
            let used = self.used(now);
            self.notify_policy(Some(now), |policy, now| policy.finished(now, id, used));
        }
        self.notify_policy_of_woken(woken, Some(now));
    }

    /// Drops stale places in the queue once they are most of it.
    fn sweep_queue(&mut self) {
        if let Policy::RoundRobin(queue) = &mut self.policy {
            let threads = &self.threads;
            queue.sweep(self.ready, |place, id| {
                threads.get(&id).is_some_and(|thread| thread.place == place)
            });
        }
    }

    /// Gives up a thread that keeps the store after `mem::forget` leaked the run's future, and
    /// with it the thread's fiber. It never runs again.
    pub(in crate::runtime::preempt) fn give_up_running(&mut self, now: Moment) {
        self.run_state.end();
        // Do not charge the thread for what the OS thread has done since.
        self.running.since = now;
        self.running.cpu_since = None;
        self.finish(End::Ended(OwnedExit::Killed), now);
        self.end_run(now);
    }

    /// Marks an unfinished thread that has no fiber as killed, so that a shutdown ends. There
    /// should be none, so the policy is not notified.
    pub(in crate::runtime::preempt) fn give_up(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get_mut(&id)
            && thread.status.is_running()
        {
            self.live -= 1;
            thread.status.finish(OwnedExit::Killed);
        }
    }

    /// Arrow 7. A running thread is suspended when it goes off the CPU.
    pub(in crate::runtime::preempt) fn suspend(&mut self, id: ThreadId) -> Result<()> {
        let thread = self.live_mut(id, "suspended")?;
        if !thread.status.suspend() {
            return Ok(());
        }
        thread.place = 0;
        // A paused thread loses the rest of its slice.
        let used = match self.paused.take_if(|paused| paused.id == id) {
            Some(paused) => paused.used,
            None => {
                self.ready -= 1;
                0
            }
        };
        self.record(None, Some(id), Traced::Parked);
        self.notify_policy(None, |policy, now| policy.parked(now, id, used));
        Ok(())
    }

    /// Arrow 8.
    pub(in crate::runtime::preempt) fn resume(&mut self, id: ThreadId) -> Result<()> {
        let run_clock = self.run_clock(None);
        let thread = self.live_mut(id, "resumed")?;
        if !thread.status.resume() {
            return Ok(());
        }
        thread.ready_since = run_clock;
        self.make_ready(id);
        self.sweep_queue();
        self.record(None, Some(id), Traced::Woken);
        self.notify_policy(None, |policy, now| policy.woken(now, id));
        Ok(())
    }

    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub(super) fn live_mut(&mut self, id: ThreadId, to_be: &str) -> Result<&mut Thread> {
        match self.threads.get_mut(&id) {
            Some(thread) if !thread.status.is_finished() => Ok(thread),
            Some(_) => bail!("guest thread {id} has finished: it cannot be {to_be}"),
            None => bail!(
                "no guest thread {id}: it was never spawned in this store, or its \
                 exit was taken"
            ),
        }
    }

    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub(in crate::runtime::preempt) fn ensure_live(
        &mut self,
        id: ThreadId,
        to_be: &str,
    ) -> Result<()> {
        self.live_mut(id, to_be).map(|_| ())
    }

    /// Arrow 6.
    pub(in crate::runtime::preempt) fn take_exit(&mut self, id: ThreadId) -> Option<OwnedExit> {
        self.threads.remove(&id, |thread| thread.status.take_exit())
    }
}
