//! Times for people to read.

use std::fmt;

/// Units in which to show a number of ticks, largest first.
const TIME: [(u64, &str); 4] = [
    (1_000_000_000, " s"),
    (1_000_000, " ms"),
    (1_000, " us"),
    (1, " ns"),
];
const FUEL: [(u64, &str); 4] = [
    (1_000_000_000, " G fuel"),
    (1_000_000, " M fuel"),
    (1_000, " k fuel"),
    (1, " fuel"),
];

/// A unit of time or of fuel.
#[derive(Clone, Copy)]
pub struct Unit {
    ticks: u64,
    suffix: &'static str,
}

impl Unit {
    /// The largest unit of which `ticks` is at least one.
    pub fn of(ticks: u64, fuel: bool) -> Self {
        let units = if fuel { &FUEL } else { &TIME };
        let fitting = units.iter().find(|(unit, _)| *unit <= ticks);
        let (ticks, suffix) = *fitting.unwrap_or(&units[3]);
        Unit { ticks, suffix }
    }

    /// `ticks` in this unit, with exactly the digits it needs.
    pub fn exact(self, ticks: u64) -> String {
        let (whole, part) = (ticks / self.ticks, ticks % self.ticks);
        if part == 0 {
            return format!("{whole}{}", self.suffix);
        }
        let digits = self.ticks.ilog10() as usize;
        let part = format!("{part:0digits$}");
        format!("{whole}.{}{}", part.trim_end_matches('0'), self.suffix)
    }
}

/// A number of ticks in a suitable unit, to three digits or more.
pub struct Ticks {
    pub ticks: u64,
    pub fuel: bool,
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Unit::of(self.ticks, self.fuel);
        let whole = self.ticks / unit.ticks;
        let digits = 3_u32.saturating_sub(whole.checked_ilog10().unwrap_or(0) + 1);
        // Truncated, not rounded: 999.9 us must not read 1000 us.
        let grain = (unit.ticks / 10_u64.pow(digits)).max(1);
        let cut = self.ticks - self.ticks % grain;
        f.pad(&unit.exact(cut))
    }
}
