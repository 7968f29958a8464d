//! Many times of one kind.

use crate::table::{nanos, with_unit};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::error::Context as _;

/// Longer ones are taken for this long.
const MAX: Duration = Duration::from_secs(100);

/// The first step begins here. In nanoseconds.
const FIRST: f64 = 100.0;

/// Times in nanoseconds, to three digits.
pub struct Distribution {
    pub name: &'static str,
    /// Those in which the OS thread had its core all the time.
    undisturbed: Histogram<u64>,
    all: Histogram<u64>,
}

/// A distribution in numbers, all in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    pub name: &'static str,
    pub samples: u64,
    pub min: u64,
    pub median: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub p9999: u64,
    pub max: u64,
    /// Whether samples are left out in which the OS had taken the core away.
    pub undisturbed: bool,
}

impl Distribution {
    pub fn new(name: &'static str) -> Result<Distribution> {
        let histogram = || Histogram::new_with_max(MAX.as_nanos() as u64, 3);
        Ok(Distribution {
            name,
            undisturbed: histogram().context("cannot make a histogram")?,
            all: histogram().context("cannot make a histogram")?,
        })
    }

    /// `disturbed`: whether the OS took the core away meanwhile.
    pub fn record(&mut self, time: Duration, disturbed: bool) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.all.saturating_record(nanos);
        if !disturbed {
            self.undisturbed.saturating_record(nanos);
        }
    }

    pub fn len(&self) -> usize {
        self.all.len() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Of the undisturbed ones, and of all.
    pub fn figures(&self) -> [Figures; 2] {
        [(&self.undisturbed, true), (&self.all, false)].map(|(histogram, undisturbed)| Figures {
            name: self.name,
            samples: histogram.len(),
            min: histogram.min(),
            median: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            undisturbed,
        })
    }

    /// The share of the samples in which the OS had taken the core away.
    pub fn disturbed(&self) -> f64 {
        1.0 - self.undisturbed.len() as f64 / self.all.len().max(1) as f64
    }

    /// The undisturbed samples as corners of a line: a time in nanoseconds, and how many nines
    /// the share of those has that take no longer.
    pub fn nines(&self) -> Vec<(f64, f64)> {
        let samples = &self.undisturbed;
        let mut corners = Vec::new();
        let mut count = 0;
        for value in samples.iter_recorded() {
            let before = nines(count, samples.len());
            count += value.count_at_value();
            let nanos = (value.value_iterated_to() as f64).max(FIRST);
            corners.extend([(nanos, before), (nanos, nines(count, samples.len()))]);
        }
        corners
    }

    /// Where steps begin, in nanoseconds, `per_decade` of them in a factor of ten,
    /// and which share of the undisturbed samples lies in each, from the first to
    /// the last that is not empty. The step after that is there too. What is less
    /// than the first step is counted in it.
    pub fn steps(&self, per_decade: f64) -> Vec<(f64, f64)> {
        let step_of = |nanos: u64| ((nanos as f64).max(FIRST).log10() * per_decade).floor() as i32;
        let begin = |step: i32| 10f64.powf(f64::from(step) / per_decade);
        let samples = &self.undisturbed;
        if samples.is_empty() {
            return Vec::new();
        }
        let (first, last) = (step_of(samples.min()), step_of(samples.max()));
        let mut steps: Vec<_> = (first..=last + 1).map(|step| (begin(step), 0.0)).collect();
        for value in samples.iter_recorded() {
            let step = step_of(value.value_iterated_to()).clamp(first, last);
            let share = value.count_at_value() as f64 / samples.len() as f64;
            steps[(step - first) as usize].1 += share;
        }
        steps
    }

    /// A bar for each step, as far as 99.9 % of the undisturbed samples go.
    pub fn text(&self) -> String {
        let disturbed = self.disturbed() * 100.0;
        let mut text = format!("{} (without the {disturbed:.1} % disturbed)\n", self.name);
        let steps = self.steps(20.0);
        let most = steps.iter().map(|step| step.1).fold(0.0, f64::max);
        let mut left = 1.0;
        for pair in steps.windows(2) {
            let [(begin, share), (end, _)] = pair else {
                continue;
            };
            // Writing to a string does not fail.
            if left < 0.001 {
                let range = format!("up to {}", nanos(self.undisturbed.max()));
                let _ = writeln!(text, "  {range:<22} {:>7.3} %", left * 100.0);
                break;
            }
            left -= share;
            if *share > 0.0 {
                let bar = "#".repeat((share / most * 50.0).ceil() as usize);
                let range = format!("{} to {}", with_unit(*begin, "ns"), with_unit(*end, "ns"));
                let _ = writeln!(text, "  {range:<22} {:>7.3} %  {bar}", share * 100.0);
            }
        }
        text
    }
}

/// How many nines the share `count` of `all` has. All of them: as many as one more would need.
fn nines(count: u64, all: u64) -> f64 {
    let rest = (all - count).max(1) as f64 / all.max(1) as f64;
    -rest.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(micros: &[u64]) -> Result<Distribution> {
        let mut distribution = Distribution::new("times")?;
        for micros in micros {
            distribution.record(Duration::from_micros(*micros), *micros == 100);
        }
        Ok(distribution)
    }

    #[test]
    fn disturbed_samples_are_in_all_only() -> Result<()> {
        let [undisturbed, all] = distribution(&[1, 2, 3, 100])?.figures();
        assert_eq!((undisturbed.samples, all.samples), (3, 4));
        assert_eq!(undisturbed.max / 1000, 3);
        assert_eq!(all.max / 1000, 100);
        Ok(())
    }

    #[test]
    fn steps_hold_each_sample_once() -> Result<()> {
        let steps = distribution(&[1, 2, 3, 3, 50, 200])?.steps(20.0);
        let sum: f64 = steps.iter().map(|step| step.1).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{steps:?}");
        assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(steps.last().map(|step| step.1), Some(0.0));
        Ok(())
    }

    #[test]
    fn ninety_of_a_hundred_are_one_nine() -> Result<()> {
        let corners = distribution(&[vec![1; 90], vec![2; 10]].concat())?.nines();
        assert_eq!(corners.len(), 4);
        assert!((corners[1].1 - 1.0).abs() < 1e-9, "{corners:?}");
        assert!((corners[3].1 - 2.0).abs() < 1e-9, "{corners:?}");
        Ok(())
    }

    #[test]
    fn disturbed_samples_are_in_no_step() -> Result<()> {
        assert!(distribution(&[100])?.steps(20.0).is_empty());
        Ok(())
    }
}
