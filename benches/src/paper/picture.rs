//! The ratios, drawn: a group of bars per workload. They start at 1, the time without
//! any checks, so that what is seen is the overhead.

use super::report::Report;
use crate::chart::{self, BLUE, Chart, GREEN, LIGHT_BLUE, LIGHT_RED, RED, Series, X};
use crate::overhead::case::{Build, Set};
use crate::served::Mode;
use plotters::style::RGBColor;
use std::path::Path;
use wasmtime::Result;

/// One of each group.
struct Bar {
    name: &'static str,
    build: Build,
    mode: Mode,
    threads: usize,
    color: RGBColor,
}

const BARS: [Bar; 5] = [
    called("fuel: stock", Build::Stock, Mode::Fuel, LIGHT_RED),
    called("fuel: ours", Build::Ours, Mode::Fuel, RED),
    called("epoch: stock", Build::Stock, Mode::Epoch, LIGHT_BLUE),
    called("epoch: ours", Build::Ours, Mode::Epoch, BLUE),
    Bar {
        threads: 2,
        ..called("signal: 2 threads", Build::Ours, Mode::Signal, GREEN)
    },
];

const fn called(name: &'static str, build: Build, mode: Mode, color: RGBColor) -> Bar {
    Bar {
        name,
        build,
        mode,
        threads: 0,
        color,
    }
}

pub fn draw(path: &Path, report: &Report) -> Result<()> {
    let charts = [
        chart("The paper's workloads", report, Set::Paper),
        chart("The broader set", report, Set::Broad),
    ];
    chart::draw(path, (1000, 760), &charts)
}

fn chart<'a>(title: &'a str, report: &'a Report, set: Set) -> Chart<'a> {
    let names: Vec<&str> = report
        .workloads(set)
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let ratio = |workload: &str, bar: &Bar| {
        let line = report.line(workload, bar.build, bar.mode, bar.threads)?;
        Some(line.ratio.median)
    };
    // Of the group's width.
    let width = 0.8 / BARS.len() as f64;
    let series = BARS.iter().enumerate().map(|(place, bar)| {
        let areas = names.iter().enumerate().filter_map(|(group, workload)| {
            let left = group as f64 + 0.1 + place as f64 * width;
            let (right, ratio) = (left + width * 0.9, ratio(workload, bar)?);
            Some(vec![
                (left, 1.0),
                (left, ratio),
                (right, ratio),
                (right, 1.0),
            ])
        });
        Series {
            name: bar.name.into(),
            color: bar.color,
            areas: areas.collect(),
            are_lines: false,
        }
    });
    let series: Vec<Series> = series.collect();
    let ratios = || {
        series
            .iter()
            .flat_map(|series| &series.areas)
            .map(|area| area[1].1)
    };
    let low = ratios().fold(0.95, f64::min) - 0.02;
    let high = ratios().fold(1.1, f64::max);
    // Above the highest bar is its value, and above that the legend.
    let high = high + 0.25 * (high - low);
    Chart {
        title,
        x: X::Groups(names),
        y: ("time, uninstrumented = 1", low..high, |y| format!("{y:.1}")),
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn each_workload_has_a_bar_per_mode() -> Result<()> {
        let path = std::env::temp_dir().join(format!("preempt-paper-{}.svg", std::process::id()));
        draw(&path, &sample())?;
        let svg = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        for words in [
            "fib",
            "sort",
            "signal: 2 threads",
            "The broader set",
            "\n1.29\n",
        ] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        for Bar {
            color: RGBColor(r, g, b),
            ..
        } in BARS
        {
            let color = format!("#{r:02X}{g:02X}{b:02X}");
            // Five workloads, and two legends.
            assert_eq!(svg.matches(&color).count(), 7, "{color}: {svg}");
        }
        Ok(())
    }
}
