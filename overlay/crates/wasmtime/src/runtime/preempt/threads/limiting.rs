//! Thread limits: charging what threads use, and checking it.

use super::{PreemptiveThreads, Running, Thread};
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, nanos};
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::limits::{
    Allowance, Budget, OverLimit, SoftLimit, ThreadLimits, thread_cpu_time,
};
use crate::runtime::preempt::tasks::Tasks;
use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

impl Thread {
    /// What it may use in the dispatch that begins `now`, and any limit it has already
    /// reached.
    pub(super) fn allowance(
        &self,
        groups: &HashMap<u64, Budget>,
        timeouts: &BTreeSet<(Moment, ThreadId)>,
        now: Moment,
    ) -> (Allowance, Option<Box<OverLimit>>) {
        let mut allowance = Allowance::default();
        let mut over = None;
        if let Some(budget) = self.budget() {
            allowance = budget.allowance(false);
            over = budget.over(false);
        }
        if !groups.is_empty()
            && let Some(budget) = groups.get(&self.group())
        {
            allowance = allowance.and(budget.allowance(true));
            over = over.or(budget.over(true));
        }
        if let Some((end, _)) = timeouts.first() {
            allowance = allowance.until(*end, now);
        }
        (allowance, over.map(Box::new))
    }

    /// The limit that it or its group has exceeded. It may have finished before anybody
    /// checked.
    pub(super) fn exceeded(&self, groups: &HashMap<u64, Budget>, now: Moment) -> Option<OverLimit> {
        self.extra.as_ref()?;
        let own = self.budget().and_then(|budget| budget.exceeded(false));
        own.or_else(|| groups.get(&self.group())?.exceeded(true))
            .or_else(|| self.over_wall_time(now))
    }

    /// Its wall time limit, if it is over that.
    fn over_wall_time(&self, now: Moment) -> Option<OverLimit> {
        let (spawned, end) = self.extra.as_ref()?.timeout?;
        (end <= now).then(|| OverLimit::WallTime {
            limit: end.left(spawned),
            used: now.left(spawned),
        })
    }

    /// Charges what it used in the dispatch that ends `now`, and returns the time, in nanoseconds.
    pub(super) fn charge(
        &mut self,
        running: &Running,
        now: Moment,
        groups: &mut HashMap<u64, Budget>,
    ) -> u64 {
        let mut used = now.since(running.since);
        if let Some(since) = running.cpu_since
            && let Some(now) = thread_cpu_time()
        {
            used = nanos(running.cpu_before + now.saturating_sub(since));
        }
        self.usage.cpu_time += used;
        let fuel = self.usage.fuel_consumed;
        self.usage.fuel_consumed = fuel.saturating_add(running.fuel_consumed);
        if self.extra.is_none() {
            return used;
        }
        let cpu_time = Duration::from_nanos(used);
        if let Some(budget) = self.budget_mut() {
            budget.charge(running.fuel_consumed, cpu_time);
        }
        if let Some(budget) = groups.get_mut(&self.group()) {
            budget.charge(running.fuel_consumed, cpu_time);
        }
        used
    }
}

impl PreemptiveThreads {
    /// The running thread keeps the store, and the OS thread may do something else.
    pub(in crate::runtime::preempt) fn keep(&mut self, in_host: usize, tasks: Option<Tasks>) {
        let Some(running) = self.running_mut() else {
            return;
        };
        running.in_host = in_host;
        running.tasks = tasks;
        if let Some(since) = running.cpu_since {
            let now = thread_cpu_time().unwrap_or(since);
            running.cpu_before += now.saturating_sub(since);
            running.cpu_since = Some(now);
        }
    }

    /// The thread continues, perhaps on another OS thread.
    pub(in crate::runtime::preempt) fn keep_on(&mut self, now: Moment) {
        let Some(thread) = self.running().and_then(|r| self.threads.get(&r.id)) else {
            return;
        };
        let (mut allowance, _) = thread.allowance(&self.groups, &self.timeouts, now);
        if self.has_rates {
            let by_fuel = self.wait_clock.is_virtual();
            allowance = thread.within_grant(allowance, self.preemption, by_fuel);
        }
        if let Some(running) = self.running_mut() {
            running.allowance = allowance;
            running.allowance.time = allowance
                .time
                .map(|time| time.saturating_sub(running.cpu_before));
            running.limit_end = running.allowance.end(now);
            running.cpu_since = running.cpu_since.and_then(|_| thread_cpu_time());
        }
    }

    pub(in crate::runtime::preempt) fn set_limits(
        &mut self,
        id: ThreadId,
        limits: ThreadLimits,
    ) -> Result<()> {
        self.live_mut(id, "limited")?;
        let was_throttled = self.return_grant(id, false);
        self.has_rates |= limits.cpu_rate.is_some();
        let clock = self.now_for_waits(Moment::now());
        let thread = self.live_mut(id, "limited")?;
        let usage = thread.usage;
        let extra = thread.extra_mut();
        let old = extra.timeout.take();
        let spawned = old.map_or_else(Moment::now, |(spawned, _)| spawned);
        extra.timeout = limits
            .wall_time
            .and_then(|time| Some((spawned, spawned.checked_add(time)?)));
        let new = extra.timeout;
        let cpu_used = Duration::from_nanos(usage.cpu_time);
        let used = || Budget::with_used(usage.fuel_consumed, cpu_used);
        let budget = extra.budget.get_or_insert_with(used);
        budget.convert_bucket(&limits, clock);
        budget.set_limits(limits);
        if let Some((_, end)) = old {
            self.timeouts.remove(&(end, id));
        }
        if let Some((_, end)) = new {
            self.timeouts.insert((end, id));
        }
        if was_throttled {
            self.release(vec![id]);
        }
        Ok(())
    }

    pub(in crate::runtime::preempt) fn set_group_limits(
        &mut self,
        group: u64,
        limits: ThreadLimits,
    ) {
        let mut throttled = match self.has_rates {
            true => self.members(group),
            false => Vec::new(),
        };
        throttled.retain(|id| self.return_grant(*id, true));
        self.has_rates |= limits.cpu_rate.is_some();
        if limits.is_none() {
            self.groups.remove(&group);
        } else {
            let clock = self.now_for_waits(Moment::now());
            let budget = self.groups.entry(group).or_default();
            budget.convert_bucket(&limits, clock);
            budget.set_limits(limits);
        }
        self.release(throttled);
    }

    /// How much fuel the running thread's own limit and its group's leave it.
    pub(in crate::runtime::preempt) fn fuel_limit_left(&self) -> Option<u64> {
        let running = self.running()?;
        let thread = self.threads.get(&running.id)?;
        let own = thread.budget().and_then(Budget::fuel_left);
        let group = self.groups.get(&thread.group());
        let group = group.and_then(Budget::fuel_left);
        let least = own.into_iter().chain(group).min()?;
        Some(least.saturating_sub(running.fuel_consumed))
    }

    /// The fuel limit that the running thread has reached, or would reach with `more` units.
    pub(in crate::runtime::preempt) fn beyond_fuel_limit(&self, more: u64) -> Option<OverLimit> {
        let running = self.running()?;
        let thread = self.threads.get(&running.id)?;
        let over = |budget: &Budget, group| {
            let mut budget = *budget;
            budget.charge(running.fuel_consumed, Duration::ZERO);
            budget.charge(more, Duration::ZERO);
            budget.over(group)
        };
        let own = thread.budget().and_then(|budget| over(budget, false));
        own.or_else(|| over(self.groups.get(&thread.group())?, true))
    }

    /// The limit that `id`, which is off the CPU, must be ended for.
    pub(in crate::runtime::preempt) fn over_limit(&self, id: ThreadId) -> Option<OverLimit> {
        let thread = self.threads.get(&id)?;
        let own = thread.budget().and_then(|budget| budget.over(false));
        own.or_else(|| self.groups.get(&thread.group())?.over(true))
    }

    /// The soft limit that `id` has newly reached.
    pub(in crate::runtime::preempt) fn soft_limit(&mut self, id: ThreadId) -> Option<SoftLimit> {
        let thread = self.threads.get_mut(&id)?;
        let own = thread
            .budget_mut()
            .and_then(|budget| budget.newly_over_soft(false));
        let group = thread.group();
        let limit = own.or_else(|| self.groups.get_mut(&group)?.newly_over_soft(true))?;
        Some(SoftLimit { thread: id, limit })
    }

    /// When `id` exceeds its wall time limit, if it has one.
    pub(in crate::runtime::preempt) fn timeout_of(&self, id: ThreadId) -> Option<Moment> {
        let (_, end) = self.threads.get(&id)?.extra.as_ref()?.timeout?;
        Some(end)
    }

    /// The wall time limit of `id`, if it is over that.
    pub(in crate::runtime::preempt) fn over_wall_time(
        &self,
        id: ThreadId,
        now: Moment,
    ) -> Option<OverLimit> {
        self.threads.get(&id)?.over_wall_time(now)
    }

    /// A thread that is over its wall time limit, and that limit.
    pub(in crate::runtime::preempt) fn timed_out(
        &self,
        now: Moment,
    ) -> Option<(ThreadId, OverLimit)> {
        let (_, id) = *self.timeouts.first()?;
        Some((id, self.over_wall_time(id, now)?))
    }
}
