//! A machine to run policies on: one processor, a simulated clock, and a check
//! of every pick against what is known of each thread.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;
use std::collections::BTreeMap;
use std::fmt::Debug;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

pub fn id(number: u64) -> ThreadId {
    ThreadId::from_u64(number)
}

pub fn params(edit: impl FnOnce(&mut ThreadParams)) -> ThreadParams {
    let mut params = ThreadParams::default();
    edit(&mut params);
    params
}

pub fn weighing(weight: u32) -> ThreadParams {
    params(|params| params.weight = weight)
}

/// A policy whose memory can be looked at.
pub trait Policy: ThreadScheduler + Debug {}

impl<S: ThreadScheduler + Debug> Policy for S {}

/// One of every policy, by name. Recorders have a test of their own.
pub fn policies() -> Vec<(&'static str, Box<dyn Policy>)> {
    use preempt_policies::*;
    let replayed: Schedule = "preempt-schedule 1\npicks 9\n1*2 2 1 3:7 1 2*3\n"
        .parse()
        .unwrap();
    vec![
        ("round robin", Box::new(RoundRobin::new())),
        ("fair", Box::new(WeightedFair::new(10))),
        ("priority", Box::new(Priority::new(100))),
        ("strict priority", Box::new(Priority::strict())),
        ("deadline", Box::new(EarliestDeadlineFirst::new())),
        ("random", Box::new(Random::seeded(7).slices(1..=20))),
        ("pct", Box::new(Pct::new(7, 8, 100, 4))),
        ("replay", Box::new(Replay::new(replayed))),
        (
            "young first",
            Box::new(YoungFirst::new(RoundRobin::new(), 50)),
        ),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    Running,
    Parked,
}

/// How a dispatch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Preempted,
    Yielded,
    Parked,
    Finished,
}

#[derive(Clone, Debug)]
pub struct Thread {
    pub state: State,
    pub params: ThreadParams,
    /// What it used in all.
    pub got: u64,
    pub ready_since: u64,
}

/// Passes calls on to a policy, sensible or not, and keeps the books on them.
#[derive(Debug)]
pub struct Machine<S: ?Sized> {
    pub now: u64,
    pub threads: BTreeMap<ThreadId, Thread>,
    ready: usize,
    pub policy: Box<S>,
}

impl<S: ThreadScheduler + ?Sized> Machine<S> {
    pub fn new(policy: Box<S>) -> Self {
        Machine {
            now: 0,
            threads: BTreeMap::new(),
            ready: 0,
            policy,
        }
    }

    pub fn spawn(&mut self, number: u64, params: &ThreadParams) {
        let now = self.now;
        self.policy.spawned(now, id(number), params);
        self.threads.entry(id(number)).or_insert_with(|| {
            self.ready += 1;
            Thread {
                state: State::Ready,
                params: params.clone(),
                got: 0,
                ready_since: now,
            }
        });
    }

    pub fn wake(&mut self, thread: ThreadId) {
        self.policy.woken(self.now, thread);
        if let Some(at) = self.threads.get_mut(&thread)
            && at.state == State::Parked
        {
            at.state = State::Ready;
            at.ready_since = self.now;
            self.ready += 1;
        }
    }

    pub fn change(&mut self, thread: ThreadId, params: &ThreadParams) {
        self.policy.changed(self.now, thread, params);
        if let Some(at) = self.threads.get_mut(&thread) {
            at.params = params.clone();
        }
    }

    /// Calls what ends a dispatch, also when the thread is not dispatched.
    pub fn end(&mut self, thread: ThreadId, used: u64, end: End) {
        let now = self.now;
        match end {
            End::Preempted => self.policy.preempted(now, thread, used),
            End::Yielded => self.policy.yielded(now, thread, used),
            End::Parked => self.policy.parked(now, thread, used),
            End::Finished => self.policy.finished(now, thread, used),
        }
        let Some(at) = self.threads.get_mut(&thread) else {
            return;
        };
        let was = at.state;
        if was == State::Running {
            at.got = at.got.saturating_add(used);
        }
        match end {
            End::Preempted | End::Yielded if was == State::Running => {
                at.state = State::Ready;
                at.ready_since = now;
                self.ready += 1;
            }
            End::Preempted | End::Yielded => {}
            End::Parked | End::Finished => {
                self.ready -= usize::from(was == State::Ready);
                at.state = State::Parked;
                if end == End::Finished {
                    self.threads.remove(&thread);
                }
            }
        }
    }

    /// The next pick, which must be a ready thread as long as there is one.
    pub fn next(&mut self) -> Option<Pick> {
        let pick = self.policy.next(self.now);
        match pick {
            None => assert_eq!(self.ready, 0, "idle beside runnable threads"),
            Some(pick) => {
                let at = self.threads.get_mut(&pick.thread);
                let at = at.expect("picked a thread that is not there");
                assert_eq!(at.state, State::Ready, "picked {pick:?}");
                at.state = State::Running;
                self.ready -= 1;
            }
        }
        pick
    }

    /// Dispatches one thread, which uses what `used` says, while the clock goes
    /// on, and which is then preempted, parked and so on.
    pub fn dispatch(&mut self, run: impl FnOnce(Pick) -> (u64, End)) -> Option<ThreadId> {
        let pick = self.next()?;
        let (used, end) = run(pick);
        self.now += used;
        self.end(pick.thread, used, end);
        Some(pick.thread)
    }

    pub fn got(&self, number: u64) -> u64 {
        self.threads[&id(number)].got
    }

    pub fn ready(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        let all = self.threads.iter().map(|(&thread, at)| (thread, at));
        all.filter(|(_, at)| at.state == State::Ready)
    }
}

/// Chance, for guests.
#[derive(Debug)]
pub struct Chance(Pcg64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(Pcg64::new(seed.into(), 1))
    }

    /// From 1 to `max`.
    pub fn up_to(&mut self, max: u64) -> u64 {
        1 + self.0.next_u64() % max
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.up_to(count) == 1
    }
}
