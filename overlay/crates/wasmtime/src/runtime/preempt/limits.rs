//! What a guest thread, or a group of them, may use in total.
//!
//! ```text
//!   dispatch ---- what is left of the budgets bounds the slice ----> timer, fuel
//!      ^                                                               |
//!      |  over the soft limit: call the hook                           v
//!      +------------------------------------------------------ off the CPU: charge
//!                                                                      |
//!                                       over the limit: end it <-------+
//! ```
//!
//! CPU time is what the OS reports for the OS thread, if it reports any: the duration of a
//! dispatch includes what other processes took. Asking costs a system call at each end of a
//! dispatch, so this is done only for threads with such a limit.

use super::clock::{Moment, NEVER, nanos};
use super::id::ThreadId;
use super::rate::{Bucket, CpuRate};
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use core::fmt;
use core::time::Duration;

/// The embedder's hook for soft limits, for the store's own type.
pub(super) type LimitHook = Box<dyn FnMut(&mut dyn VMStore, SoftLimit) -> Result<()> + Send + Sync>;

/// What a guest thread or its group may use before it is ended: see
/// [`ThreadOptions::limits`](crate::ThreadOptions::limits) and
/// [`WasmThreads::set_group_limits`](super::WasmThreads::set_group_limits).
///
/// Reaching a *soft* limit calls the hook of
/// [`WasmThreads::set_soft_limit_hook`](super::WasmThreads::set_soft_limit_hook) once, and
/// again after the soft limit was raised and reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadLimits {
    pub(super) fuel: Option<u64>,
    pub(super) soft_fuel: Option<u64>,
    pub(super) cpu_time: Option<Duration>,
    pub(super) soft_cpu_time: Option<Duration>,
    pub(super) wall_time: Option<Duration>,
    pub(super) cpu_rate: Option<CpuRate>,
}

impl ThreadLimits {
    /// No limits.
    pub const fn new() -> ThreadLimits {
        ThreadLimits {
            fuel: None,
            soft_fuel: None,
            cpu_time: None,
            soft_cpu_time: None,
            wall_time: None,
            cpu_rate: None,
        }
    }

    /// Units of fuel. The engine must count fuel.
    ///
    /// Once the thread has used this much, it is ended at its next fuel check or when it returns
    /// from a host function or libcall. A thread that has used more and finishes first is over
    /// its limit as well, whatever it returned. A bulk operation on a memory or table is refused
    /// if it would take more than is left.
    ///
    /// A host function charges its caller for its work by lowering the store's fuel.
    pub const fn fuel(mut self, units: u64) -> ThreadLimits {
        self.fuel = Some(units);
        self
    }

    /// Units of fuel before the hook is called.
    pub const fn soft_fuel(mut self, units: u64) -> ThreadLimits {
        self.soft_fuel = Some(units);
        self
    }

    /// Time on the CPU. Excludes waiting for the CPU, and time in which the OS runs something
    /// else. Includes host functions, which are not interrupted: a thread in one is ended when
    /// that returns.
    ///
    /// Under [`Preemption::Fuel`](crate::Preemption::Fuel), this is checked when a slice ends
    /// and when a host function returns.
    pub const fn cpu_time(mut self, time: Duration) -> ThreadLimits {
        self.cpu_time = Some(time);
        self
    }

    /// Time on the CPU before the hook is called.
    pub const fn soft_cpu_time(mut self, time: Duration) -> ThreadLimits {
        self.soft_cpu_time = Some(time);
        self
    }

    /// Time since the thread was spawned, whatever it did. A thread that exceeds it between runs
    /// is ended by the next one. A thread in a host function is ended when that returns. Not for
    /// groups.
    pub const fn wall_time(mut self, time: Duration) -> ThreadLimits {
        self.wall_time = Some(time);
        self
    }

    /// Time on the CPU per period, such as 20 ms per 100 ms, as `cpu.max` of a Linux cgroup has it:
    /// a thread that has used up its quota is not ended but *throttled*. It is parked until enough
    /// has refilled, and its siblings run meanwhile. If there are none, the run sleeps.
    ///
    /// The quota is full at first, refills evenly, and is never more than one quota. What a thread
    /// uses beyond it, in a host function that takes long, it owes. A thread that is throttled
    /// keeps what it holds, such as locks in a shared memory; limits, kills and the end of a run
    /// find it as they find any parked thread. [`WaitFor::CpuRate`](super::WaitFor::CpuRate) and
    /// [`ThreadStats::throttles`](super::ThreadStats::throttles) tell of it.
    ///
    /// The threads of a group share the group's quota, and take turns at it. A
    /// [`Tenant`](super::Tenant) has one for threads of many stores.
    ///
    /// Under [`Preemption::Fuel`](crate::Preemption::Fuel), the quota is checked at the end of each
    /// slice, and schedules depend on time, as they do if threads sleep. With a [virtual
    /// clock](super::WasmThreads::set_virtual_clock) they do not: there, both times are counted in
    /// units of fuel, one for a nanosecond.
    ///
    /// The quota must be at least 100 us, and at most the period; the period from 1 ms to 1 h.
    pub const fn cpu_rate(mut self, quota: Duration, period: Duration) -> ThreadLimits {
        self.cpu_rate = Some(CpuRate::new(quota, period));
        self
    }

    pub(super) fn validate(&self, fuel_is_counted: bool, group: bool) -> Result<()> {
        let whose = if group { "group's" } else { "guest thread's" };
        for (what, fuel) in [("fuel", self.fuel), ("soft fuel", self.soft_fuel)] {
            if let Some(fuel) = fuel {
                ensure!(
                    fuel > 0,
                    "a {whose} {what} limit of 0 would end it before it starts: it must be \
                     at least 1"
                );
                ensure!(
                    fuel_is_counted,
                    "a {whose} {what} limit of {fuel} needs an engine that counts fuel: call \
                     `Config::consume_fuel`, and give the store some with `Store::set_fuel`; \
                     or limit its CPU time"
                );
            }
        }
        for (what, time) in [
            ("CPU time", self.cpu_time),
            ("soft CPU time", self.soft_cpu_time),
            ("wall time", self.wall_time),
        ] {
            ensure!(
                time != Some(Duration::ZERO),
                "a {whose} {what} limit of zero would end it before it starts: it must be at \
                 least 1 ns"
            );
        }
        ensure!(
            !(group && self.wall_time.is_some()),
            "a group has no wall time limit: its threads are spawned at different times; \
             give each of them one"
        );
        if let Some(rate) = &self.cpu_rate {
            rate.validate(whose, Some(1))?;
        }
        Ok(())
    }

    pub(super) fn is_none(&self) -> bool {
        *self == ThreadLimits::new()
    }

    fn of_cpu_time(&self) -> bool {
        self.cpu_time.is_some() || self.soft_cpu_time.is_some() || self.cpu_rate.is_some()
    }
}

/// The limit for which a guest thread was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverLimit {
    /// [`ThreadLimits::fuel`], in units.
    Fuel {
        /// What was allowed.
        limit: u64,
        /// What was used, including a bulk operation that was refused for it.
        used: u64,
        /// Whether it is the group's limit.
        group: bool,
    },
    /// [`ThreadLimits::cpu_time`].
    CpuTime {
        /// What was allowed.
        limit: Duration,
        /// What was used.
        used: Duration,
        /// Whether it is the group's limit.
        group: bool,
    },
    /// [`ThreadLimits::wall_time`].
    WallTime {
        /// What was allowed.
        limit: Duration,
        /// Time since it was spawned.
        used: Duration,
    },
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_group = |group| if group { " of its group" } else { "" };
        match *self {
            OverLimit::Fuel { limit, used, group } => write!(
                f,
                "over the fuel limit{} of {limit} units: {used} used",
                of_group(group)
            ),
            OverLimit::CpuTime { limit, used, group } => write!(
                f,
                "over the CPU time limit{} of {limit:?}: {used:?} used",
                of_group(group)
            ),
            OverLimit::WallTime { limit, used } => {
                write!(f, "over the wall time limit of {limit:?}: {used:?} passed")
            }
        }
    }
}

impl core::error::Error for OverLimit {}

/// The soft limit that a guest thread reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftLimit {
    /// The thread that reached it.
    pub thread: ThreadId,
    /// The soft limit, in the form of a hard one.
    pub limit: OverLimit,
}

/// Limits, and what was used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    limits: ThreadLimits,
    fuel_used: u64,
    cpu_used: Duration,
    told_of_fuel: bool,
    told_of_cpu: bool,
    /// Fuel that threads off the CPU may use before anybody checks: for groups.
    fuel_held: u64,
    bucket: Bucket,
}

/// How much may be used before somebody must check the budgets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    pub(super) fuel: Option<u64>,
    /// The part of it that all threads of the group share.
    pub(super) group_fuel: Option<u64>,
    pub(super) time: Option<Duration>,
    pub(super) count_cpu_time: bool,
}

impl Allowance {
    pub(super) fn and(self, other: Allowance) -> Allowance {
        Allowance {
            fuel: least(self.fuel, other.fuel),
            group_fuel: least(self.group_fuel, other.group_fuel),
            time: least(self.time, other.time),
            count_cpu_time: self.count_cpu_time || other.count_cpu_time,
        }
    }

    /// When the time that begins `now` is over, in nanoseconds on the clock.
    pub(super) fn end(&self, now: Moment) -> u64 {
        let end = |time| now.as_nanos().saturating_add(nanos(time));
        self.time.map_or(NEVER, end)
    }

    pub(super) fn until(self, end: Moment, now: Moment) -> Allowance {
        let left = end.left(now);
        Allowance {
            time: Some(self.time.map_or(left, |time| time.min(left))),
            ..self
        }
    }
}

fn least<N: Ord>(a: Option<N>, b: Option<N>) -> Option<N> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Budget {
    pub(super) fn new(limits: ThreadLimits) -> Budget {
        Budget {
            limits,
            ..Budget::default()
        }
    }

    pub(super) fn with_used(fuel_used: u64, cpu_used: Duration) -> Budget {
        Budget {
            fuel_used,
            cpu_used,
            ..Budget::default()
        }
    }

    /// What was used stays used. Raising a soft limit rearms its hook, even if the new one is
    /// reached already.
    pub(super) fn set_limits(&mut self, limits: ThreadLimits) {
        let (fuel, cpu) = (limits.soft_fuel, limits.soft_cpu_time);
        self.told_of_fuel &=
            fuel <= self.limits.soft_fuel && fuel.is_some_and(|soft| soft <= self.fuel_used);
        self.told_of_cpu &=
            cpu <= self.limits.soft_cpu_time && cpu.is_some_and(|soft| soft <= self.cpu_used);
        self.limits = limits;
    }

    /// Prepares for [`set_limits`](Self::set_limits): what was used beyond the old rate counts.
    pub(super) fn convert_bucket(&mut self, limits: &ThreadLimits, now: Moment) {
        if let (Some(old), Some(new)) = (self.limits.cpu_rate, limits.cpu_rate) {
            self.bucket.convert(&old, &new, now.as_nanos());
        }
    }

    pub(super) fn limits(&self) -> ThreadLimits {
        self.limits
    }

    /// The CPU rate and the bucket for it, if there is one.
    pub(super) fn bucket(&mut self) -> Option<(CpuRate, &mut Bucket)> {
        Some((self.limits.cpu_rate?, &mut self.bucket))
    }

    pub(super) fn refill(&mut self) {
        self.bucket = Bucket::default();
    }

    pub(super) fn charge(&mut self, fuel: u64, cpu: Duration) {
        self.fuel_used = self.fuel_used.saturating_add(fuel);
        self.cpu_used = self.cpu_used.saturating_add(cpu);
    }

    /// A thread off the CPU holds this fuel counter.
    pub(super) fn hold(&mut self, counter: i64) {
        let held = counter.min(0).unsigned_abs();
        self.fuel_held = self.fuel_held.saturating_add(held);
    }

    /// The thread continues with that counter.
    pub(super) fn give_back(&mut self, counter: i64) {
        let held = counter.min(0).unsigned_abs();
        self.fuel_held = self.fuel_held.saturating_sub(held);
    }

    /// What is left of the fuel limit.
    pub(super) fn fuel_left(&self) -> Option<u64> {
        let left = self.limits.fuel?.saturating_sub(self.fuel_used);
        Some(self.beside_held(left))
    }

    /// What is left of `fuel` without what threads off the CPU hold. If they hold it all, the
    /// caller continues unit by unit, as they may be waiting for it.
    fn beside_held(&self, fuel: u64) -> u64 {
        fuel.saturating_sub(self.fuel_held).max(fuel.min(1))
    }

    /// The limit that was reached, leaving nothing.
    pub(super) fn over(&self, group: bool) -> Option<OverLimit> {
        self.beyond(
            |used, limit| used >= limit,
            |used, limit| used >= limit,
            group,
        )
    }

    /// The limit that was exceeded.
    pub(super) fn exceeded(&self, group: bool) -> Option<OverLimit> {
        self.beyond(
            |used, limit| used > limit,
            |used, limit| used > limit,
            group,
        )
    }

    fn beyond(
        &self,
        fuel_is: impl Fn(u64, u64) -> bool,
        time_is: impl Fn(Duration, Duration) -> bool,
        group: bool,
    ) -> Option<OverLimit> {
        if let Some(limit) = self.limits.fuel
            && fuel_is(self.fuel_used, limit)
        {
            return Some(OverLimit::Fuel {
                limit,
                used: self.fuel_used,
                group,
            });
        }
        if let Some(limit) = self.limits.cpu_time
            && time_is(self.cpu_used, limit)
        {
            return Some(OverLimit::CpuTime {
                limit,
                used: self.cpu_used,
                group,
            });
        }
        None
    }

    /// The soft limit that was newly reached.
    pub(super) fn newly_over_soft(&mut self, group: bool) -> Option<OverLimit> {
        if let Some(limit) = self.limits.soft_fuel
            && !self.told_of_fuel
            && self.fuel_used >= limit
        {
            self.told_of_fuel = true;
            return Some(OverLimit::Fuel {
                limit,
                used: self.fuel_used,
                group,
            });
        }
        if let Some(limit) = self.limits.soft_cpu_time
            && !self.told_of_cpu
            && self.cpu_used >= limit
        {
            self.told_of_cpu = true;
            return Some(OverLimit::CpuTime {
                limit,
                used: self.cpu_used,
                group,
            });
        }
        None
    }

    /// What is left until the next limit. At least 1 each, if not over it.
    pub(super) fn allowance(&self, group: bool) -> Allowance {
        let soft_fuel = self.limits.soft_fuel.filter(|_| !self.told_of_fuel);
        let soft_cpu = self.limits.soft_cpu_time.filter(|_| !self.told_of_cpu);
        let fuel = least(self.limits.fuel, soft_fuel).map(|n| n.saturating_sub(self.fuel_used));
        let fuel = fuel.map(|left| self.beside_held(left));
        Allowance {
            fuel,
            group_fuel: fuel.filter(|_| group),
            time: least(self.limits.cpu_time, soft_cpu)
                .map(|time| time.saturating_sub(self.cpu_used)),
            count_cpu_time: self.limits.of_cpu_time(),
        }
    }
}

/// CPU time of this OS thread. `None` if the OS does not report it.
#[cfg(target_os = "linux")]
pub(super) fn thread_cpu_time() -> Option<Duration> {
    let mut time = core::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a local, which is written if this succeeds.
    let time = unsafe {
        if libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    Some(Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn thread_cpu_time() -> Option<Duration> {
    None
}
