//! Lines on logarithmic scales, as SVG.

use plotters::prelude::*;
use std::path::Path;
use wasmtime::{Result, format_err};

pub struct Lines<'a> {
    pub title: &'a str,
    /// What is to the right, and what upwards.
    pub x: &'a str,
    pub y: &'a str,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    pub color: RGBColor,
    pub points: Vec<(f64, f64)>,
}

pub fn draw(path: &Path, size: (u32, u32), lines: &Lines<'_>) -> Result<()> {
    lines
        .draw(path, size)
        .map_err(|error| format_err!("cannot draw {}: {error}", path.display()))
}

impl Lines<'_> {
    fn draw(
        &self,
        path: &Path,
        size: (u32, u32),
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(path, size).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let (least, most) = values.fold((f64::MAX, 1.0_f64), |(least, most), value| {
                (least.min(value), most.max(value))
            });
            least.min(most / 10.0)..most
        };
        let x = range(&mut points().map(|point| point.0));
        let y = range(&mut points().map(|point| point.1));
        // The legend is to the left of the highest values.
        let y = y.start * 0.8..y.end * 3.0;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(BLACK.mix(0.06))
            .bold_line_style(BLACK.mix(0.15))
            .label_style(("sans-serif", 14))
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        for Line {
            name,
            color,
            points,
        } in &self.lines
        {
            let color = *color;
            chart
                .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)).point_size(3))?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_legend_and_both_scales() -> Result<()> {
        let name = format!("preempt-lines-{}.svg", std::process::id());
        let path = std::env::temp_dir().join(name);
        let lines = Lines {
            title: "title",
            x: "to the right",
            y: "upwards",
            lines: vec![Line {
                name: "legend".into(),
                color: RED,
                points: vec![(10.0, 5.0), (1e6, 500.0)],
            }],
        };
        draw(&path, (600, 400), &lines)?;
        let svg = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        for text in [
            "title",
            "to the right",
            "upwards",
            "legend",
            "1000000",
            "100",
        ] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}: {svg}");
        }
        Ok(())
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let lines = Lines {
            title: "",
            x: "",
            y: "",
            lines: Vec::new(),
        };
        let error = draw(Path::new("/nowhere/x.svg"), (100, 100), &lines);
        assert!(error.is_err_and(|error| error.to_string().contains("/nowhere/x.svg")));
    }
}
