//! docs/img/latency.svg: how many of the preemptions are no later than so long.

use super::Report;
use crate::chart::{self, BLUE, Chart, GREEN, GREY, RED, Series, X};
use crate::distribution::Distribution;
use plotters::style::RGBColor;
use std::path::Path;
use wasmtime::Result;

pub fn draw(path: &Path, report: &Report) -> Result<()> {
    let control = line("control: a timer's signal", GREY, [&report.control]);
    let signals = |own| {
        let of = report.delays.iter();
        of.filter(move |delays| delays.kind.is_guests_own == own)
            .map(|delays| &delays.signals)
    };
    let epochs = report.delays.iter().map(|delays| &delays.epochs);
    let series = vec![
        line("by epochs", GREEN, epochs),
        line("by signals, in a host function", BLUE, signals(false)),
        line("by signals, in the guest's own code", RED, signals(true)),
        control,
    ];
    let ends = series.iter().flat_map(|series| &series.areas).flatten();
    let (longest, most) = ends.fold((1e6, 4.0), |(x, y), end: &(f64, f64)| {
        (f64::max(x, end.0), f64::max(y, end.1))
    });
    let chart = Chart {
        title: "How late a preemption is, one line for each kind of code",
        x: X::Nanos(
            "from the end of the slice to the sibling",
            1e3..longest * 1.2,
        ),
        y: ("of the preemptions are no later", 0.0..most * 1.1, share),
        series,
    };
    chart::draw(path, (900, 480), &[chart])
}

fn line<'a>(name: &str, color: RGBColor, of: impl IntoIterator<Item = &'a Distribution>) -> Series {
    Series {
        name: name.into(),
        color,
        areas: of.into_iter().map(Distribution::nines).collect(),
        are_lines: true,
    }
}

/// `99.9 %` for three nines.
fn share(nines: f64) -> String {
    let decimals = (nines - 2.0).ceil().max(0.0) as usize;
    format!("{:.decimals$} %", 100.0 - 100.0 * 10f64.powf(-nines))
}
