//! What the samples of one case come to.

use super::case::{Case, Overhead, Set};
use crate::paired::Spread;
use crate::report::{Beside, Row};
use crate::served::Mode;
use crate::workloads::Workload;

/// What one request took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// In nanoseconds.
    pub cpu: f64,
    pub wall: f64,
    pub preemptions: f64,
    pub fuel: u64,
}

/// A figure per sample.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    millis: Vec<f64>,
    baseline_millis: Vec<f64>,
    ratio: Vec<f64>,
    wall_ratio: Vec<f64>,
    preemptions: Vec<f64>,
    /// How many preemptions there should have been at least.
    expected: f64,
    preempted: f64,
}

impl Figures {
    /// `before` and `after` are of the baseline. All did the work `times` times.
    pub fn add(&mut self, case: &Case, [before, sample, after]: [Sample; 3], times: u32) {
        let millis = |nanos: f64| nanos / 1e6 / f64::from(times);
        let mean = |of: fn(&Sample) -> f64| (of(&before) + of(&after)) / 2.0;
        self.ratio.push(sample.cpu / mean(|sample| sample.cpu));
        self.wall_ratio
            .push(sample.wall / mean(|sample| sample.wall));
        self.millis.push(millis(sample.cpu));
        self.baseline_millis.push(millis(mean(|sample| sample.cpu)));
        self.preemptions.push(sample.preemptions / sample.cpu * 1e9);
        self.preempted += sample.preemptions;
        if let (Some(slice), Mode::Epoch | Mode::Signal) = (case.slice, case.mode) {
            // The last slices, where one guest is alone, do not count.
            self.expected += (sample.cpu / slice as f64 / 2.0 - 2.0).max(0.0);
        }
    }

    /// Without preemptions, nothing would have been measured.
    pub fn preempted(&self, case: &Case) -> bool {
        case.thread_count() < 2 || self.preempted >= self.expected.max(1.0)
    }

    /// To so many digits that they say what they can. `fuel` is what the work consumes once.
    pub fn row(
        &self,
        set: Set,
        workload: &Workload,
        case: &Case,
        fuel: u64,
        aim: Option<f64>,
    ) -> Row {
        let digits = |figure: f64, digits: i32| {
            let scale = 10f64.powi(digits);
            (figure * scale).round() / scale
        };
        let median = |figures: &[f64]| Spread::of(figures.to_vec()).median;
        let ratio = Spread::of(self.ratio.clone());
        let beside = Beside {
            what: "calls without checks".into(),
            figure: digits(median(&self.baseline_millis), 3),
            ratio: Spread {
                low: digits(ratio.low, 4),
                median: digits(ratio.median, 4),
                high: digits(ratio.high, 4),
            },
        };
        let millis = (digits(median(&self.millis), 3), "ms");
        let group = match set {
            Set::Paper => "paper",
            Set::Broad => "broad",
        };
        let mut row = Row::new(group, workload.what, millis, Some(beside), aim);
        row.overhead = Some(Overhead {
            workload: workload.name.into(),
            set,
            case: *case,
            wall_ratio: digits(median(&self.wall_ratio), 4),
            samples: self.ratio.len(),
            preemptions: digits(median(&self.preemptions), 1),
            fuel: (case.mode == Mode::Fuel).then_some(fuel),
        });
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::PAPER;

    fn took(nanos: f64) -> Sample {
        Sample {
            cpu: nanos,
            wall: 2.0 * nanos,
            preemptions: 3.0,
            fuel: 0,
        }
    }

    #[test]
    fn ratio_is_to_the_mean_of_the_neighbours() {
        let mut figures = Figures::default();
        let case = Case::threads(Mode::Fuel, 2, 10);
        for (samples, times) in [
            ([10e6, 30e6, 20e6], 3),
            ([20e6, 40e6, 20e6], 4),
            ([20e6, 60e6, 20e6], 6),
        ] {
            figures.add(&case, samples.map(took), times);
        }
        let row = figures.row(Set::Paper, &PAPER[0], &case, 7, Some(1.3));
        let beside = row.beside.expect("it is beside calls");
        assert_eq!((beside.ratio.low, beside.ratio.median), (2.0, 2.0));
        assert_eq!((beside.ratio.high, beside.figure), (2.5, 5.0));
        let overhead = row.overhead.expect("it is of a workload");
        assert_eq!((row.figure, overhead.wall_ratio), (10.0, 2.0));
        assert_eq!((overhead.samples, overhead.preemptions), (3, 75.0));
        assert_eq!((row.met, overhead.fuel), (Some(false), Some(7)));
    }

    #[test]
    fn too_few_preemptions_are_noticed() {
        let preempted = |case: Case, millis: f64| {
            let mut figures = Figures::default();
            figures.add(&case, [took(1.0), took(millis * 1e6), took(1.0)], 1);
            figures.preempted(&case)
        };
        let two = Case::threads(Mode::Epoch, 2, 10);
        assert!(preempted(two, 100.0) && !preempted(two, 101.0));
        assert!(preempted(Case::threads(Mode::Epoch, 1, 10), 101.0));
    }
}
