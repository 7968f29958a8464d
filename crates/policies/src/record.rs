//! Recording what another policy picks.

use crate::schedule::Schedule;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Schedules threads as another policy does, and records its picks.
///
/// [`Replay`](crate::Replay) repeats the picks. If slices are fuel and the guests'
/// input is the same, that repeats the run. The recording grows by 32 bytes for every
/// pick that differs from the one before it. Cost: the other policy's, plus amortized
/// O(1).
#[derive(Clone, Debug, Default)]
pub struct Recorder<S> {
    policy: S,
    schedule: Schedule,
}

impl<S> Recorder<S> {
    /// Records the picks of this policy.
    pub fn new(policy: S) -> Self {
        Recorder {
            policy,
            schedule: Schedule::new(),
        }
    }

    /// The picks so far.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Takes the picks so far and starts a new recording.
    pub fn take_schedule(&mut self) -> Schedule {
        std::mem::take(&mut self.schedule)
    }

    /// The policy whose picks are recorded.
    pub fn policy(&self) -> &S {
        &self.policy
    }

    /// The policy whose picks are recorded, for instance to set its weights.
    pub fn policy_mut(&mut self) -> &mut S {
        &mut self.policy
    }

    /// The policy, and its picks.
    pub fn into_parts(self) -> (S, Schedule) {
        (self.policy, self.schedule)
    }
}

impl<S: ThreadScheduler> ThreadScheduler for Recorder<S> {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.policy.spawned(now, thread, params);
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.preempted(now, thread, used);
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.yielded(now, thread, used);
    }

    fn parked(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.parked(now, thread, used);
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        self.policy.woken(now, thread);
    }

    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.policy.changed(now, thread, params);
    }

    fn finished(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.finished(now, thread, used);
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        let pick = self.policy.next(now)?;
        self.schedule.push(pick);
        Some(pick)
    }
}
