//! Measuring things beside each other.
//!
//! All subjects run once per round, each for about [`Effort::sample`], and every
//! round starts with another one. Whatever else the machine does then hits
//! neighbours in time alike, so the ratio within a round is steadier than either
//! figure; and the median over the rounds drops the rounds that were hit in the
//! middle.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use wasmtime::{Result, ensure};

/// Something that can be done any number of times.
pub struct Subject<'a> {
    pub name: &'static str,
    run: Box<dyn FnMut(u64) -> Result<Duration> + 'a>,
}

impl<'a> Subject<'a> {
    /// `run` does it as often as it is told, at least once, and returns how long
    /// that took.
    pub fn new(name: &'static str, run: impl FnMut(u64) -> Result<Duration> + 'a) -> Self {
        Subject {
            name,
            run: Box::new(run),
        }
    }

    pub fn run(&mut self, times: u64) -> Result<Duration> {
        (self.run)(times)
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How many samples of each subject.
    pub rounds: usize,
    /// How long a sample takes, roughly.
    pub sample: Duration,
}

/// Nanoseconds per operation of one subject, one figure per round.
#[derive(Clone, Debug)]
pub struct Samples {
    pub name: &'static str,
    pub nanos: Vec<f64>,
}

impl Samples {
    pub fn median(&self) -> f64 {
        Spread::of(self.nanos.clone()).median
    }

    /// How many times as long as `other` this takes.
    pub fn ratio(&self, other: &Samples) -> Spread {
        let pairs = self.nanos.iter().zip(&other.nanos);
        Spread::of(pairs.map(|(a, b)| a / b).collect())
    }
}

/// The middle of some figures, and where the middle half of them lies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// All are NaN if there are no figures.
    pub fn of(mut figures: Vec<f64>) -> Spread {
        figures.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let place = quantile * figures.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            match (figures.get(below), figures.get(above)) {
                (Some(below), Some(above)) => below + (above - below) * place.fract(),
                _ => f64::NAN,
            }
        };
        Spread {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        }
    }
}

/// Measures all `subjects` in turns.
pub fn measure(subjects: &mut [Subject<'_>], effort: Effort) -> Result<Vec<Samples>> {
    let mut times = Vec::new();
    for subject in &mut *subjects {
        times.push(calibrate(subject, effort.sample)?);
    }
    let mut samples: Vec<Samples> = subjects
        .iter()
        .map(|subject| Samples {
            name: subject.name,
            nanos: Vec::new(),
        })
        .collect();
    for round in 0..effort.rounds {
        for turn in 0..subjects.len() {
            let i = (round + turn) % subjects.len();
            let took = subjects[i].run(times[i])?;
            samples[i]
                .nanos
                .push(took.as_nanos() as f64 / times[i] as f64);
        }
    }
    Ok(samples)
}

/// How often `subject` can be done in `sample`. Warms it up, too.
fn calibrate(subject: &mut Subject<'_>, sample: Duration) -> Result<u64> {
    let mut times = 1;
    loop {
        // The best of three, as somebody else may have the core meanwhile.
        let mut best = Duration::MAX;
        for _ in 0..3 {
            // Its own figure may have something taken off.
            let start = Instant::now();
            subject.run(times)?;
            best = best.min(start.elapsed());
        }
        if best * 2 >= sample {
            let wanted = sample.as_secs_f64() / best.as_secs_f64() * times as f64;
            return Ok((wanted as u64).max(1));
        }
        times *= 2;
    }
}

/// The samples of the subject `name`.
///
/// # Errors
///
/// If there is no such subject.
pub fn named<'a>(samples: &'a [Samples], name: &str) -> Result<&'a Samples> {
    let found = samples.iter().find(|samples| samples.name == name);
    ensure!(found.is_some(), "there is no subject `{name}`");
    Ok(found.expect("just checked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_quartiles() {
        let spread = Spread::of(vec![5.0, 1.0, 2.0, 4.0, 3.0]);
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        let spread = Spread::of(vec![1.0, 2.0]);
        assert_eq!(spread.median, 1.5);
    }

    #[test]
    fn ratio_is_taken_within_each_round() {
        let samples = |nanos: &[f64]| Samples {
            name: "",
            nanos: nanos.to_vec(),
        };
        // Each round is disturbed by as much on both sides.
        let ratio = samples(&[2.0, 20.0, 200.0]).ratio(&samples(&[1.0, 10.0, 100.0]));
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn each_subject_is_measured_once_per_round() -> Result<()> {
        let mut subjects = ["a", "b", "c"].map(|name| {
            Subject::new(name, |times| {
                std::thread::sleep(Duration::from_micros(100));
                Ok(Duration::from_nanos(7) * times as u32)
            })
        });
        let effort = Effort {
            rounds: 4,
            sample: Duration::from_micros(50),
        };
        for samples in measure(&mut subjects, effort)? {
            assert_eq!(samples.nanos, [7.0; 4]);
        }
        Ok(())
    }
}
