//! What a thread does, and how it may end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wasmtime::preempt::{OverLimit, ThreadLimits, ThreadState, ThreadStats};
use wasmtime::*;

/// The export that a thread calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Sum,
    Trap,
    Overflow,
    Spin,
    Nested,
    Keeps,
    Pass,
    Sleep,
    Join,
    Yields,
    Child,
    Kill,
    Wait,
    Nap,
    Notify,
    /// In an instance that others cannot be in.
    Count,
}

impl Work {
    pub const ALL: [Work; 16] = [
        Work::Sum,
        Work::Trap,
        Work::Overflow,
        Work::Spin,
        Work::Nested,
        Work::Keeps,
        Work::Pass,
        Work::Sleep,
        Work::Join,
        Work::Yields,
        Work::Child,
        Work::Kill,
        Work::Wait,
        Work::Nap,
        Work::Notify,
        Work::Count,
    ];

    pub fn export(self) -> &'static str {
        match self {
            Work::Sum => "sum",
            Work::Trap => "trap",
            Work::Overflow => "overflow",
            Work::Spin => "spin",
            Work::Nested => "nested",
            Work::Keeps => "keeps",
            Work::Pass => "pass",
            Work::Sleep => "sleep",
            Work::Join => "join",
            Work::Yields => "yields",
            Work::Child => "child",
            Work::Kill => "kill",
            Work::Wait => "wait",
            Work::Nap => "nap",
            Work::Notify => "notify",
            Work::Count => "count",
        }
    }

    fn result(self, n: i64) -> i64 {
        match self {
            Work::Nested => n * (n + 1),
            Work::Join | Work::Kill | Work::Wait | Work::Notify | Work::Count => n,
            _ => n * (n + 1) / 2,
        }
    }

    /// Whether nothing from outside of the store can wake it.
    pub fn may_be_stuck(self) -> bool {
        matches!(self, Work::Wait | Work::Join)
    }
}

/// What a thread or a group may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    pub fuel: Option<u64>,
    pub cpu: Option<Duration>,
    pub wall: Option<Duration>,
    pub soft_fuel: Option<u64>,
}

impl Limits {
    pub fn to_store(self) -> ThreadLimits {
        let mut limits = ThreadLimits::new();
        if let Some(units) = self.fuel {
            limits = limits.fuel(units);
        }
        if let Some(time) = self.cpu {
            limits = limits.cpu_time(time);
        }
        if let Some(time) = self.wall {
            limits = limits.wall_time(time);
        }
        if let Some(units) = self.soft_fuel {
            limits = limits.soft_fuel(units);
        }
        limits
    }
}

/// What is known of a thread.
pub struct Thread {
    pub work: Work,
    pub n: i64,
    pub detached: bool,
    pub suspended: bool,
    /// Whether somebody asked for its end.
    pub killed: bool,
    pub limits: Limits,
    /// How often its hook was called, if it has one.
    pub ended: Option<Arc<AtomicUsize>>,
    pub stats: ThreadStats,
}

impl Thread {
    /// What a store says of it is possible.
    pub fn check(&mut self, info: &preempt::ThreadInfo<'_>) {
        let finished = info.state == ThreadState::Finished;
        let suspended = info.state == ThreadState::Suspended;
        assert_ne!(info.state, ThreadState::Running, "there is no run");
        assert_eq!(suspended, self.suspended && !finished, "{info:?}");
        if let Some(ended) = &self.ended {
            assert_eq!(ended.load(Ordering::SeqCst), usize::from(finished));
        }
        let (was, is) = (self.stats, info.stats);
        assert!(is.dispatches >= was.dispatches, "{info:?}");
        assert!(is.cpu_time >= was.cpu_time && is.wall_time >= was.wall_time);
        assert!(is.fuel_consumed >= was.fuel_consumed, "{info:?}");
        assert!(is.preemptions + is.yields <= is.dispatches, "{info:?}");
        self.stats = is;
    }

    /// It may have ended like this. `of_group` are the limits that its group has had.
    pub fn check_exit(&self, exit: &Exit, of_group: &[Limits]) {
        match (exit, self.work) {
            (Exit::Killed, work) => assert!(self.killed, "nobody has killed {work:?}"),
            (Exit::OverLimit(over), _) => self.check_limit(*over, of_group),
            (Exit::Trapped(error), Work::Trap) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
            }
            (Exit::Trapped(error), Work::Overflow) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
            }
            // For itself, or nobody.
            (Exit::Trapped(error), Work::Join) => assert!(!error.is::<Trap>(), "{error:?}"),
            (Exit::Returned(_), Work::Trap | Work::Overflow | Work::Spin) => {
                panic!("{:?} has returned", self.work)
            }
            (Exit::Returned(values), work) => {
                assert_eq!(values[0].i64(), Some(work.result(self.n)), "{work:?}");
            }
            (exit, work) => panic!("{work:?}: {exit:?}"),
        }
    }

    fn check_limit(&self, over: OverLimit, of_group: &[Limits]) {
        let own = std::slice::from_ref(&self.limits);
        let of = |group| if group { of_group } else { own };
        match over {
            OverLimit::Fuel { limit, used, group } => {
                let set = of(group).iter().any(|of| of.fuel == Some(limit));
                assert!(set && used >= limit, "{over}");
            }
            OverLimit::CpuTime { limit, used, group } => {
                let set = of(group).iter().any(|of| of.cpu == Some(limit));
                assert!(set && used >= limit, "{over}");
            }
            OverLimit::WallTime { limit, used } => {
                assert_eq!(self.limits.wall, Some(limit), "{over}");
                assert!(used >= limit, "{over}");
            }
            over => panic!("{over:?}"),
        }
    }
}
