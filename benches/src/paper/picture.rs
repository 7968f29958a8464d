//! The ratios, drawn: a group of bars per workload. They start at 1, the time without
//! any checks, so that what is seen is the overhead.

use super::rows::{Build, Report, Set};
use super::server::Mode;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use wasmtime::{Result, format_err};

const SIZE: (u32, u32) = (1000, 760);

/// One of each group.
struct Bar {
    name: &'static str,
    build: Build,
    mode: Mode,
    threads: usize,
    color: RGBColor,
}

const BARS: [Bar; 5] = [
    called(
        "fuel: stock",
        Build::Stock,
        Mode::Fuel,
        RGBColor(0xf2, 0xb6, 0xb6),
    ),
    called(
        "fuel: ours",
        Build::Ours,
        Mode::Fuel,
        RGBColor(0xd6, 0x27, 0x28),
    ),
    called(
        "epoch: stock",
        Build::Stock,
        Mode::Epoch,
        RGBColor(0xae, 0xcd, 0xe6),
    ),
    called(
        "epoch: ours",
        Build::Ours,
        Mode::Epoch,
        RGBColor(0x1f, 0x77, 0xb4),
    ),
    Bar {
        name: "signal: 2 threads",
        build: Build::Ours,
        mode: Mode::Signal,
        threads: 2,
        color: RGBColor(0x2c, 0xa0, 0x2c),
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
    drawn(path, report).map_err(|error| format_err!("cannot draw {}: {error}", path.display()))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn drawn(path: &Path, report: &Report) -> Drawn {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(SIZE.1 / 2);
    set(&upper, "The paper's workloads", report, Set::Paper)?;
    set(&lower, "The broader set", report, Set::Broad)?;
    area.present()?;
    Ok(())
}

/// One chart.
fn set(area: &Area<'_>, title: &str, report: &Report, set: Set) -> Drawn {
    let workloads = report.workloads(set);
    let ratio = |workload: &str, bar: &Bar| {
        let row = report.row(workload, bar.build, bar.mode, bar.threads)?;
        Some(row.ratio)
    };
    let all = workloads.iter();
    let all = all.flat_map(|(workload, _)| BARS.iter().map(|bar| ratio(workload, bar)));
    let ratios: Vec<f64> = all.flatten().collect();
    let low = ratios.iter().copied().fold(0.95, f64::min) - 0.02;
    let high = ratios.iter().copied().fold(1.1, f64::max) * 1.15;

    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..workloads.len().max(1) as f64, low..high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(BLACK.mix(0.06))
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .x_labels(0)
        .y_desc("time, uninstrumented = 1")
        .y_label_formatter(&|y| format!("{y:.1}"))
        .draw()?;
    // Of the group's width.
    let width = 0.8 / BARS.len() as f64;
    for (place, bar) in BARS.iter().enumerate() {
        let rectangles = workloads
            .iter()
            .enumerate()
            .filter_map(|(group, (workload, _))| {
                let left = group as f64 + 0.1 + place as f64 * width;
                let corner = (left + width * 0.9, ratio(workload, bar)?);
                Some(Rectangle::new([(left, 1.0), corner], bar.color.filled()))
            });
        chart
            .draw_series(rectangles)?
            .label(bar.name)
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], bar.color.filled()));
    }
    let end = workloads.len().max(1) as f64;
    chart.draw_series(LineSeries::new([(0.0, 1.0), (end, 1.0)], BLACK))?;
    let style = TextStyle::from(("sans-serif", 14)).pos(Pos::new(HPos::Center, VPos::Top));
    for (group, (workload, _)) in workloads.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(group as f64 + 0.5, low));
        let (left, top) = area.get_base_pixel();
        area.draw_text(workload, &style, (x - left, y - top + 8))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::sample;
    use super::*;

    #[test]
    fn each_workload_has_a_bar_per_mode() -> Result<()> {
        let path = std::env::temp_dir().join(format!("preempt-paper-{}.svg", std::process::id()));
        draw(&path, &sample())?;
        let svg = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        for words in ["fib", "sort", "signal: 2 threads", "The broader set"] {
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
