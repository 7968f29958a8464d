//! How much of each column of pixels something occupies.

use std::fmt::{self, Write};

/// What may be left over from rounding alone, in pixels: far more than the last bit
/// of a position in 4000 pixels.
const ROUNDING: f64 = 1e-11;

/// Converts ticks to pixels.
pub struct Scale {
    start: u64,
    pixels_per_tick: f64,
    width: f64,
}

impl Scale {
    pub fn new(start: u64, length: u64, width: usize) -> Self {
        Scale {
            start,
            pixels_per_tick: width as f64 / length.max(1) as f64,
            width: width as f64,
        }
    }

    /// The position of `at`, from 0 to the width.
    pub fn x(&self, at: u64) -> f64 {
        let ticks = at.saturating_sub(self.start) as f64;
        (ticks * self.pixels_per_tick).min(self.width)
    }
}

/// How much of each column of pixels is occupied, from 0 to 1.
#[derive(Clone)]
pub struct Lane(Vec<f64>);

impl Lane {
    pub fn new(width: usize) -> Self {
        Lane(vec![0.0; width])
    }

    /// Occupies the space between two positions. An empty stretch adds nothing.
    pub fn add(&mut self, from: f64, to: f64) {
        let last = self.0.len().saturating_sub(1);
        // `as` saturates; `Scale` returns nothing below 0.
        let (first, end) = ((from as usize).min(last), (to as usize).min(last));
        for (column, part) in self.0.iter_mut().enumerate().take(end + 1).skip(first) {
            let left = from.max(column as f64);
            let right = to.min(column as f64 + 1.0);
            if right - left > ROUNDING {
                *part = (*part + right - left).min(1.0);
            }
        }
    }

    /// The union with `other`.
    pub fn with(&self, other: &Lane) -> Lane {
        let pairs = self.0.iter().zip(&other.0);
        Lane(pairs.map(|(a, b)| (a + b).min(1.0)).collect())
    }

    /// The columns of which this occupies more than `other`.
    pub fn without(&self, other: &Lane) -> Lane {
        let pairs = self.0.iter().zip(&other.0);
        Lane(pairs.map(|(a, b)| if a > b { *a } else { 0.0 }).collect())
    }

    /// Writes the columns that `which` selects, if any, as one path of many strokes.
    pub fn write(
        &self,
        to: &mut dyn Write,
        x: usize,
        y: usize,
        class: &str,
        which: impl Fn(f64) -> bool,
    ) -> fmt::Result {
        // Where the pen is. A path of relative moves takes a few bytes per stroke.
        let mut pen = None;
        let mut column = 0;
        while column < self.0.len() {
            let chosen = self.0[column..].iter().take_while(|part| which(**part));
            let length = chosen.count();
            if length == 0 {
                column += 1;
                continue;
            }
            match pen {
                None => write!(
                    to,
                    "<path class=\"{class}\" d=\"M{} {y}h{length}",
                    x + column
                ),
                Some(pen) => write!(to, "m{} 0h{length}", column - pen),
            }?;
            column += length;
            pen = Some(column);
        }
        match pen {
            Some(_) => writeln!(to, "\"/>"),
            None => Ok(()),
        }
    }
}
