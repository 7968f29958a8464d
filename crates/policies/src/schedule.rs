//! A recorded sequence of picks, and its text form.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use wasmtime::ThreadId;
use wasmtime::preempt::Pick;

const HEADER: &str = "preempt-schedule 1";
const WIDTH: usize = 80;

/// A sequence of picks: which thread was dispatched, and for how long.
///
/// [`Display`](fmt::Display) and [`FromStr`] write and read it as text. The first
/// line names the format and its version, the second one gives the number of picks.
/// A line `seed N` follows if there is a [seed](Schedule::seed).
/// The picks follow in order, any number to a line: `THREAD`, or `THREAD:SLICE` if
/// the policy set a slice, followed by `*TIMES` if the same pick was made several
/// times in a row.
///
/// ```
/// # use preempt_policies::Schedule;
/// let text = "preempt-schedule 1\npicks 5\n1:1000 2:500*3 1\n";
/// let schedule: Schedule = text.parse()?;
/// assert_eq!(schedule.len(), 5);
/// assert_eq!(schedule.to_string(), text);
/// # Ok::<(), preempt_policies::ParseScheduleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// No two neighbours are the same pick, and none has a count of 0.
    runs: Vec<(Pick, u64)>,
    len: u64,
    seed: Option<u64>,
}

impl Schedule {
    /// A schedule without picks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of picks.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no picks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The seed of what else the run left to chance, such as its guests' random numbers.
    /// Without it, repeating the picks may not repeat the run.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Sets the [seed](Schedule::seed).
    pub fn set_seed(&mut self, seed: Option<u64>) {
        self.seed = seed;
    }

    /// Adds a pick to the end.
    pub fn push(&mut self, pick: Pick) {
        self.push_run(pick, 1);
    }

    /// All picks in order.
    pub fn iter(&self) -> impl Iterator<Item = Pick> {
        self.runs
            .iter()
            .flat_map(|&(pick, times)| (0..times).map(move |_| pick))
    }

    /// Equal consecutive picks, by the run's number.
    pub(crate) fn run(&self, index: usize) -> Option<(Pick, u64)> {
        self.runs.get(index).copied()
    }

    /// Returns whether there was room for this many.
    fn push_run(&mut self, pick: Pick, times: u64) -> bool {
        let Some(len) = self.len.checked_add(times) else {
            return false;
        };
        self.len = len;
        match self.runs.last_mut() {
            Some((last, so_far)) if *last == pick => *so_far += times,
            _ => self.runs.push((pick, times)),
        }
        true
    }
}

impl Extend<Pick> for Schedule {
    fn extend<I: IntoIterator<Item = Pick>>(&mut self, picks: I) {
        for pick in picks {
            self.push(pick);
        }
    }
}

impl FromIterator<Pick> for Schedule {
    fn from_iter<I: IntoIterator<Item = Pick>>(picks: I) -> Self {
        let mut schedule = Schedule::new();
        schedule.extend(picks);
        schedule
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        writeln!(f, "picks {}", self.len)?;
        if let Some(seed) = self.seed {
            writeln!(f, "seed {seed}")?;
        }
        let mut column = 0;
        for (pick, times) in &self.runs {
            let mut word = pick.thread.as_u64().to_string();
            if let Some(slice) = pick.slice {
                write!(word, ":{slice}")?;
            }
            if *times > 1 {
                write!(word, "*{times}")?;
            }
            let separator = match column {
                0 => "",
                _ if column + word.len() < WIDTH => " ",
                _ => "\n",
            };
            column = match separator {
                "\n" => word.len(),
                _ => column + separator.len() + word.len(),
            };
            write!(f, "{separator}{word}")?;
        }
        if column > 0 {
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Why a text is not a [`Schedule`]: the line, and what was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseScheduleError {
    line: usize,
    value: String,
    wanted: &'static str,
}

impl ParseScheduleError {
    fn new(line: usize, value: &str, wanted: &'static str) -> Self {
        const SHOWN: usize = 60;
        let mut shown: String = value.chars().take(SHOWN).collect();
        if shown.len() < value.len() {
            shown += "...";
        }
        ParseScheduleError {
            line,
            value: shown,
            wanted,
        }
    }

    /// The number of the line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// What was found there, shortened if it is long.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseScheduleError {
            line,
            value,
            wanted,
        } = self;
        write!(f, "line {line}: found {value:?}, wanted {wanted}")
    }
}

impl std::error::Error for ParseScheduleError {}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().trim_end();
        if first != HEADER {
            return Err(ParseScheduleError::new(
                1,
                first,
                "the header `preempt-schedule 1`: other versions cannot be read",
            ));
        }
        let second = lines.next().unwrap_or_default().trim_end();
        let announced = second
            .strip_prefix("picks ")
            .and_then(number)
            .ok_or_else(|| {
                ParseScheduleError::new(2, second, "`picks` and their number, as in `picks 12`")
            })?;

        let mut schedule = Schedule::new();
        for (line, at) in lines.zip(3..) {
            if let (3, Some(seed)) = (at, line.trim_end().strip_prefix("seed ")) {
                let wanted = "`seed` and a number, as in `seed 12`";
                let seed = number(seed).ok_or_else(|| ParseScheduleError::new(at, line, wanted))?;
                schedule.seed = Some(seed);
                continue;
            }
            for word in line.split_ascii_whitespace() {
                let (pick, times) =
                    parse_run(word).map_err(|wanted| ParseScheduleError::new(at, word, wanted))?;
                if !schedule.push_run(pick, times) {
                    return Err(ParseScheduleError::new(
                        at,
                        word,
                        "fewer than 2^64 picks in all",
                    ));
                }
            }
        }
        if schedule.len != announced {
            let wanted = if schedule.len < announced {
                "no more picks than there are: the text seems to be cut off"
            } else {
                "as many picks as there are: there are more"
            };
            return Err(ParseScheduleError::new(2, second, wanted));
        }
        Ok(schedule)
    }
}

/// Parses `THREAD[:SLICE][*TIMES]`; the error says what was wanted.
fn parse_run(word: &str) -> Result<(Pick, u64), &'static str> {
    let (rest, times) = match word.split_once('*') {
        Some((rest, times)) => {
            let times = number(times).filter(|&times| times > 0);
            (rest, times.ok_or("how often, from 1, after the `*`")?)
        }
        None => (word, 1),
    };
    let (thread, slice) = match rest.split_once(':') {
        Some((thread, slice)) => {
            let slice = number(slice).ok_or("a slice in ticks after the `:`")?;
            (thread, Some(slice))
        }
        None => (rest, None),
    };
    let thread = number(thread).ok_or("a pick, as in `3`, `3:1000` or `3:1000*5`")?;
    let thread = ThreadId::from_u64(thread);
    Ok((Pick { thread, slice }, times))
}

/// Digits only: `parse` alone would accept a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}
