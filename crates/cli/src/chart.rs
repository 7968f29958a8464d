//! How the guests took turns, as rows of blocks.

use crate::mode;
use crate::names;
use std::fmt::Write;
use wasmtime::Slice;

/// Each guest's share of the CPU in each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The width of a column.
    pub step: Slice,
    pub guests: Vec<Vec<f64>>,
}

impl Chart {
    /// The title `what`, then a labelled row for each guest. Labels are cut to a third of
    /// `width`.
    pub fn text(&self, what: &str, labels: &[String], width: usize) -> String {
        let mut text = format!(
            "{what} (a column is {}, its height the share of the CPU in it)\n",
            mode::show(self.step)
        );
        for (label, shares) in names::column(labels, width / 3).iter().zip(&self.guests) {
            writeln!(text, "  {label}  {}", blocks(shares).trim_end())
                .expect("writing to a string cannot fail");
        }
        text
    }
}

/// One row of blocks. Their heights are eighths, and only a zero is blank.
fn blocks(shares: &[f64]) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    shares
        .iter()
        .map(|share| BLOCKS[((share * 8.0).ceil() as usize).min(8)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn blocks_show_every_share_above_nothing() {
        assert_eq!(blocks(&[0.0, 0.01, 0.125, 0.5, 0.99, 1.0]), " ▁▁▄██");
    }

    #[test]
    fn row_of_a_guest_is_blank_where_it_did_not_run() {
        let chart = |step| Chart {
            step,
            guests: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        };
        let labels = ["1 a".to_string(), "2 bb".to_string()];
        let time = chart(Slice::Time(Duration::from_millis(100)));
        let time = time.text("the run", &labels, 80);
        let (head, rows) = time.split_once('\n').unwrap();
        assert!(head.starts_with("the run (a column is 100ms"), "{head}");
        assert_eq!(rows, "  1 a   █\n  2 bb   █\n");
        let fuel = chart(Slice::Fuel(7)).text("the run", &labels, 80);
        assert!(fuel.contains("(a column is 7 units of fuel"), "{fuel}");
    }
}
