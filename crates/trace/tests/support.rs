//! A small scheduler that makes valid traces, and traces by hand.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, TraceEvent, Traced};

/// How to test properties: nothing is written beside the tests.
pub fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub fn id(number: u64) -> ThreadId {
    ThreadId::from_u64(number)
}

/// A trace of such events: time, thread, what.
pub fn trace(events: &[(u64, u64, Traced)]) -> Trace {
    Trace {
        events: events
            .iter()
            .map(|(at, thread, what)| event(*at, *thread, *what))
            .collect(),
        ..Trace::default()
    }
}

pub fn event(at: u64, thread: u64, what: Traced) -> TraceEvent {
    TraceEvent {
        at,
        thread: id(thread),
        what,
    }
}

pub fn slice(slice: u64) -> Traced {
    Traced::Dispatched { slice }
}

pub fn is_dispatch(event: &TraceEvent) -> bool {
    matches!(event.what, Traced::Dispatched { .. })
}

pub fn is_exit(what: Traced) -> bool {
    use Traced::*;
    matches!(what, Returned | Trapped | Killed | OverLimit)
}

/// A valid schedule in which all threads finish.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub trace: Trace,
    /// Empty if it is round robin.
    pub priorities: BTreeMap<ThreadId, i64>,
}

/// Any valid schedule.
pub fn schedules() -> impl Strategy<Value = Schedule> {
    prop_oneof![round_robin(), of_priorities(vec(-3..3_i64, 1..8))]
}

/// Any valid schedule without priorities.
pub fn round_robin() -> impl Strategy<Value = Schedule> {
    of_priorities(Just(vec![]))
}

fn of_priorities(priorities: impl Strategy<Value = Vec<i64>>) -> impl Strategy<Value = Schedule> {
    let choices = vec(any::<u8>(), 0..400);
    (1..8_u64, 1..1000_u64, any::<bool>(), priorities, choices).prop_map(
        |(threads, slice, fuel, priorities, choices)| {
            let mut sim = Simulation {
                now: 0,
                slice,
                priorities,
                queue: VecDeque::new(),
                parked: Vec::new(),
                next: 1,
                choices: choices.into_iter(),
                schedule: Schedule {
                    trace: Trace {
                        fuel,
                        ..Trace::default()
                    },
                    priorities: BTreeMap::new(),
                },
            };
            sim.run(threads);
            sim.schedule
        },
    )
}

struct Simulation {
    now: u64,
    slice: u64,
    priorities: Vec<i64>,
    queue: VecDeque<u64>,
    parked: Vec<u64>,
    next: u64,
    choices: std::vec::IntoIter<u8>,
    schedule: Schedule,
}

impl Simulation {
    /// A number below `n`; 0 once there are no more choices.
    fn choose(&mut self, n: u64) -> u64 {
        self.choices
            .next()
            .map_or(0, |choice| u64::from(choice) % n)
    }

    fn record(&mut self, thread: u64, what: Traced) {
        self.now += self.choose(3);
        let event = event(self.now, thread, what);
        self.schedule.trace.events.push(event);
    }

    fn run(&mut self, threads: u64) {
        for _ in 0..threads {
            self.spawn();
        }
        while self.choices.len() > 0 {
            self.between_runs();
            self.record(0, Traced::RunStarted);
            for _ in 0..self.choose(20) {
                self.dispatch();
            }
            self.record(0, Traced::RunEnded);
        }
        let left: Vec<u64> = self.queue.drain(..).chain(self.parked.drain(..)).collect();
        for thread in left {
            self.record(thread, Traced::Killed);
        }
    }

    fn spawn(&mut self) {
        let thread = self.next;
        self.next += 1;
        if !self.priorities.is_empty() {
            let priority = self.priorities[thread as usize % self.priorities.len()];
            self.schedule.priorities.insert(id(thread), priority);
        }
        if thread.is_multiple_of(3) {
            let name = format!("<{thread}> & \"sons\"");
            self.schedule.trace.names.push((id(thread), name));
        }
        self.queue.push_back(thread);
        self.record(thread, Traced::Spawned);
    }

    /// What the host may do while none runs.
    fn between_runs(&mut self) {
        match self.choose(8) {
            0 => self.spawn(),
            1 => self.wake(),
            2 => {
                // Suspended by the host.
                if let Some(thread) = self.queue.pop_back() {
                    self.parked.push(thread);
                    self.record(thread, Traced::Parked);
                }
            }
            3 => {
                if let Some(thread) = self.queue.pop_back() {
                    self.record(thread, Traced::Killed);
                }
            }
            4 => {
                if let Some(thread) = self.parked.pop() {
                    self.record(thread, Traced::OverLimit);
                }
            }
            _ => self.now += self.choose(50),
        }
    }

    fn wake(&mut self) {
        if let Some(thread) = self.parked.pop() {
            self.queue.push_back(thread);
            self.record(thread, Traced::Woken);
        }
    }

    fn dispatch(&mut self) {
        let priority = |thread: &u64| self.schedule.priorities.get(&id(*thread)).copied();
        let best = self.queue.iter().map(priority).max().flatten();
        let place = self.queue.iter().position(|t| priority(t) == best);
        let Some(thread) = place.and_then(|place| self.queue.remove(place)) else {
            self.wake();
            return;
        };
        self.record(thread, slice(self.slice));
        let start = self.now;
        // Which takes up to 2 ticks.
        if self.slice > 2 && self.choose(10) == 1 {
            self.spawn();
        }
        let what = match self.choose(16) {
            0..=5 => Traced::Preempted,
            6..=8 => Traced::Yielded,
            9..=11 => Traced::Parked,
            12 => Traced::Returned,
            13 => Traced::Trapped,
            14 => Traced::OverLimit,
            _ => Traced::Killed,
        };
        let left = start + self.slice - self.now;
        let used = if what == Traced::Preempted {
            left
        } else {
            left.min(self.choose(256))
        };
        self.now += used;
        // Without more time: the slice is over.
        let end = event(self.now, thread, what);
        self.schedule.trace.events.push(end);
        match what {
            Traced::Preempted | Traced::Yielded => self.queue.push_back(thread),
            Traced::Parked => self.parked.push(thread),
            _ => {}
        }
        if self.choose(6) == 1 {
            self.wake();
        }
    }
}

/// The CPU time of each thread of a valid trace.
pub fn cpu_times(trace: &Trace) -> BTreeMap<ThreadId, u64> {
    let mut times = BTreeMap::new();
    for (index, start) in trace.events.iter().enumerate() {
        let time = times.entry(start.thread).or_insert(0);
        if is_dispatch(start) {
            let mut later = trace.events[index + 1..].iter();
            let end = later.find(|later| later.thread == start.thread).unwrap();
            *time += end.at - start.at;
        }
    }
    times.remove(&id(0));
    times
}
