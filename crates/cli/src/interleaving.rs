//! How the guests interleaved: each one's share of the CPU time in each step of the run, as
//! a row of blocks. A run of many steps is shown twice: the whole run in wider columns, and
//! the first steps in the original ones.

use crate::names;
use std::fmt::Write;
use std::time::Duration;

/// At this many columns (an even number), every two of them are merged.
const MOST_COLUMNS: usize = 64;

pub struct Interleaving {
    /// The width of a column.
    step: Duration,
    /// The first columns and their width, once columns have been merged.
    first: Option<(Duration, Vec<Vec<Duration>>)>,
    /// For each whole column, the CPU time of each thread in it.
    columns: Vec<Vec<Duration>>,
    /// The column being filled, and how much of it is filled.
    column: Vec<Duration>,
    filled: Duration,
    /// The CPU time of each thread at the last sample.
    last: Vec<Duration>,
}

impl Interleaving {
    pub fn new(step: Duration, threads: usize) -> Self {
        Interleaving {
            step,
            first: None,
            columns: Vec::new(),
            column: vec![Duration::ZERO; threads],
            filled: Duration::ZERO,
            last: vec![Duration::ZERO; threads],
        }
    }

    /// How long to run until the next sample.
    pub fn step(&self) -> Duration {
        self.step.saturating_sub(self.filled)
    }

    /// Takes the threads' CPU times after `elapsed` more of the run. If that spans several
    /// columns, who ran when is unknown, so the times are spread evenly.
    pub fn sample(&mut self, elapsed: Duration, cpu: impl IntoIterator<Item = Duration>) {
        let mut used: Vec<Duration> = Vec::new();
        for (last, now) in self.last.iter_mut().zip(cpu) {
            used.push(now.saturating_sub(*last));
            *last = now;
        }
        let mut left = elapsed;
        loop {
            let part = left.min(self.step.saturating_sub(self.filled));
            for (column, used) in self.column.iter_mut().zip(&mut used) {
                // The last part takes all that remains, so that nothing is lost.
                let share = match part == left {
                    true => *used,
                    false => used.mul_f64(part.div_duration_f64(left)),
                };
                *column += share;
                *used = used.saturating_sub(share);
            }
            left -= part;
            self.filled += part;
            if self.filled >= self.step {
                self.end_column();
            }
            if left.is_zero() {
                break;
            }
        }
    }

    /// Ends the last column, full or not.
    pub fn finish(&mut self) {
        if !self.filled.is_zero() {
            self.end_column();
        }
    }

    fn end_column(&mut self) {
        let empty = vec![Duration::ZERO; self.column.len()];
        self.columns
            .push(std::mem::replace(&mut self.column, empty));
        self.filled = Duration::ZERO;
        if self.columns.len() == MOST_COLUMNS {
            self.first
                .get_or_insert_with(|| (self.step, self.columns.clone()));
            self.step *= 2;
            self.columns = self.columns.chunks(2).map(sum).collect();
        }
    }

    /// The width of a column, and each thread's share of the CPU time in each column.
    pub fn whole(&self) -> Shares {
        shares(self.step, &self.columns)
    }

    /// The same for the first steps, if the whole run has wider columns.
    pub fn first(&self) -> Option<Shares> {
        let (step, columns) = self.first.as_ref()?;
        Some(shares(*step, columns))
    }
}

/// Each thread's share of the CPU time in each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// The width of a column.
    pub step: Duration,
    pub threads: Vec<Vec<f64>>,
}

fn shares(step: Duration, columns: &[Vec<Duration>]) -> Shares {
    let totals: Vec<Duration> = columns.iter().map(|c| c.iter().sum()).collect();
    let threads = columns.first().map_or(0, Vec::len);
    let of = |thread: usize| {
        let columns = columns.iter().zip(&totals);
        columns
            .map(|(column, total)| share(column[thread], *total))
            .collect()
    };
    Shares {
        step,
        threads: (0..threads).map(of).collect(),
    }
}

fn sum(columns: &[Vec<Duration>]) -> Vec<Duration> {
    let mut sums = columns[0].clone();
    for column in &columns[1..] {
        for (sum, time) in sums.iter_mut().zip(column) {
            *sum += *time;
        }
    }
    sums
}

/// `part` of `total`; zero if `total` is zero.
pub fn share(part: Duration, total: Duration) -> f64 {
    match total.is_zero() {
        true => 0.0,
        false => part.as_nanos() as f64 / total.as_nanos() as f64,
    }
}

/// One row of blocks. Their heights are eighths, and only a zero is blank.
pub fn blocks(shares: &[f64]) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    shares
        .iter()
        .map(|share| BLOCKS[((share * 8.0).ceil() as usize).min(8)])
        .collect()
}

impl Shares {
    /// The title `what`, then a labelled row for each thread. Labels are cut to a third of
    /// `width`.
    pub fn chart(&self, what: &str, labels: &[String], width: usize) -> String {
        let mut text = format!(
            "{what} (a column is {}, its height the share of the CPU time in it)\n",
            humantime::format_duration(self.step)
        );
        for (label, shares) in names::column(labels, width / 3).iter().zip(&self.threads) {
            writeln!(text, "  {label}  {}", blocks(shares).trim_end())
                .expect("writing to a string cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn columns_hold_the_shares_of_their_step() {
        let mut it = Interleaving::new(ms(100), 2);
        it.sample(ms(100), [ms(75), ms(25)]);
        it.sample(ms(100), [ms(75), ms(125)]);
        it.finish();
        assert_eq!(it.whole().threads, [[0.75, 0.0], [0.25, 1.0]]);
        assert_eq!(it.first(), None);
    }

    #[test]
    fn short_samples_fill_one_column() {
        let mut it = Interleaving::new(ms(100), 1);
        it.sample(ms(60), [ms(60)]);
        assert_eq!(it.step(), ms(40));
        it.sample(ms(40), [ms(100)]);
        it.sample(ms(5), [ms(105)]);
        it.finish();
        it.finish();
        assert_eq!(it.whole().threads, [[1.0, 1.0]]);
    }

    #[test]
    fn samples_longer_than_a_column_are_spread() {
        let mut it = Interleaving::new(ms(10), 2);
        it.sample(ms(5), [ms(5), ms(0)]);
        it.sample(ms(30), [ms(20), ms(15)]);
        it.finish();
        let whole = it.whole();
        assert_eq!(whole.threads[0], [0.75, 0.5, 0.5, 0.5]);
        assert_eq!(whole.step, ms(10));

        // A run of 2 s has as many columns as steps.
        let mut it = Interleaving::new(ms(10), 1);
        for sample in 1..=20 {
            it.sample(ms(100), [ms(sample * 100)]);
        }
        it.finish();
        let whole = it.whole();
        assert_eq!(whole.step * whole.threads[0].len() as u32, ms(2000));
        assert_eq!(it.columns.iter().flatten().sum::<Duration>(), ms(2000));
    }

    #[test]
    fn long_runs_get_wider_columns_and_lose_no_time() {
        let mut it = Interleaving::new(ms(10), 2);
        for step in 1..=1000 {
            it.sample(it.step(), [ms(step * 4), ms(step * 12)]);
        }
        it.finish();
        let (whole, first) = (it.whole(), it.first().unwrap());
        assert!(whole.threads[0].len() < MOST_COLUMNS);
        assert!(whole.step > ms(10));
        assert_eq!((first.step, first.threads[0].len()), (ms(10), MOST_COLUMNS));
        let total: Duration = it.columns.iter().flatten().sum();
        assert_eq!(total, ms(16_000));
        assert!(whole.threads[0].iter().all(|share| *share == 0.25));
    }

    #[test]
    fn blocks_show_every_share_above_nothing() {
        assert_eq!(blocks(&[0.0, 0.01, 0.125, 0.5, 0.99, 1.0]), " ▁▁▄██");
    }

    #[test]
    fn idle_columns_are_blank() {
        assert_eq!(share(ms(0), ms(0)), 0.0);
        let shares = Shares {
            step: ms(100),
            threads: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        };
        let chart = shares.chart("the run", &["1 a".to_string(), "2 bb".to_string()], 80);
        let (head, rows) = chart.split_once('\n').unwrap();
        assert!(head.starts_with("the run (a column is 100ms"), "{head}");
        assert_eq!(rows, "  1 a   █\n  2 bb   █\n");
    }
}
