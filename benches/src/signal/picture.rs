//! Distributions, drawn: the time to the right, on a logarithmic scale, and upwards
//! how many of the samples took so long. Those in which the OS had taken the core
//! away are left out, and the legend says how many that were.

use super::distribution::{Distribution, nanos};
use super::slices::Slices;
use super::switch::Switch;
use plotters::prelude::*;
use std::path::Path;
use wasmtime::{Result, format_err};

const SIZE: (u32, u32) = (900, 420);

const COLORS: [RGBColor; 4] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x7f, 0x7f, 0x7f),
];

/// A line of the legend, and what it stands for.
type Series<'a> = (String, &'a Distribution);

pub fn switch(path: &Path, switch: &Switch) -> Result<()> {
    let all = [
        &switch.wasm,
        &switch.host_calls,
        &switch.epoch,
        &switch.bare,
    ];
    let series: Vec<Series<'_>> = all
        .iter()
        .map(|all| (legend(all.name, all), *all))
        .collect();
    let title = "From the end of a slice to the sibling's first instruction";
    draw(path, title, "time", &series)
}

pub fn slices(path: &Path, all: &[Slices]) -> Result<()> {
    let series: Vec<Series<'_>> = all
        .iter()
        .map(|slices| {
            let name = format!("slices of {}", slices.longer.name);
            (legend(&name, &slices.longer), &slices.longer)
        })
        .collect();
    let title = "How much longer than asked for a slice is, with the switch at its end";
    draw(path, title, "longer by", &series)
}

fn legend(name: &str, distribution: &Distribution) -> String {
    let [figures, _] = distribution.figures();
    let (median, p99) = (nanos(figures.median as f64), nanos(figures.p99 as f64));
    let disturbed = distribution.disturbed() * 100.0;
    format!("{name}: median {median}, p99 {p99}, {disturbed:.1} % left out")
}

fn draw(path: &Path, title: &str, what: &str, series: &[Series<'_>]) -> Result<()> {
    drawn(path, title, what, series)
        .map_err(|error| format_err!("cannot draw {}: {error}", path.display()))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn drawn(path: &Path, title: &str, what: &str, series: &[Series<'_>]) -> Drawn {
    let p99 = |all: &Distribution| all.figures()[0].p99 as f64;
    let end = series
        .iter()
        .map(|(_, all)| 3.0 * p99(all))
        .fold(1e3, f64::max);
    let outlines: Vec<_> = series.iter().map(|(_, all)| outline(all, end)).collect();
    let points = || outlines.iter().flatten();
    let begin = points().map(|point| point.0).fold(end / 10.0, f64::min);
    let most = points().map(|point| point.1).fold(1.0, f64::max) * 1.05;

    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d((begin..end).log_scale(), 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.06))
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .x_desc(what)
        .y_desc("share of the samples")
        .x_label_formatter(&|x| tick(*x))
        .y_label_formatter(&|y| format!("{y:.0} %"))
        .draw()?;
    for ((name, _), (outline, color)) in series.iter().zip(outlines.into_iter().zip(COLORS)) {
        chart
            .draw_series(AreaSeries::new(outline, 0.0, color.mix(0.2)).border_style(color))?
            .label(name)
            .legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.mix(0.6).filled())
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    area.present()?;
    Ok(())
}

/// A power of ten, as the ticks of a logarithmic scale are.
fn tick(x: f64) -> String {
    match x {
        ..1e3 => format!("{x:.0} ns"),
        1e3..1e6 => format!("{:.0} us", x / 1e3),
        _ => format!("{:.0} ms", x / 1e6),
    }
}

/// The steps that begin before `end` as a line of corners, in percent.
fn outline(distribution: &Distribution, end: f64) -> Vec<(f64, f64)> {
    let mut corners = Vec::new();
    let mut share = 0.0;
    for (begin, next) in distribution.steps(40.0) {
        if begin < end {
            corners.push((begin, share * 100.0));
            corners.push((begin, next * 100.0));
            share = next;
        }
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_picture_has_a_legend_with_the_figures() -> Result<()> {
        let mut distribution = Distribution::new("times")?;
        for micros in [3, 4, 5] {
            distribution.record(Duration::from_micros(micros), false);
        }
        let directory = std::env::temp_dir();
        let path = directory.join(format!("preempt-picture-{}.svg", std::process::id()));
        let series = [(legend("times", &distribution), &distribution)];
        draw(&path, "title", "what", &series)?;
        let svg = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        assert!(svg.contains("times: median 4.0"), "{svg}");
        Ok(())
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() -> Result<()> {
        let distribution = Distribution::new("none")?;
        let series = [("none".to_string(), &distribution)];
        let error = draw(Path::new("/nowhere/x.svg"), "", "", &series);
        assert!(error.is_err_and(|error| error.to_string().contains("/nowhere/x.svg")));
        Ok(())
    }
}
