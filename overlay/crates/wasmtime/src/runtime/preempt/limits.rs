//! What a guest thread, or a group of them, may use in all.
//!
//! ```text
//!   dispatch ---- what is left of the budgets bounds the slice ----> timer, fuel
//!      ^                                                               |
//!      |  over the soft limit: the hook, and then on                   v
//!      +------------------------------------------------------ off the CPU: charge
//!                                                                      |
//!                                       over the limit: end it <-------+
//! ```
//!
//! Time on the CPU is what the OS says that the OS thread got, where it says so:
//! the time of a dispatch includes what other processes took. Asking costs a system
//! call at either end of a dispatch, and is done for threads with such a limit only.

use super::clock::{Moment, nanos};
use super::id::ThreadId;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use core::fmt;
use core::time::Duration;

/// What is called at a soft limit: the embedder's, of the store's own type.
pub(super) type LimitHook = Box<dyn FnMut(&mut dyn VMStore, SoftLimit) -> Result<()> + Send + Sync>;

/// What a guest thread may use before it is ended, or its group: see
/// [`ThreadOptions::limits`](crate::ThreadOptions::limits) and
/// [`WasmThreads::set_group_limits`](super::WasmThreads::set_group_limits).
///
/// A *soft* limit calls the hook of
/// [`WasmThreads::set_soft_limit_hook`](super::WasmThreads::set_soft_limit_hook) once when
/// it is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadLimits {
    pub(super) fuel: Option<u64>,
    pub(super) soft_fuel: Option<u64>,
    pub(super) cpu_time: Option<Duration>,
    pub(super) soft_cpu_time: Option<Duration>,
    pub(super) wall_time: Option<Duration>,
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
        }
    }

    /// Units of fuel. The engine must count fuel.
    ///
    /// The thread is ended at the first check of fuel that it reaches when it has
    /// used this much, or when it comes back from a host function or libcall then. One that
    /// has used more and ends before that is over its limit as well, whatever it has returned.
    /// A bulk operation on a memory or table is not done if it would take more than is left.
    ///
    /// A host function charges its caller for its work by setting the store's fuel to less.
    pub const fn fuel(mut self, units: u64) -> ThreadLimits {
        self.fuel = Some(units);
        self
    }

    /// Units of fuel until the hook is called.
    pub const fn soft_fuel(mut self, units: u64) -> ThreadLimits {
        self.soft_fuel = Some(units);
        self
    }

    /// Time on the CPU: neither while it waits for its turn, nor while the OS runs
    /// something else. Includes host functions, which are not interrupted: a thread
    /// in one is ended when that has returned.
    ///
    /// Under [`Preemption::Fuel`](crate::Preemption::Fuel) it is looked at when a
    /// slice is over, and when a host function has returned.
    pub const fn cpu_time(mut self, time: Duration) -> ThreadLimits {
        self.cpu_time = Some(time);
        self
    }

    /// Time on the CPU until the hook is called.
    pub const fn soft_cpu_time(mut self, time: Duration) -> ThreadLimits {
        self.soft_cpu_time = Some(time);
        self
    }

    /// Time since the thread was spawned, whatever it did. A thread that is late
    /// while no run is on is ended by the next one, and one that is in a host
    /// function when that has returned. Not for groups.
    pub const fn wall_time(mut self, time: Duration) -> ThreadLimits {
        self.wall_time = Some(time);
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
        Ok(())
    }

    pub(super) fn is_none(&self) -> bool {
        *self == ThreadLimits::new()
    }

    fn of_cpu_time(&self) -> bool {
        self.cpu_time.is_some() || self.soft_cpu_time.is_some()
    }
}

/// The limit that a guest thread was ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverLimit {
    /// [`ThreadLimits::fuel`], in units.
    Fuel {
        /// What was allowed.
        limit: u64,
        /// What was used, with what a bulk operation would have that was refused for it.
        used: u64,
        /// Whether by its group.
        group: bool,
    },
    /// [`ThreadLimits::cpu_time`].
    CpuTime {
        /// What was allowed.
        limit: Duration,
        /// What was used.
        used: Duration,
        /// Whether by its group.
        group: bool,
    },
    /// [`ThreadLimits::wall_time`].
    WallTime {
        /// What was allowed.
        limit: Duration,
        /// How long ago it was spawned.
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

/// The soft limit that a guest thread has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftLimit {
    /// Who has.
    pub thread: ThreadId,
    /// Which one: as if it were a limit.
    pub limit: OverLimit,
}

/// Limits, and what was used of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    limits: ThreadLimits,
    fuel_used: u64,
    cpu_used: Duration,
    told_of_fuel: bool,
    told_of_cpu: bool,
    /// What suspended threads may use before anybody looks, in fuel: of a group.
    fuel_held: u64,
}

/// How much may be used until somebody has to look at the budgets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    pub(super) fuel: Option<u64>,
    /// As much of it as is for all threads of the group.
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

    /// When the time is over that begins `now`, in nanoseconds on the clock.
    pub(super) fn end(&self, now: Moment) -> u64 {
        let end = |time| now.as_nanos().saturating_add(nanos(time));
        self.time.map_or(u64::MAX, end)
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

    /// What was used stays used. A soft limit that was raised is told of again.
    pub(super) fn set_limits(&mut self, limits: ThreadLimits) {
        self.limits = limits;
        self.told_of_fuel &= limits.soft_fuel.is_some_and(|soft| soft <= self.fuel_used);
        self.told_of_cpu &= limits
            .soft_cpu_time
            .is_some_and(|soft| soft <= self.cpu_used);
    }

    pub(super) fn limits(&self) -> ThreadLimits {
        self.limits
    }

    pub(super) fn charge(&mut self, fuel: u64, cpu: Duration) {
        self.fuel_used = self.fuel_used.saturating_add(fuel);
        self.cpu_used = self.cpu_used.saturating_add(cpu);
    }

    /// A suspended thread holds this fuel counter.
    pub(super) fn hold(&mut self, counter: i64) {
        let held = counter.min(0).unsigned_abs();
        self.fuel_held = self.fuel_held.saturating_add(held);
    }

    /// It goes on with it.
    pub(super) fn give_back(&mut self, counter: i64) {
        let held = counter.min(0).unsigned_abs();
        self.fuel_held = self.fuel_held.saturating_sub(held);
    }

    /// What is left of the limit of fuel.
    pub(super) fn fuel_left(&self) -> Option<u64> {
        let left = self.limits.fuel?.saturating_sub(self.fuel_used);
        Some(self.beside_held(left))
    }

    /// What is left of `fuel` without what suspended threads hold. If that is all, whoever asks
    /// goes on unit by unit, as they may wait for it.
    fn beside_held(&self, fuel: u64) -> u64 {
        fuel.saturating_sub(self.fuel_held).max(fuel.min(1))
    }

    /// The limit that was reached, after which nothing is left.
    pub(super) fn over(&self, group: bool) -> Option<OverLimit> {
        self.beyond(
            |used, limit| used >= limit,
            |used, limit| used >= limit,
            group,
        )
    }

    /// The limit of which more was used than there was.
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

    /// The soft limit that it is newly over.
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

    /// What is left until the next limit. At least 1 each, if it is not over.
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

/// How long this OS thread had a CPU. `None` where the OS does not say.
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
