//! The states of guest threads and of runs. Only this file changes them.
//!
//! ```text
//!                          (1) spawned
//!                              |
//!                              v                  (7) suspended,
//!                 +----------------------+       throttled   +-----------------+
//!                 |        Ready         | ----------------> |     Blocked     |
//!                 |  fiber, in the queue | <---------------- |  fiber is here  |
//!                 +----------------------+ (8) resumed       +-----------------+
//!                   |    |             ^                          |         ^
//!        (5) ended  |    | (2)         | (3) preempted, yielded   | (5)     | (3)
//!                   |    | dispatched  |                          |         |
//!                   |    v             |                          |         |
//!                   |   +----------------------+                  |         |
//!                   |   |       Running        |------------------|---------+
//!                   |   |  fiber on the CPU    |                  |
//!                   |   +----------------------+                  |
//!                   |                  |                          |
//!                   |                  | (4) returned, trapped,   |
//!                   |                  |     panicked, ended      |
//!                   v                  v                          v
//!                 +---------------------------------------------------+
//!                 |                     Finished                      |
//!                 |                no fiber, an exit                  |
//!                 +---------------------------------------------------+
//!                              |
//!                              v (6) taken, or at once if detached
//! ```
//!
//! What else an arrow changes (counts, clocks, the trace, the policy) is in the function of
//! `transitions.rs` that takes it.
//!
//! | arrow | here | function |
//! |---|---|---|
//! | 1 | [`Status::ready`] | `PreemptiveThreads::insert` |
//! | 2 | [`Status::start`] | `start_next` |
//! | 3 | [`Status::stop`] | `stop_running`; to `Blocked` if it parked or was suspended meanwhile |
//! | 4 | [`Status::finish`] | `finish`; also for a thread that is ended where it is: while it keeps the store, when a dispatch finds it over a limit, or, by `give_up_running`, when the future of its run was leaked. `give_up` if its fiber is lost |
//! | 5 | [`Status::start`], [`Status::finish`] | `start_ending`, then `finish`: it is killed, or over a limit. In between it is `Running`, because its stack is unwound on the CPU, and that may call host code, which can ask for the current thread |
//! | 6 | [`Status::take_exit`] | `take_exit` |
//! | 7 | [`Status::suspend`], [`Status::throttle`] | `suspend`; `throttle` (throttling.rs) |
//! | 8 | [`Status::resume`], [`Status::wake`] | `resume` if it was suspended, `wake` (parking.rs) if it was parked. A thread that is both needs both |

use core::mem;

/// Where a thread is: `F` is its fiber, `P` what it is parked for, `E` its exit.
enum State<F, P, E> {
    Ready(F),
    Running,
    /// Without a park, it is only suspended.
    Blocked(F, Option<P>),
    Finished(E),
}

/// A thread's state, and whether the embedder has suspended it.
pub(super) struct Status<F, P, E> {
    state: State<F, P, E>,
    /// Set while it is running if it is to be suspended when it goes off the CPU.
    suspended: bool,
}

impl<F, P, E> Status<F, P, E> {
    /// Arrow 1.
    pub(super) fn ready(fiber: F) -> Self {
        Status {
            state: State::Ready(fiber),
            suspended: false,
        }
    }

    /// Arrow 2, and the first half of 5. `None` if it is running or has finished.
    ///
    /// A blocked thread is started only to be ended, and if it was parked, the caller has
    /// called [`wake`](Self::wake) first.
    #[inline(always)]
    pub(super) fn start(&mut self) -> Option<F> {
        match &self.state {
            State::Ready(_) | State::Blocked(..) => {}
            State::Running | State::Finished(_) => return None,
        }
        match mem::replace(&mut self.state, State::Running) {
            State::Ready(fiber) | State::Blocked(fiber, _) => Some(fiber),
            State::Running | State::Finished(_) => None,
        }
    }

    /// Arrow 3. Returns whether it is blocked.
    #[inline(always)]
    pub(super) fn stop(&mut self, fiber: F, park: Option<P>) -> bool {
        debug_assert!(matches!(self.state, State::Running));
        let blocked = park.is_some() || self.suspended;
        self.state = match blocked {
            true => State::Blocked(fiber, park),
            false => State::Ready(fiber),
        };
        blocked
    }

    /// Arrow 4, and the second half of 5.
    pub(super) fn finish(&mut self, exit: E) {
        debug_assert!(matches!(self.state, State::Running));
        self.state = State::Finished(exit);
    }

    /// Arrow 6. `None` if it has not finished. Nothing else may be done afterwards.
    pub(super) fn take_exit(&mut self) -> Option<E> {
        if !self.is_finished() {
            return None;
        }
        match mem::replace(&mut self.state, State::Running) {
            State::Finished(exit) => Some(exit),
            _ => None,
        }
    }

    /// Arrow 7. Returns whether it was ready.
    pub(super) fn suspend(&mut self) -> bool {
        self.suspended = true;
        let was_ready = self.is_ready();
        if was_ready && let Some(fiber) = self.start() {
            self.state = State::Blocked(fiber, None);
        }
        was_ready
    }

    /// Arrow 7 for a ready thread that must wait before it runs. Returns whether it was ready.
    pub(super) fn throttle(&mut self, park: P) -> bool {
        let was_ready = self.is_ready();
        if was_ready && let Some(fiber) = self.start() {
            self.state = State::Blocked(fiber, Some(park));
        }
        was_ready
    }

    /// Arrow 8 for a suspended thread. Returns whether that made it ready.
    pub(super) fn resume(&mut self) -> bool {
        self.suspended = false;
        let blocked = matches!(self.state, State::Blocked(_, None));
        blocked && self.unblock()
    }

    /// Arrow 8 for a parked thread. Returns what it was parked for.
    pub(super) fn wake(&mut self) -> Option<P> {
        let State::Blocked(_, park) = &mut self.state else {
            return None;
        };
        let park = park.take()?;
        if !self.suspended {
            self.unblock();
        }
        Some(park)
    }

    fn unblock(&mut self) -> bool {
        let Some(fiber) = self.start() else {
            return false;
        };
        self.state = State::Ready(fiber);
        true
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Whether it is parked, suspended, or both. A running thread is not.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(self.state, State::Blocked(..))
    }

    #[inline]
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished(_))
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Whether it is suspended, or will be when it goes off the CPU.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended && !self.is_finished()
    }

    /// What it is parked for.
    pub(super) fn park(&self) -> Option<&P> {
        match &self.state {
            State::Blocked(_, park) => park.as_ref(),
            _ => None,
        }
    }

    /// Its fiber, unless it is running or has finished.
    #[inline(always)]
    pub(super) fn fiber(&self) -> Option<&F> {
        match &self.state {
            State::Ready(fiber) | State::Blocked(fiber, _) => Some(fiber),
            State::Running | State::Finished(_) => None,
        }
    }

    /// The same, to be changed.
    #[cfg(feature = "gc")]
    pub(super) fn fiber_mut(&mut self) -> Option<&mut F> {
        match &mut self.state {
            State::Ready(fiber) | State::Blocked(fiber, _) => Some(fiber),
            State::Running | State::Finished(_) => None,
        }
    }
}

/// Whether a store's threads are being run.
///
/// ```text
///          begin         shut_down
///    Idle -------> Run -------------> Shutdown
///     ^ ^ ^         | | ^                 |
///     | | |     end | | | resume          |
///     | | +---------+ | |                 |
///     | |  leave_kept v |                 |
///     | +------------ Kept                |
///     |    end                            | end
///     +-----------------------------------+
/// ```
#[derive(Default)]
pub(in crate::runtime::preempt) struct RunState(Phase);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Run,
    /// A run's future is between two polls, while a thread keeps the store. If it was leaked,
    /// the next run ends this phase.
    Kept,
    /// All threads are being ended, and none can be spawned.
    Shutdown,
}

impl RunState {
    /// Begins a run. Returns false if one is in progress.
    pub(in crate::runtime::preempt) fn begin(&mut self) -> bool {
        let was_idle = self.0 == Phase::Idle;
        if was_idle {
            self.0 = Phase::Run;
        }
        was_idle
    }

    pub(in crate::runtime::preempt) fn shut_down(&mut self) {
        self.0 = Phase::Shutdown;
    }

    pub(in crate::runtime::preempt) fn leave_kept(&mut self) {
        self.0 = Phase::Kept;
    }

    /// Continues after [`Self::leave_kept`], or after a poll that failed.
    pub(in crate::runtime::preempt) fn resume(&mut self) {
        self.0 = Phase::Run;
    }

    pub(in crate::runtime::preempt) fn end(&mut self) {
        self.0 = Phase::Idle;
    }

    /// Whether a run or a shutdown is in progress.
    pub(in crate::runtime::preempt) fn is_in_run(&self) -> bool {
        self.0 != Phase::Idle
    }

    #[inline]
    pub(in crate::runtime::preempt) fn is_kept(&self) -> bool {
        self.0 == Phase::Kept
    }

    pub(in crate::runtime::preempt) fn is_shutdown(&self) -> bool {
        self.0 == Phase::Shutdown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Test = Status<&'static str, &'static str, &'static str>;

    fn ready() -> Test {
        Status::ready("fiber")
    }

    fn running() -> Test {
        let mut status = ready();
        assert_eq!(status.start(), Some("fiber"));
        status
    }

    fn parked() -> Test {
        let mut status = running();
        assert!(status.stop("fiber", Some("park")));
        status
    }

    #[test]
    fn a_ready_thread_starts_once() {
        let mut status = ready();
        assert!(status.is_ready());
        assert_eq!(status.start(), Some("fiber"));
        assert!(status.is_running() && !status.is_ready() && !status.is_blocked());
        assert_eq!(status.start(), None);
    }

    #[test]
    fn a_stopped_thread_is_ready_unless_it_parked_or_was_suspended() {
        let mut status = running();
        assert!(!status.stop("fiber", None));
        assert!(status.is_ready());

        assert!(parked().is_blocked());
        assert_eq!(parked().park(), Some(&"park"));

        let mut status = running();
        assert!(!status.suspend());
        assert!(status.is_running() && status.is_suspended());
        assert!(status.stop("fiber", None));
        assert!(status.is_blocked() && status.park().is_none());
    }

    #[test]
    fn a_thread_that_is_parked_and_suspended_needs_both_to_end() {
        let both = || {
            let mut status = parked();
            assert!(!status.suspend());
            status
        };
        let mut status = both();
        assert!(!status.resume() && status.is_blocked());
        assert_eq!(status.wake(), Some("park"));
        assert!(status.is_ready());

        let mut status = both();
        assert_eq!(status.wake(), Some("park"));
        assert!(status.is_blocked() && !status.is_ready());
        assert!(status.resume() && status.is_ready());
    }

    #[test]
    fn a_ready_thread_can_be_throttled_and_is_then_parked() {
        let mut status = ready();
        assert!(status.throttle("park") && status.park() == Some(&"park"));
        assert!(!status.throttle("again") && !running().throttle("park"));
        assert_eq!(status.wake(), Some("park"));
        assert!(status.is_ready());
    }

    #[test]
    fn waking_and_resuming_others_does_nothing() {
        for mut status in [ready(), running()] {
            assert_eq!(status.wake(), None);
            assert!(!status.resume());
        }
        let mut status = parked();
        assert!(!status.resume() && status.is_blocked());
        let mut status = ready();
        assert!(status.suspend());
        assert_eq!(status.wake(), None);
        assert!(status.resume() && !status.resume());
    }

    #[test]
    fn a_finished_thread_stays_finished() {
        let mut status = running();
        assert!(!status.suspend());
        status.finish("exit");
        assert!(status.is_finished() && !status.is_suspended());
        assert!(!status.suspend() && !status.resume());
        assert_eq!((status.wake(), status.start()), (None, None));
        assert_eq!(status.take_exit(), Some("exit"));
        assert_eq!(running().take_exit(), None);
    }

    #[test]
    fn a_blocked_thread_can_be_started_to_be_ended() {
        let mut status = parked();
        assert_eq!(status.wake(), Some("park"));
        assert_eq!(status.start(), Some("fiber"));
        let mut status = ready();
        assert!(status.suspend());
        assert_eq!(status.start(), Some("fiber"));
    }

    #[test]
    fn a_run_begins_only_if_none_is_in_progress() {
        let mut state = RunState::default();
        assert!(!state.is_in_run() && state.begin());
        assert!(!state.begin() && state.is_in_run());
        state.leave_kept();
        assert!(state.is_kept() && state.is_in_run() && !state.begin());
        state.resume();
        assert!(!state.is_kept());
        state.end();
        assert!(state.begin());
        state.shut_down();
        assert!(state.is_shutdown() && state.is_in_run() && !state.begin());
    }
}
