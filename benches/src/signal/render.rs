//! Distributions as tables of quantiles, and as charts: the time to the right, on a
//! logarithmic scale, and upwards how many of the samples took so long. Charts leave out those
//! in which the OS had taken the core away, and the legend says how many that were.

use super::slices::Slices;
use super::switch::Switch;
use crate::chart::{self, BLUE, Chart, GREEN, GREY, RED, Series, X};
use crate::distribution::Distribution;
use crate::table::{Table, nanos};
use std::path::Path;
use wasmtime::Result;

pub fn switch(switch: &Switch) -> String {
    let all = switch.all();
    let rows = all.iter().map(|all| (vec![all.name.to_string()], *all));
    table(&[""], "min", rows) + &texts(all.into_iter().take(4))
}

pub fn slices(all: &[Slices]) -> String {
    let rows = all.iter().map(|slices| {
        let counts = [slices.shorter as u64, slices.missed].map(|count| count.to_string());
        let name = slices.longer.name.to_string();
        ([vec![name], counts.into()].concat(), &slices.longer)
    });
    table(&["slice", "shorter", "missed"], "longer by: min", rows)
        + &texts(all.iter().map(|slices| &slices.longer))
}

/// Two lines for each distribution: without the disturbed samples, and with them.
fn table<'a>(
    labels: &[&str],
    min: &str,
    rows: impl Iterator<Item = (Vec<String>, &'a Distribution)>,
) -> String {
    let quantiles = ["samples", "", min, "median", "p90", "p99", "p99.9", "max"];
    let mut table = Table::new([labels, &quantiles].concat(), labels.len(), &[0]);
    for (label, distribution) in rows {
        for all in distribution.figures() {
            let which = if all.undisturbed {
                "undisturbed"
            } else {
                "all"
            };
            let times = [all.min, all.median, all.p90, all.p99, all.p999, all.max];
            let times = times.map(|time| match all.samples {
                0 => "-".into(),
                _ => nanos(time),
            });
            let samples = [all.samples.to_string(), which.into()];
            table.add(label.iter().cloned().chain(samples).chain(times));
        }
    }
    format!("{table}\n")
}

fn texts<'a>(all: impl Iterator<Item = &'a Distribution>) -> String {
    all.map(|distribution| format!("\n{}", distribution.text()))
        .collect()
}

pub fn draw_switch(path: &Path, switch: &Switch) -> Result<()> {
    let series = switch.all().into_iter().take(4);
    let series = series.map(|all| (all.name.to_string(), all));
    let title = "From the end of a slice to the sibling's first instruction";
    draw(path, title, "time", &series.collect::<Vec<_>>())
}

pub fn draw_slices(path: &Path, all: &[Slices]) -> Result<()> {
    let series = all.iter().map(|slices| {
        let longer = &slices.longer;
        (format!("slices of {}", longer.name), longer)
    });
    let title = "How much longer than asked for a slice is, with the switch at its end";
    draw(path, title, "longer by", &series.collect::<Vec<_>>())
}

fn draw(path: &Path, title: &str, what: &str, all: &[(String, &Distribution)]) -> Result<()> {
    let p99 = |all: &Distribution| all.figures()[0].p99 as f64;
    let ends = all.iter().map(|(_, all)| 3.0 * p99(all));
    let end = ends.fold(1e3, f64::max);
    let outlines: Vec<_> = all.iter().map(|(_, all)| outline(all, end)).collect();
    let points = || outlines.iter().flatten();
    let begin = points().map(|point| point.0).fold(end / 10.0, f64::min);
    let most = points().map(|point| point.1).fold(1.0, f64::max) * 1.05;
    let colors = [RED, BLUE, GREEN, GREY];
    let series = all.iter().zip(&outlines).zip(colors);
    let series = series.map(|(((name, all), outline), color)| Series {
        name: legend(name, all),
        color,
        areas: vec![outline.clone()],
        are_lines: false,
    });
    let chart = Chart {
        title,
        x: X::Nanos(what, begin..end),
        y: ("share of the samples", 0.0..most, |y| format!("{y:.0} %")),
        series: series.collect(),
    };
    chart::draw(path, (900, 420), &[chart])
}

fn legend(name: &str, distribution: &Distribution) -> String {
    let [figures, _] = distribution.figures();
    let (median, p99) = (nanos(figures.median), nanos(figures.p99));
    let disturbed = distribution.disturbed() * 100.0;
    format!("{name}: median {median}, p99 {p99}, {disturbed:.1} % left out")
}

/// The corners of the steps that begin before `end`, in percent.
fn outline(distribution: &Distribution, end: f64) -> Vec<(f64, f64)> {
    let mut corners = Vec::new();
    let mut share = 0.0;
    let steps = distribution.steps(40.0);
    for (begin, next) in steps.into_iter().filter(|(begin, _)| *begin < end) {
        corners.extend([(begin, share * 100.0), (begin, next * 100.0)]);
        share = next;
    }
    let end = corners.last().map(|(last, _)| (*last, 0.0));
    corners.extend(end);
    corners
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn distribution() -> Result<Distribution> {
        let mut distribution = Distribution::new("times")?;
        for micros in [3, 4, 5] {
            distribution.record(Duration::from_micros(micros), micros == 5);
        }
        Ok(distribution)
    }

    #[test]
    fn legend_has_the_figures() -> Result<()> {
        let legend = legend("times", &distribution()?);
        assert!(
            legend.starts_with("times: median 3.00 us, p99 4.00 us, 33.3 %"),
            "{legend}"
        );
        Ok(())
    }

    #[test]
    fn a_distribution_is_two_lines_of_a_table() -> Result<()> {
        let distribution = distribution()?;
        let rows = [(vec!["name".to_string()], &distribution)];
        let text = table(&[""], "min", rows.into_iter());
        assert_eq!((text.lines().count(), text.matches("name").count()), (4, 1));
        Ok(())
    }
}
