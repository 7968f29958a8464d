//! The time axis.

use super::{HEAD, LEFT};
use crate::ticks::Unit;
use std::fmt::{self, Write};

/// The least distance between lines, in pixels.
const APART: u64 = 110;

/// Draws a line and a label at each step, from `HEAD` down to `bottom`.
pub fn write(
    to: &mut dyn Write,
    length: u64,
    fuel: bool,
    width: usize,
    bottom: usize,
) -> fmt::Result {
    let most = (width as u64 / APART).max(1);
    let step = nice(length.div_ceil(most));
    let unit = Unit::of(step, fuel);
    let mut at = 0_u64;
    loop {
        let x = LEFT as f64 + at as f64 / length.max(1) as f64 * width as f64;
        writeln!(
            to,
            "<path class=\"grid\" d=\"M{x:.1} {HEAD}V{}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{}\">{}</text>",
            bottom + 6,
            bottom + 20,
            unit.exact(at)
        )?;
        match at.checked_add(step) {
            Some(next) if next <= length => at = next,
            _ => break,
        }
    }
    writeln!(
        to,
        "<path class=\"grid\" d=\"M{LEFT} {}h{width}\"/>",
        bottom + 1
    )
}

/// The first of 1, 2, 5, 10, 20, 50 ... that is at least `step`.
fn nice(step: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            match power.checked_mul(factor) {
                Some(nice) if nice >= step => return nice,
                Some(_) => {}
                None => return step,
            }
        }
        match power.checked_mul(10) {
            Some(next) => power = next,
            None => return step,
        }
    }
}
