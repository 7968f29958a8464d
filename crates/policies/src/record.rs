//! Writing down what another policy picks.

use crate::schedule::Schedule;
use wasmtime::{Pick, ThreadId, ThreadParams, ThreadScheduler};

/// Runs threads as another policy does, and records its picks.
///
/// [`Replay`](crate::Replay) makes the same picks again. Where slices are fuel
/// and the guests' input is the same, that is the same run. The recording grows
/// with the dispatches: by 32 bytes for every pick that differs from the one
/// before it. Cost: that of the other policy, and O(1), amortized.
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

    /// What was picked so far.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Takes what was picked so far, so that the recording starts anew.
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

    /// The policy, and what it picked.
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
