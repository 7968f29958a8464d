//! How the guests interleaved: each one's share of the CPU in each step of the run, from its
//! trace. A run of many steps is shown twice: the whole run in wider columns, and the first
//! steps in the original ones.

use crate::chart::Chart;
use preempt_trace::turns::Turns;
use std::collections::HashMap;
use std::time::Duration;
use wasmtime::preempt::Trace;
use wasmtime::{Slice, ThreadId};

/// Before there are more columns than this, every two of them are merged.
const MOST_COLUMNS: usize = 64;

pub struct Interleaving {
    pub whole: Chart,
    /// The first steps, if the whole run has wider columns.
    pub first: Option<Chart>,
}

impl Interleaving {
    /// The turns in `trace`, in steps of `step` ticks. `guests` are the indices of the guests
    /// whose threads these are; threads that these have spawned belong to the same guest.
    pub fn of(trace: &Trace, step: u64, mut guests: HashMap<ThreadId, usize>) -> Interleaving {
        let found = Turns::of(trace);
        for spawn in &found.spawns {
            if let Some(guest) = guests.get(&spawn.by).copied() {
                guests.entry(spawn.thread).or_insert(guest);
            }
        }
        let count = guests.values().max().map_or(0, |last| last + 1);
        let mut columns = Columns::new(step, count);
        let run = found.run.unwrap_or_default();
        let since_start = |at: u64| at.saturating_sub(run.start);
        for turn in &found.turns {
            // Unknown only if the trace has lost who spawned it.
            if let Some(guest) = guests.get(&turn.thread) {
                columns.add(*guest, since_start(turn.from), since_start(turn.to));
            }
        }
        columns.extend(since_start(run.end));
        let chart = |step, columns: &[Vec<u64>]| Chart {
            step: match trace.fuel {
                true => Slice::Fuel(step),
                false => Slice::Time(Duration::from_nanos(step)),
            },
            guests: (0..count).map(|guest| shares(columns, guest)).collect(),
        };
        Interleaving {
            whole: chart(columns.step, &columns.columns),
            first: columns.first.map(|first| chart(step, &first)),
        }
    }
}

struct Columns {
    /// The width of a column.
    step: u64,
    /// For each column, what each guest has used in it.
    columns: Vec<Vec<u64>>,
    /// The first columns, once columns have been merged.
    first: Option<Vec<Vec<u64>>>,
    guests: usize,
}

impl Columns {
    fn new(step: u64, guests: usize) -> Columns {
        Columns {
            step,
            columns: Vec::new(),
            first: None,
            guests,
        }
    }

    /// Makes columns up to `end`.
    fn extend(&mut self, end: u64) {
        let columns = loop {
            match usize::try_from(end.div_ceil(self.step)) {
                Ok(columns @ ..=MOST_COLUMNS) => break columns,
                _ => self.merge(),
            }
        };
        if columns > self.columns.len() {
            self.columns.resize(columns, vec![0; self.guests]);
        }
    }

    /// The guest was on the CPU. What happened earlier has been added before.
    fn add(&mut self, guest: usize, mut from: u64, to: u64) {
        while from < to {
            self.extend(from + 1);
            let index = from / self.step;
            let end = (index + 1).saturating_mul(self.step).min(to);
            self.columns[index as usize][guest] += end - from;
            from = end;
        }
    }

    fn merge(&mut self) {
        self.columns.resize(MOST_COLUMNS, vec![0; self.guests]);
        let merged = self.columns.chunks(2).map(|pair| {
            let sums = pair[0].iter().zip(&pair[1]);
            sums.map(|(a, b)| a.saturating_add(*b)).collect()
        });
        let merged = merged.collect();
        let columns = std::mem::replace(&mut self.columns, merged);
        self.first.get_or_insert(columns);
        self.step = self.step.saturating_mul(2);
    }
}

/// The guest's share in each column; zero where nobody was on the CPU.
fn shares(columns: &[Vec<u64>], guest: usize) -> Vec<f64> {
    let share = |column: &Vec<u64>| match column.iter().sum::<u64>() {
        0 => 0.0,
        total => column[guest] as f64 / total as f64,
    };
    columns.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use preempt_trace::text;

    /// What each guest has used in each column. Thread 1 is the first guest's, 2 the second's.
    fn of(step: u64, events: &str) -> Interleaving {
        let count = events.lines().count();
        let trace = format!("preempt-trace 1\nclock fuel\nlost 0\nevents {count}\n{events}");
        let guests = [(ThreadId::from_u64(1), 0), (ThreadId::from_u64(2), 1)];
        Interleaving::of(&text::parse(&trace).unwrap(), step, guests.into())
    }

    #[test]
    fn columns_hold_the_shares_of_their_step() {
        let it = of(
            100,
            "50 0 run-started\n50 1 dispatched 9\n125 1 preempted\n125 2 dispatched 9\n\
             225 2 preempted\n225 1 dispatched 9\n250 1 preempted\n380 0 run-ended\n",
        );
        assert_eq!(it.whole.step, Slice::Fuel(100));
        let expected = [[0.75, 0.25, 0.0, 0.0], [0.25, 0.75, 0.0, 0.0]];
        assert_eq!(it.whole.guests, expected);
        assert_eq!(it.first, None);
    }

    #[test]
    fn threads_that_a_guest_spawns_are_its_own() {
        let it = of(
            10,
            "0 0 run-started\n0 1 dispatched 9\n0 2 dispatched 9\n2 3 spawned\n\
             2 3 dispatched 9\n4 4 spawned\n4 1 dispatched 9\n6 4 dispatched 9\n\
             10 4 returned\n10 0 run-ended\n",
        );
        assert_eq!(it.whole.guests, [[0.2], [0.8]]);
    }

    #[test]
    fn long_runs_get_wider_columns_and_keep_the_first_ones() {
        let turns = (0..1000).map(|n| {
            let (at, then, thread) = (n * 4, n * 4 + 4, n % 2 + 1);
            format!("{at} {thread} dispatched 4\n{then} {thread} preempted\n")
        });
        let events: String = turns.collect();
        let it = of(4, &format!("0 0 run-started\n{events}4000 0 run-ended\n"));
        let first = it.first.unwrap();
        assert_eq!(first.step, Slice::Fuel(4));
        let [a, b] = [[1.0, 0.0], [0.0, 1.0]].map(|turns| turns.repeat(MOST_COLUMNS / 2));
        assert_eq!(first.guests, [a, b]);
        assert_eq!(it.whole.step, Slice::Fuel(64));
        assert_eq!(it.whole.guests, [[0.5; 63], [0.5; 63]]);
    }

    #[test]
    fn no_step_is_too_short_for_a_run() {
        let end = u64::MAX;
        let it = of(
            1,
            &format!("0 0 run-started\n0 1 dispatched 9\n{end} 1 returned\n{end} 0 run-ended\n"),
        );
        assert_eq!(it.whole.guests[0], [1.0; MOST_COLUMNS]);
        assert_eq!(it.whole.guests[1], [0.0; MOST_COLUMNS]);
    }
}
