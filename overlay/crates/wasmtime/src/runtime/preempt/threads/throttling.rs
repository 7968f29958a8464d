//! Throttling: threads with a CPU rate, or of a group or a tenant with one, borrow the time
//! that they run for. Those for which there is none yet are parked until there is.
//!
//! ```text
//!   picked ---> has a grant, or borrows one: is it there?
//!                 | yes                     | no
//!                 v                         v
//!               runs, bounded by it       parked until it is, and keeps it
//!                 |
//!                 v
//!   off the CPU: what it used is taken from the grant
//!                 | preempted, and there is some left: keeps that for its next turn
//!                 | parked, finished, or nothing is left: settles
//! ```
//!
//! The clock is that of timed waits. If it is virtual, so is the CPU time: a nanosecond of both
//! is a unit of fuel.

use super::grant::Next;
use super::{PreemptiveThreads, Thread};
use crate::prelude::*;
use crate::runtime::preempt::clock::Moment;
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::limits::{Allowance, Budget};
use crate::runtime::preempt::park::Park;
use crate::runtime::preempt::slice::Preemption;
use crate::runtime::preempt::trace::Traced;
use core::time::Duration;
use std::collections::HashMap;

type Groups = HashMap<u64, Budget>;

impl Thread {
    /// Borrows what the thread needs for its turn, unless it has that. Returns when it is there.
    fn borrow(&mut self, groups: &mut Groups, now: u64) -> u64 {
        let group = groups.get_mut(&self.group()).and_then(Budget::bucket);
        let Some(extra) = &mut self.extra else {
            return 0;
        };
        let own = extra.budget.as_mut().and_then(Budget::bucket);
        extra.throttle.borrow(own, group, now)
    }

    /// Bounds a dispatch by what the thread has borrowed.
    pub(super) fn within_grant(
        &self,
        allowance: Allowance,
        preemption: Preemption,
        clock_is_virtual: bool,
    ) -> Allowance {
        let throttle = self.extra.as_ref().map(|extra| &extra.throttle);
        let Some(grant) = throttle.and_then(|throttle| throttle.grant.as_ref()) else {
            return allowance;
        };
        let left = grant.time().max(1);
        if clock_is_virtual {
            return allowance.and(Allowance {
                fuel: Some(left),
                ..Allowance::default()
            });
        }
        allowance.and(Allowance {
            // Time does not end slices of fuel.
            time: (preemption != Preemption::Fuel).then(|| Duration::from_nanos(left)),
            count_cpu_time: true,
            ..Allowance::default()
        })
    }

    /// Takes what was `used` in a dispatch out of what was borrowed for it.
    pub(super) fn settle(&mut self, used: u64, next: Next, groups: &mut Groups) {
        let group = groups.get_mut(&self.group()).and_then(Budget::bucket);
        if let Some(extra) = &mut self.extra {
            let own = extra.budget.as_mut().and_then(Budget::bucket);
            extra.throttle.settle(own, group, used, next);
        }
    }

    /// Gives back what it has borrowed from its own bucket. A thread that waits for it gives
    /// back all.
    pub(super) fn return_own(&mut self, groups: &mut Groups) {
        if self.is_throttled() {
            return self.settle(0, Next::Gone, groups);
        }
        let Some(extra) = &mut self.extra else {
            return;
        };
        if let Some(grant) = &mut extra.throttle.grant
            && core::mem::take(&mut grant.own)
            && let Some((rate, bucket)) = extra.budget.as_mut().and_then(Budget::bucket)
        {
            bucket.settle(&rate, grant.left);
        }
    }

    /// The same for its group's.
    pub(super) fn return_group(&mut self, groups: &mut Groups) {
        if self.is_throttled() {
            return self.settle(0, Next::Gone, groups);
        }
        let bucket = groups.get_mut(&self.group()).and_then(Budget::bucket);
        let grant = self.extra.as_mut().map(|extra| &mut extra.throttle.grant);
        if let Some(Some(grant)) = grant
            && core::mem::take(&mut grant.group)
            && let Some((rate, bucket)) = bucket
        {
            bucket.settle(&rate, grant.left);
        }
    }

    /// Whether it is parked until what it has borrowed is there.
    pub(super) fn is_throttled(&self) -> bool {
        self.status.park().is_some_and(|park| park.throttled)
    }
}

impl PreemptiveThreads {
    /// Parks `id`, which was picked, if it has to wait for CPU time. Returns whether it has.
    #[cold]
    pub(super) fn throttle(&mut self, id: ThreadId, now: Moment) -> bool {
        if self.paused.as_ref().is_some_and(|paused| paused.id == id) {
            return false;
        }
        let time = self.now_for_waits(now).as_nanos();
        let run_clock = self.run_clock(Some(now));
        let Some(thread) = self.threads.get_mut(&id) else {
            return false;
        };
        let there_at = thread.borrow(&mut self.groups, time);
        if there_at <= time || self.over_limit(id).is_some() {
            return false;
        }
        let Some(thread) = self.threads.get_mut(&id) else {
            return false;
        };
        let until = Moment::from_nanos(there_at);
        let park = Park {
            until: Some(until),
            throttled: true,
            ..Park::default()
        };
        if !thread.status.throttle(Box::new(park)) {
            return false;
        }
        thread.place = 0;
        let waited = run_clock.saturating_sub(thread.ready_since);
        thread.usage.ready_time += waited;
        thread.usage.longest_wait = thread.usage.longest_wait.max(waited);
        if let Some(extra) = &mut thread.extra {
            extra.throttle.since = run_clock;
            extra.throttle.times += 1;
            if let Some(tenant) = &extra.throttle.tenant {
                tenant.count_throttle();
            }
        }
        self.ready -= 1;
        self.throttles += 1;
        self.alarms.insert((until, id));
        self.record(Some(now), Some(id), Traced::Parked);
        self.notify_policy(Some(now), |policy, now| policy.parked(now, id, 0));
        true
    }

    /// `id` waits for CPU time no longer.
    pub(super) fn count_throttled_time(&mut self, id: ThreadId) {
        let run_clock = self.run_clock(None);
        if let Some(thread) = self.threads.get_mut(&id)
            && let Some(extra) = &mut thread.extra
        {
            let throttle = &mut extra.throttle;
            throttle.time += run_clock.saturating_sub(throttle.since);
        }
    }

    /// How many times threads were throttled since the last call.
    pub(in crate::runtime::preempt) fn take_throttles(&mut self) -> u64 {
        core::mem::take(&mut self.throttles)
    }

    /// Has `id` borrow anew, by rates that are about to change: those of its own, or of its group.
    /// Returns whether it has waited, and is to be [released](Self::release).
    pub(super) fn return_grant(&mut self, id: ThreadId, of_group: bool) -> bool {
        let Some(thread) = self.threads.get_mut(&id).filter(|_| self.has_rates) else {
            return false;
        };
        let was_throttled = thread.is_throttled();
        match of_group {
            true => thread.return_group(&mut self.groups),
            false => thread.return_own(&mut self.groups),
        }
        was_throttled
    }

    /// The members of a group.
    pub(super) fn members(&self, group: u64) -> Vec<ThreadId> {
        let live = self.live().into_iter();
        let is_member = |id: &ThreadId| self.threads.get(id).is_some_and(|t| t.group() == group);
        live.filter(is_member).collect()
    }

    /// Makes threads ready that were throttled.
    pub(super) fn release(&mut self, ids: Vec<ThreadId>) {
        self.wake_all(ids, None);
    }

    /// Whether a thread of the store belongs to a tenant.
    pub(in crate::runtime::preempt) fn any_tenant(&self) -> bool {
        let of_tenant = |thread: &Thread| {
            let extra = thread.extra.as_ref();
            extra.is_some_and(|extra| extra.throttle.tenant.is_some())
        };
        self.has_rates && self.threads.iter().any(|(_, thread)| of_tenant(thread))
    }

    /// Fills all buckets: another clock begins, and nobody waits.
    pub(in crate::runtime::preempt) fn refill(&mut self) {
        for budget in self.groups.values_mut() {
            budget.refill();
        }
        for extra in self.threads.values_mut().filter_map(|t| t.extra.as_mut()) {
            extra.throttle.begin_anew();
            if let Some(budget) = &mut extra.budget {
                budget.refill();
            }
        }
    }
}
