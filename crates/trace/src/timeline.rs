//! An SVG picture of who ran when.
//!
//! ```text
//!            runs  ==========================
//!   1 reader       ████░░░░░░████/////////░░█●      █ on the CPU
//!   2 writer       ░░░░██████░░░░███████●           ░ ready
//!                  |--------|--------|------|       / parked
//!                  0 ms     5 ms     10 ms  15 ms
//! ```
//!
//! A row is cut into columns of one pixel, and each column keeps only the fraction of
//! it in which the thread ran, in quarters. So a picture of a million events is no
//! larger than one of some thousands, and a slice far shorter than a pixel still
//! shows. If threads take turns within a pixel, each one is as dark as its share.
//!
//! Rejected: one rectangle per slice, which makes files that no viewer opens; and
//! merging the slices within a pixel, which shows two threads that take turns as if
//! both ran all the time.

mod axis;
mod lane;
mod style;

use crate::labels::shorten;
use crate::names::{Names, finishes, shown};
use crate::spans::{Doing, Span, Spans};
use crate::stats::{Stats, ThreadStats};
use crate::ticks::Ticks;
use lane::Lane;
use std::collections::HashMap;
use std::fmt::{self, Write};
use style::{COLOURS, Text, mark};
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, Traced};

/// The width of the column of names, and the margins.
const LEFT: usize = 190;
const RIGHT: usize = 30;
/// The heights of the parts.
const HEAD: usize = 78;
const ROW: usize = 22;
const FOOT: usize = 44;
/// The most characters of a thread's number and name that are shown.
const LABEL: usize = 24;
/// How many threads the description covers.
const DESCRIBED: usize = 16;

/// How to draw a trace.
#[derive(Clone, Debug)]
pub struct Timeline {
    title: String,
    width: usize,
    rows: usize,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline {
            title: "Guest threads".to_string(),
            width: 960,
            rows: 64,
        }
    }
}

impl Timeline {
    /// At most 64 threads, and 960 pixels wide beside the names.
    pub fn new() -> Self {
        Timeline::default()
    }

    /// Sets the title above the picture.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets the width of the time axis in pixels, clamped to 100 to 4000.
    pub fn width(mut self, pixels: usize) -> Self {
        self.width = pixels.clamp(100, 4000);
        self
    }

    /// Sets how many threads have rows, clamped to 1 to 1024. These are the threads
    /// with the smallest ids, and the picture says how many are left out. With 64
    /// rows and 960 pixels, the file is smaller than 1 MB however long the trace is.
    pub fn rows(mut self, threads: usize) -> Self {
        self.rows = threads.clamp(1, 1024);
        self
    }

    /// Draws `trace`.
    pub fn svg(&self, trace: &Trace) -> String {
        let mut svg = String::new();
        self.write(trace, &mut svg)
            .expect("writing to a string cannot fail");
        svg
    }

    /// Draws `trace` into `to`.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub fn write(&self, trace: &Trace, to: &mut dyn Write) -> fmt::Result {
        let picture = Picture::of(self, trace);
        picture.write(to)
    }
}

/// The picture to draw.
struct Picture<'a> {
    timeline: &'a Timeline,
    names: Names<'a>,
    /// One for each row, short enough for its place.
    labels: Vec<String>,
    stats: Stats,
    rows: Vec<Row>,
    runs: Lane,
    /// The length of the axis in ticks.
    length: u64,
}

/// One thread.
#[derive(Clone)]
struct Row {
    running: Lane,
    ready: Lane,
    parked: Lane,
    /// When it finished, and how.
    end: Option<(f64, Traced)>,
}

impl<'a> Picture<'a> {
    fn of(timeline: &'a Timeline, trace: &'a Trace) -> Self {
        let stats = Stats::of(trace);
        let start = trace.events.first().map_or(0, |event| event.at);
        let end = trace.events.iter().map(|event| event.at).max();
        let length = end.unwrap_or(0).saturating_sub(start);
        let scale = lane::Scale::new(start, length, timeline.width);

        let lane = Lane::new(timeline.width);
        let row = Row {
            running: lane.clone(),
            ready: lane.clone(),
            parked: lane.clone(),
            end: None,
        };
        let threads = stats.threads.iter().take(timeline.rows);
        let places: HashMap<ThreadId, usize> = threads.map(|t| t.thread).zip(0..).collect();
        let names = Names::of(trace);
        let mut picture = Picture {
            timeline,
            labels: labels(&names, &stats.threads[..places.len()]),
            names,
            rows: vec![row; places.len()],
            runs: lane,
            length,
            stats,
        };
        let mut spans = Spans::of(trace);
        for event in &trace.events {
            for span in spans.step(event) {
                picture.add(&span, &places, &scale);
            }
            if finishes(event.what)
                && let Some(place) = places.get(&event.thread)
            {
                picture.rows[*place].end = Some((scale.x(spans.now()), event.what));
            }
        }
        for span in spans.finish() {
            picture.add(&span, &places, &scale);
        }
        picture
    }

    fn add(&mut self, span: &Span, places: &HashMap<ThreadId, usize>, scale: &lane::Scale) {
        let (from, to) = (scale.x(span.from), scale.x(span.to));
        if span.doing == Doing::Run {
            return self.runs.add(from, to);
        }
        let Some(row) = places.get(&span.thread).map(|place| &mut self.rows[*place]) else {
            return;
        };
        match span.doing {
            Doing::Ready => row.ready.add(from, to),
            Doing::Parked => row.parked.add(from, to),
            Doing::Running { .. } | Doing::Run => row.running.add(from, to),
        }
    }

    fn ticks(&self, ticks: u64) -> Ticks {
        Ticks {
            ticks,
            fuel: self.stats.fuel,
        }
    }

    /// A note on what the picture leaves out.
    fn missing(&self) -> Option<String> {
        let threads = self.stats.threads.len() - self.rows.len();
        let events = self.stats.lost;
        let threads = (threads > 0).then(|| format!("{} left out", count(threads, "more thread")));
        let events = (events > 0).then(|| format!("{} lost", count(events, "older event")));
        match (threads, events) {
            (Some(threads), Some(events)) => Some(format!("{threads}, {events}")),
            (threads, events) => threads.or(events),
        }
    }

    fn write(&self, to: &mut dyn Write) -> fmt::Result {
        let width = LEFT + self.timeline.width + RIGHT;
        let missing = self.missing();
        let bottom = HEAD + self.rows.len().max(1) * ROW;
        let height = bottom + FOOT + missing.as_ref().map_or(0, |_| ROW);
        writeln!(
            to,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"preempt-timeline\" \
             viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" aria-labelledby=\"preempt-title preempt-desc\">"
        )?;
        let title = Text(&self.timeline.title);
        writeln!(to, "<title id=\"preempt-title\">{title}</title>")?;
        self.describe(to)?;
        style::write(to)?;
        writeln!(
            to,
            "<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
             <text class=\"head\" x=\"12\" y=\"24\">{title}</text>"
        )?;
        style::legend(to, 12, 46)?;
        axis::write(
            to,
            self.length,
            self.stats.fuel,
            self.timeline.width,
            bottom,
        )?;

        let y = HEAD - 10;
        writeln!(to, "<g><title>runs of the store's threads</title>")?;
        writeln!(
            to,
            "<text class=\"name\" x=\"{}\" y=\"{}\">runs</text>",
            LEFT - 10,
            y + 4
        )?;
        self.runs.write(to, LEFT, y, "run", |part| part > 0.0)?;
        writeln!(to, "</g>")?;

        let rows = self.rows.iter().zip(&self.stats.threads);
        for (place, (row, thread)) in rows.enumerate() {
            self.row(to, place, row, thread)?;
        }
        if self.rows.is_empty() {
            let (x, y) = (LEFT + 6, HEAD + ROW / 2 + 4);
            writeln!(to, "<text x=\"{x}\" y=\"{y}\">no threads</text>")?;
        }
        if let Some(missing) = missing {
            let y = height - 12;
            writeln!(to, "<text x=\"12\" y=\"{y}\">{missing}</text>")?;
        }
        writeln!(to, "</svg>")
    }

    fn row(
        &self,
        to: &mut dyn Write,
        place: usize,
        row: &Row,
        thread: &ThreadStats,
    ) -> fmt::Result {
        let y = HEAD + place * ROW + ROW / 2;
        let colour = place % COLOURS.len();
        writeln!(to, "<g class=\"c{colour}\"><title>")?;
        self.tell(to, thread)?;
        writeln!(to, "</title>")?;
        writeln!(
            to,
            "<text class=\"name\" x=\"{}\" y=\"{}\">{}</text>",
            LEFT - 10,
            y + 4,
            Text(&self.labels[place])
        )?;
        // Drawn below the running time: a thread that takes turns within a pixel is
        // seen to wait for the rest of it.
        let alive = row.ready.with(&row.running);
        alive.write(to, LEFT, y, "ready", |part| part > 0.0)?;
        // A pixel in which it did both shows what it did for longer.
        let parked = row.parked.without(&alive);
        parked.write(to, LEFT, y, "parked", |part| part > 0.0)?;
        let quarter = |part: f64| (part * 4.0).ceil() as u32;
        for (level, class) in [(1, "q1"), (2, "q2"), (3, "q3"), (4, "q4")] {
            row.running
                .write(to, LEFT, y, class, |part| quarter(part) == level)?;
        }
        if let Some((x, how)) = row.end {
            mark(to, LEFT as f64 + x, y, how)?;
        }
        writeln!(to, "</g>")
    }

    fn describe(&self, to: &mut dyn Write) -> fmt::Result {
        write!(
            to,
            "<desc id=\"preempt-desc\">{} over {}. ",
            count(self.stats.threads.len(), "guest thread"),
            self.ticks(self.length)
        )?;
        if let Some(missing) = self.missing() {
            write!(to, "{missing}. ")?;
        }
        for thread in self.stats.threads.iter().take(DESCRIBED) {
            self.tell(to, thread)?;
            write!(to, ". ")?;
        }
        writeln!(to, "</desc>")
    }

    /// Describes one thread in words.
    fn tell(&self, to: &mut dyn Write, thread: &ThreadStats) -> fmt::Result {
        write!(
            to,
            "{}: on the CPU for {} in {}, waited {}, parked {}",
            Text(&self.names.label(thread.thread)),
            self.ticks(thread.cpu),
            count(thread.slices, "slice"),
            self.ticks(thread.waiting),
            self.ticks(thread.parked)
        )?;
        match thread.exit {
            Some(how) => write!(to, ", {}", shown(how)),
            None => write!(to, ", unfinished"),
        }
    }
}

/// The labels of `threads`: a number is shown whole, a name as far as there is room.
fn labels(names: &Names<'_>, threads: &[ThreadStats]) -> Vec<String> {
    let threads = threads.iter().map(|thread| thread.thread);
    let digits = threads.clone().map(|id| id.to_string().len()).max();
    let room = LABEL.saturating_sub(digits.unwrap_or(0) + 1);
    let given: Vec<_> = threads.clone().map(|id| names.given(id)).collect();
    let short: Vec<&str> = given.iter().map(|name| name.unwrap_or_default()).collect();
    let labels = threads.zip(given).zip(shorten(&short, room));
    let labels = labels.map(|((id, given), short)| match given {
        Some(_) => format!("{id} {short}"),
        None => names.label(id),
    });
    labels.collect()
}

/// `n` and `what`, in the plural if needed.
fn count<N: fmt::Display + PartialEq + From<u8>>(n: N, what: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {what}{plural}")
}
