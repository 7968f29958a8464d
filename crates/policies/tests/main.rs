//! What the policies promise, one file per behaviour.

mod conserving;
mod deadlines;
mod determinism;
mod fair_groups;
mod fair_lag;
mod fair_proportion;
mod fair_sleepers;
mod fair_starvation;
mod memory;
mod pct;
mod priorities;
mod random;
mod replay;
mod scale;
mod schedule_text;
mod sim;
mod young;
