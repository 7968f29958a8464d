//! How long slices really are: from a thread's first instruction to its sibling's.
//!
//! Both threads spin in Wasm, and call the host once in each slice: at its
//! beginning, which makes a stamp and asks the sibling for the next one. A slice is
//! what lies between two stamps. So the switch at its end is in it, and a stamp's
//! own lateness is in both ends.

use super::spinner::{Spinners, Work};
use crate::distribution::{Distribution, Figures};
use serde::Serialize;
use std::time::Duration;
use wasmtime::{Preemption, Result, ensure};

const SLICES: [(Duration, &str); 3] = [
    (Duration::from_millis(10), "10 ms"),
    (Duration::from_millis(1), "1 ms"),
    (Duration::from_micros(200), "200 us"),
];

/// How many runs the time of measuring is divided into.
const RUNS: u32 = 10;

/// The slices that were to be of one length.
pub struct Slices {
    pub asked: Duration,
    /// How much longer they were.
    pub longer: Distribution,
    /// How many were shorter.
    pub shorter: usize,
    /// How many had no stamp, so that they are part of the one before.
    pub missed: u64,
}

/// In numbers.
#[derive(Clone, Debug, Serialize)]
pub struct SlicesFigures {
    asked_nanos: f64,
    shorter: usize,
    missed: u64,
    /// Of the time by which they were longer.
    longer: Vec<Figures>,
}

/// Measures for `time`, most of it with the longest slices.
pub fn measure(time: Duration) -> Result<Vec<Slices>> {
    let mut all = Vec::new();
    for (asked, name) in SLICES {
        let mut spinners = Spinners::new(Preemption::Signal, asked, Work::Wasm)?;
        spinners.in_turns()?;
        // So that code is paged in.
        spinners.run(4 * asked)?;
        let slices = Slices {
            asked,
            longer: Distribution::new(name)?,
            shorter: 0,
            missed: 0,
        };
        all.push((spinners, slices));
    }
    for _ in 0..RUNS {
        for ((spinners, slices), share) in all.iter_mut().zip([2, 4, 4]) {
            spinners.clear();
            let run = spinners.run(time / RUNS / share)?;
            slices.add(spinners, run.dispatches)?;
        }
    }
    Ok(all.into_iter().map(|(_, slices)| slices).collect())
}

impl Slices {
    pub fn figures(&self) -> SlicesFigures {
        SlicesFigures {
            asked_nanos: self.asked.as_nanos() as f64,
            shorter: self.shorter,
            missed: self.missed,
            longer: self.longer.figures().into(),
        }
    }

    /// Adds those of a run. The last one ends with the run, and does not count.
    fn add(&mut self, spinners: &Spinners, dispatches: u64) -> Result<()> {
        let stamps = spinners.stamps();
        ensure!(
            stamps.len() as u64 * 10 >= dispatches * 9 && dispatches > 2,
            "{} stamps in {dispatches} slices: the machine is too busy",
            stamps.len()
        );
        self.missed += dispatches.saturating_sub(stamps.len() as u64);
        for pair in stamps.windows(2) {
            let real = pair[1].at - pair[0].at;
            if real < self.asked {
                self.shorter += 1;
            }
            let disturbed = pair[0].taken_off_core() != pair[1].taken_off_core();
            let longer = real.saturating_sub(self.asked);
            self.longer.record(longer, disturbed);
        }
        Ok(())
    }
}
