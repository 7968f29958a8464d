//! One thing that is done to a store with component instances.

use crate::bytes::Bytes;
use arbitrary::{Result, Unstructured};
use std::time::Duration;

pub const INSTANCES: usize = 3;

/// What the component exports.
pub const EXPORTS: [&str; 9] = [
    "sum", "lend", "give", "make", "echo", "ask", "nap", "spin", "trap",
];

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Spawn(Spawn),
    Run(Duration),
    /// In an executor, which drops the future after so many polls.
    RunAsync {
        polls: u8,
    },
    Kill(usize),
    Suspend(usize),
    Resume(usize),
    TakeExits,
    PlainCall(usize),
    /// Puts a new instance in the place of one that nobody calls.
    ReplaceInstance(usize),
    Shutdown,
    /// Drops the store, and makes another.
    ReplaceStore,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Spawn {
    pub export: &'static str,
    pub instance: usize,
    pub n: u32,
    /// Of fuel, or of time.
    pub limit: Option<u64>,
}

impl Op {
    pub fn choose(u: &mut Unstructured<'_>) -> Result<Op> {
        // `write` is the inverse.
        Ok(match u.int_in_range(0..=18)? {
            0..=5 => Op::Spawn(Spawn::choose(u)?),
            6..=9 => Op::Run(Duration::from_micros(u.int_in_range(0..=1_000)?)),
            10 => Op::Kill(u.arbitrary::<u8>()?.into()),
            11 => Op::Suspend(u.arbitrary::<u8>()?.into()),
            12 => Op::Resume(u.arbitrary::<u8>()?.into()),
            13 => Op::TakeExits,
            14 => Op::PlainCall(u.int_in_range(0..=INSTANCES - 1)?),
            15 => Op::ReplaceInstance(u.int_in_range(0..=INSTANCES - 1)?),
            16 | 17 => Op::RunAsync {
                polls: u.int_in_range(1..=10)?,
            },
            _ => match u.arbitrary()? {
                true => Op::Shutdown,
                false => Op::ReplaceStore,
            },
        })
    }

    /// The bytes that choose it.
    pub fn write(&self, to: &mut Bytes) {
        const LAST: i64 = INSTANCES as i64 - 1;
        let mut kind = |n: i64| to.int_in_range(n, 0..=18);
        match self {
            Op::Spawn(spawn) => {
                kind(0);
                spawn.write(to);
            }
            Op::Run(time) => {
                kind(6);
                to.int_in_range(time.as_micros() as i64, 0..=1_000);
            }
            Op::Kill(call) => {
                kind(10);
                to.u8(*call as u8);
            }
            Op::Suspend(call) => {
                kind(11);
                to.u8(*call as u8);
            }
            Op::Resume(call) => {
                kind(12);
                to.u8(*call as u8);
            }
            Op::TakeExits => kind(13),
            Op::PlainCall(instance) => {
                kind(14);
                to.int_in_range(*instance as i64, 0..=LAST);
            }
            Op::ReplaceInstance(instance) => {
                kind(15);
                to.int_in_range(*instance as i64, 0..=LAST);
            }
            Op::RunAsync { polls } => {
                kind(16);
                to.int_in_range(*polls, 1..=10);
            }
            Op::Shutdown | Op::ReplaceStore => {
                kind(18);
                to.bool(*self == Op::Shutdown);
            }
        }
    }
}

impl Spawn {
    fn choose(u: &mut Unstructured<'_>) -> Result<Spawn> {
        Ok(Spawn {
            export: u.choose(&EXPORTS)?,
            instance: u.int_in_range(0..=INSTANCES - 1)?,
            n: u.int_in_range(1..=40)?,
            limit: match u.ratio(1, 5)? {
                true => Some(u.int_in_range(1..=3_000)?),
                false => None,
            },
        })
    }

    fn write(&self, to: &mut Bytes) {
        let export = EXPORTS.iter().position(|name| *name == self.export);
        let export = export.expect("it is one of them");
        to.int_in_range(export as i64, 0..=EXPORTS.len() as i64 - 1);
        to.int_in_range(self.instance as i64, 0..=INSTANCES as i64 - 1);
        to.int_in_range(self.n, 1..=40);
        to.ratio(self.limit.is_some(), 5);
        if let Some(limit) = self.limit {
            to.int_in_range(limit as i64, 1..=3_000);
        }
    }
}
