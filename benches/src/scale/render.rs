//! The figures as a table, and as a picture.

use super::Figures;
use crate::chart::{BLUE, GREEN, GREY, LIGHT_BLUE, RED};
use crate::lines::{self, Line, Lines};
use crate::table::{Table, nanos};
use plotters::style::RGBColor;
use std::path::Path;
use wasmtime::Result;

/// What a column says, and how long it takes.
type Time = (&'static str, fn(&Figures) -> f64);

const TIMES: [Time; 7] = [
    ("spawn", |all| all.spawn),
    ("on a used stack", |all| all.respawn),
    ("first dispatch", |all| all.first_dispatch),
    ("dispatch", |all| all.dispatch),
    ("bare fiber", |all| all.fiber),
    ("run once, finish", |all| all.finish),
    ("drop suspended", |all| all.drop),
];

pub fn table(all: &[Figures]) -> String {
    let times = TIMES.iter().map(|(name, _)| *name);
    let memory = ["resident", "page tables"];
    let mut table = Table::new(["threads"].into_iter().chain(times).chain(memory), 0, &[]);
    for figures in all {
        let times = TIMES.iter().map(|(_, time)| nanos(time(figures) as u64));
        let kib = |bytes: f64| format!("{:.2} KiB", bytes / 1024.0);
        let memory = [figures.resident, figures.page_tables].map(kib);
        let cells = [figures.threads.to_string()].into_iter().chain(times);
        table.add(cells.chain(memory));
    }
    format!("{table}\n")
}

pub fn draw(path: &Path, all: &[Figures]) -> Result<()> {
    const COLORS: [RGBColor; 7] = [
        BLUE,
        LIGHT_BLUE,
        RGBColor(0xff, 0x7f, 0x0e),
        RED,
        GREY,
        GREEN,
        RGBColor(0x94, 0x67, 0xbd),
    ];
    let line = |((name, time), color): (&Time, _)| Line {
        name: (*name).to_string(),
        color,
        points: all
            .iter()
            .map(|all| (f64::from(all.threads), time(all)))
            .collect(),
    };
    let lines = Lines {
        title: "Time for each thread, against the number of threads in one Store",
        x: "threads",
        y: "nanoseconds for each",
        lines: TIMES.iter().zip(COLORS).map(line).collect(),
    };
    lines::draw(path, (900, 520), &lines)
}
