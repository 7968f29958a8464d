//! Charts, as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::path::Path;
use wasmtime::{Result, format_err};

pub const RED: RGBColor = RGBColor(0xd6, 0x27, 0x28);
pub const LIGHT_RED: RGBColor = RGBColor(0xf2, 0xb6, 0xb6);
pub const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
pub const LIGHT_BLUE: RGBColor = RGBColor(0xae, 0xcd, 0xe6);
pub const GREEN: RGBColor = RGBColor(0x2c, 0xa0, 0x2c);
pub const GREY: RGBColor = RGBColor(0x7f, 0x7f, 0x7f);

pub struct Chart<'a> {
    pub title: &'a str,
    pub x: X<'a>,
    /// What is to be seen upwards, its range, and how its ticks are written.
    pub y: (&'a str, Range<f64>, fn(f64) -> String),
    pub series: Vec<Series>,
}

/// What is to be seen to the right.
pub enum X<'a> {
    /// Nanoseconds on a logarithmic scale, and what they are.
    Nanos(&'a str, Range<f64>),
    /// Bars in groups with these names, each group one wide. They stand on a line at 1, with
    /// their values above them.
    Groups(Vec<&'a str>),
}

/// A line of the legend, and the corners of the areas that it stands for.
pub struct Series {
    pub name: String,
    pub color: RGBColor,
    pub areas: Vec<Vec<(f64, f64)>>,
    /// Whether they are no areas, but lines.
    pub are_lines: bool,
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws `charts` below each other.
pub fn draw(path: &Path, size: (u32, u32), charts: &[Chart<'_>]) -> Result<()> {
    let drawn = || -> Drawn {
        let area = SVGBackend::new(path, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (part, chart) in area.split_evenly((charts.len(), 1)).iter().zip(charts) {
            chart.draw(part)?;
        }
        area.present()?;
        Ok(())
    };
    drawn().map_err(|error| format_err!("cannot draw {}: {error}", path.display()))
}

impl Chart<'_> {
    fn draw(&self, area: &Area<'_>) -> Drawn {
        match &self.x {
            X::Nanos(what, range) => self.draw_along(area, range.clone().log_scale(), what, &[]),
            X::Groups(names) => self.draw_along(area, 0.0..names.len().max(1) as f64, "", names),
        }
    }

    fn draw_along<R>(&self, area: &Area<'_>, x: R, what: &str, groups: &[&str]) -> Drawn
    where
        R: AsRangedCoord<Value = f64>,
        R::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let (y, range, tick) = &self.y;
        let bottom = range.start;
        let is_nanos = matches!(self.x, X::Nanos(..));
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(52)
            .build_cartesian_2d(x, range.clone())?;
        let (x_tick, y_tick) = (|x: &f64| power_of_ten(*x), |y: &f64| tick(*y));
        let mut mesh = chart.configure_mesh();
        if !is_nanos {
            // The bars have their values: a few lines are enough.
            mesh.disable_x_mesh().x_labels(0);
            mesh.y_labels(5).y_max_light_lines(0);
        }
        mesh.light_line_style(BLACK.mix(0.06))
            .bold_line_style(BLACK.mix(0.15))
            .label_style(("sans-serif", 14))
            .x_desc(what)
            .y_desc(*y)
            .x_label_formatter(&x_tick)
            .y_label_formatter(&y_tick)
            .draw()?;
        for series in &self.series {
            let Series {
                name,
                color,
                areas,
                are_lines,
            } = series;
            let (fill, color) = (if is_nanos { 0.2 } else { 1.0 }, *color);
            let shapes = areas
                .iter()
                .filter(|_| !are_lines)
                .map(|area| Polygon::new(area.clone(), color.mix(fill)));
            chart
                .draw_series(shapes)?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled())
                });
            for area in areas.iter().filter(|_| is_nanos) {
                chart.draw_series(LineSeries::new(area.clone(), color))?;
            }
        }
        if !is_nanos {
            let ends = [(0.0, 1.0), (groups.len().max(1) as f64, 1.0)];
            chart.draw_series(LineSeries::new(ends, BLACK))?;
        }
        let (left, top) = area.get_base_pixel();
        let pixel = |at: (f64, f64)| {
            let (x, y) = chart.backend_coord(&at);
            (x - left, y - top)
        };
        let style = TextStyle::from(("sans-serif", 14)).pos(Pos::new(HPos::Center, VPos::Top));
        for (group, name) in groups.iter().enumerate() {
            let (x, y) = pixel((group as f64 + 0.5, bottom));
            area.draw_text(name, &style, (x, y + 8))?;
        }
        // Upwards: a bar is narrower than its value.
        let style = TextStyle::from(("sans-serif", 10))
            .transform(FontTransform::Rotate270)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let bars = self.series.iter().flat_map(|series| &series.areas);
        for bar in bars.filter(|_| !is_nanos) {
            if let [(from, _), (_, value), (to, _), ..] = bar[..] {
                let (x, y) = pixel(((from + to) / 2.0, value.max(1.0)));
                area.draw_text(&format!("{value:.2}"), &style, (x, y - 3))?;
            }
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
}

/// As the ticks of a logarithmic scale are.
fn power_of_ten(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        1e3..1e6 => format!("{:.0} us", nanos / 1e3),
        _ => format!("{:.0} ms", nanos / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart<'a>(x: X<'a>) -> Chart<'a> {
        Chart {
            title: "title",
            x,
            y: ("share", 0.0..2.0, |y| format!("{y:.1}")),
            series: vec![Series {
                name: "legend".into(),
                color: GREEN,
                areas: vec![vec![(1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0)]],
                are_lines: false,
            }],
        }
    }

    #[test]
    fn a_chart_has_a_title_and_a_legend() -> Result<()> {
        let name = format!("preempt-chart-{}.svg", std::process::id());
        let path = std::env::temp_dir().join(name);
        let charts = [X::Nanos("time", 1.0..10.0), X::Groups(vec!["a group"])];
        draw(&path, (400, 400), &charts.map(chart))?;
        let svg = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        assert_eq!(svg.matches("legend").count(), 2, "{svg}");
        assert!(svg.contains("a group") && svg.contains("title"), "{svg}");
        Ok(())
    }

    #[test]
    fn bars_have_values_and_few_lines_behind_them() -> Result<()> {
        let name = format!("preempt-bars-{}.svg", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut bars = chart(X::Groups(vec!["a group"]));
        bars.series[0].areas = vec![vec![(0.1, 1.0), (0.1, 1.237), (0.3, 1.237), (0.3, 1.0)]];
        draw(&path, (400, 400), &[bars])?;
        let svg = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        assert_eq!(svg.matches("\n1.24\n").count(), 1, "{svg}");
        // Grid lines, and the axes.
        assert!(svg.matches("<line").count() < 10, "{svg}");
        Ok(())
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let charts = [chart(X::Nanos("", 1.0..10.0))];
        let error = draw(Path::new("/nowhere/x.svg"), (100, 100), &charts);
        assert!(error.is_err_and(|error| error.to_string().contains("/nowhere/x.svg")));
    }
}
