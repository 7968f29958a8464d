//! Repeating recorded picks.

use crate::round_robin::RoundRobin;
use crate::schedule::Schedule;
use crate::table::State;
use std::fmt;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Repeats the threads and slices of a [`Schedule`].
///
/// As long as the guests do what they did during the recording, so does the replay.
/// It *diverges* if a recorded thread is not runnable while another one is, or if
/// threads are runnable after the last recorded pick.
/// [`divergence`](Replay::divergence) then tells where and why. From there on, all
/// threads run round robin with their own slices, so that none is lost. While no
/// thread is runnable at all, the replay waits and has not diverged.
///
/// Cost: amortized O(1) for every operation.
#[derive(Clone, Debug)]
pub struct Replay {
    schedule: Schedule,
    /// The current run of equal picks, and how many of them were made.
    run: usize,
    of_run: u64,
    made: u64,
    divergence: Option<Divergence>,
    threads: RoundRobin,
}

/// Where a [`Replay`] could not follow its [`Schedule`], and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// How many picks before it were made as recorded.
    pub pick: u64,
    /// Why the next one could not be made.
    pub reason: DivergenceReason,
}

/// Why a recorded pick could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DivergenceReason {
    /// There is no such thread: it has not been spawned yet, or has already finished.
    NoSuchThread(ThreadId),
    /// The thread is waiting, but was runnable when it was recorded.
    Parked(ThreadId),
    /// The thread was picked before and has not been given back since.
    Running(ThreadId),
    /// Threads are runnable, but no recorded pick is left.
    ScheduleOver,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the replay left the schedule after {} picks: ",
            self.pick
        )?;
        match self.reason {
            DivergenceReason::NoSuchThread(thread) => {
                write!(f, "thread {thread} is next, and there is no such thread")
            }
            DivergenceReason::Parked(thread) => {
                write!(f, "thread {thread} is next, and it is parked")
            }
            DivergenceReason::Running(thread) => {
                write!(f, "thread {thread} is next, and it is running already")
            }
            DivergenceReason::ScheduleOver => {
                f.write_str("threads are runnable, and no pick is left")
            }
        }
    }
}

impl Replay {
    /// Repeats the picks of `schedule`.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Replay {
            schedule,
            run: 0,
            of_run: 0,
            made: 0,
            divergence: None,
            threads: RoundRobin::new(),
        }
    }

    /// Where the guests left the schedule, if they did.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        self.divergence
    }

    /// How many recorded picks have not been made. If some are left when all guests
    /// are done, the guests did less than in the recording.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.schedule.len() - self.made
    }

    /// Must be called only while some thread is ready.
    fn follow(&mut self) -> Result<Pick, DivergenceReason> {
        let Some((pick, times)) = self.schedule.run(self.run) else {
            return Err(DivergenceReason::ScheduleOver);
        };
        let thread = pick.thread;
        if !self.threads.take(thread) {
            return Err(match self.threads.state(thread) {
                Some(State::Parked) => DivergenceReason::Parked(thread),
                Some(_) => DivergenceReason::Running(thread),
                None => DivergenceReason::NoSuchThread(thread),
            });
        }
        self.made += 1;
        self.of_run += 1;
        if self.of_run >= times {
            self.run += 1;
            self.of_run = 0;
        }
        Ok(pick)
    }
}

impl ThreadScheduler for Replay {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.threads.spawned(now, thread, params);
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.threads.preempted(now, thread, used);
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.threads.yielded(now, thread, used);
    }

    fn parked(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.threads.parked(now, thread, used);
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        self.threads.woken(now, thread);
    }

    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.threads.changed(now, thread, params);
    }

    fn finished(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.threads.finished(now, thread, used);
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        if self.divergence.is_none() && self.threads.has_ready() {
            match self.follow() {
                Ok(pick) => return Some(pick),
                Err(reason) => {
                    self.divergence = Some(Divergence {
                        pick: self.made,
                        reason,
                    });
                }
            }
        }
        self.threads.next(now)
    }
}
