//! One thing that is done to a store.

use super::thread::{Limits, Work};
use crate::source;
use arbitrary::{Result, Unstructured};
use std::time::Duration;
use wasmtime::preempt::{Preemption, Slice};

#[derive(Debug, PartialEq)]
pub enum Op {
    Spawn(Spawn),
    Run {
        time: Duration,
        /// On an OS thread of its own.
        elsewhere: bool,
        /// What other OS threads do meanwhile.
        meanwhile: Vec<Meddle>,
    },
    /// In an executor, which drops the future after so many polls.
    RunAsync {
        polls: u8,
    },
    Suspend(usize),
    Resume(usize),
    Kill(usize),
    SetSlice(Slice),
    SetThreadSlice(usize, Slice),
    SetParams {
        thread: usize,
        weight: u32,
        priority: i32,
    },
    SetLimits(usize, Limits),
    SetGroupLimits(Limits),
    SetScheduler(u8, u64),
    SetMaxThreads(usize),
    SetMaxIdleStacks(usize),
    OwnMemories(bool),
    Open(u32),
    Notify(u64),
    TakeExits,
    PlainCall(i64),
    Collect,
    IncrementEpoch,
    Shutdown,
    /// Drops the store, and makes another.
    Replace,
}

#[derive(Debug, PartialEq)]
pub struct Spawn {
    pub work: Work,
    /// Of a thread, for those that need one.
    pub n: u16,
    pub slice: Option<Slice>,
    pub detached: bool,
    pub hook: Option<Hook>,
    pub grouped: bool,
    pub weight: u32,
    pub priority: i32,
    pub deadline: Option<u64>,
    pub limits: Limits,
}

/// What a hook does when its thread has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hook {
    Count,
    KillAnother(usize),
    Spawn,
}

/// What another OS thread does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meddle {
    Kill(usize),
    PreemptNow(usize),
    IncrementEpoch,
    Open,
    Notify(u64),
    Pause(Duration),
}

impl Op {
    pub fn choose(source: Preemption, u: &mut Unstructured<'_>) -> Result<Op> {
        // `write.rs` has the inverse.
        Ok(match u.int_in_range(0..=41)? {
            0..=9 => Op::Spawn(Spawn::choose(source, u)?),
            10..=16 => {
                let time = Duration::from_micros(u.int_in_range(0..=1_500)?);
                let elsewhere = u.ratio(1, 3)?;
                let mut meanwhile = Vec::new();
                for _ in 0..u.int_in_range(0..=4)? {
                    meanwhile.push(Meddle::choose(u)?);
                }
                Op::Run {
                    time,
                    elsewhere,
                    meanwhile,
                }
            }
            17 | 18 => Op::RunAsync {
                polls: u.int_in_range(1..=10)?,
            },
            19 | 20 => Op::Suspend(u.arbitrary::<u8>()?.into()),
            21 | 22 => Op::Resume(u.arbitrary::<u8>()?.into()),
            23 | 24 => Op::Kill(u.arbitrary::<u8>()?.into()),
            25 => Op::SetSlice(source::slice(source, u)?),
            26 => Op::SetThreadSlice(u.arbitrary::<u8>()?.into(), source::slice(source, u)?),
            27 => Op::SetParams {
                thread: u.arbitrary::<u8>()?.into(),
                weight: u.int_in_range(0..=4)?,
                priority: u.int_in_range(-2..=2)?,
            },
            28 => Op::SetLimits(u.arbitrary::<u8>()?.into(), limits(u)?),
            29 => Op::SetGroupLimits(Limits {
                wall: None,
                ..limits(u)?
            }),
            30 => Op::SetScheduler(u.arbitrary()?, u.arbitrary()?),
            31 => Op::SetMaxThreads(u.int_in_range(0..=20)?),
            32 => Op::SetMaxIdleStacks(u.int_in_range(0..=4)?),
            33 => Op::OwnMemories(u.arbitrary()?),
            34 => Op::Open(u.int_in_range(1..=3)?),
            35 => Op::Notify(u.int_in_range(0..=3)?),
            36 | 37 => Op::TakeExits,
            38 => Op::PlainCall(u.int_in_range(0..=200)?),
            39 => Op::Collect,
            40 => Op::IncrementEpoch,
            _ => match u.arbitrary()? {
                true => Op::Shutdown,
                false => Op::Replace,
            },
        })
    }
}

impl Spawn {
    fn choose(source: Preemption, u: &mut Unstructured<'_>) -> Result<Spawn> {
        let work = *u.choose(&Work::ALL)?;
        let n = u.int_in_range(0..=400)?;
        // Most threads are plain.
        let flags: u8 = match u.ratio(1, 2)? {
            true => u.arbitrary()?,
            false => 0,
        };
        let flag = |bit: u8| flags & (1 << bit) != 0;
        Ok(Spawn {
            work,
            n,
            slice: match flag(0) {
                true => Some(source::slice(source, u)?),
                false => None,
            },
            detached: flag(1),
            hook: match flag(2) {
                true => Some(Hook::choose(u)?),
                false => None,
            },
            grouped: flag(3),
            weight: if flag(4) { 3 } else { 1 },
            priority: i32::from(flag(5)),
            deadline: flag(6).then_some(1_000),
            limits: match flag(7) {
                true => limits(u)?,
                false => Limits::default(),
            },
        })
    }
}

impl Hook {
    fn choose(u: &mut Unstructured<'_>) -> Result<Hook> {
        Ok(match u.int_in_range(0..=3)? {
            0 => Hook::KillAnother(u.arbitrary::<u8>()?.into()),
            1 => Hook::Spawn,
            _ => Hook::Count,
        })
    }
}

impl Meddle {
    fn choose(u: &mut Unstructured<'_>) -> Result<Meddle> {
        Ok(match u.int_in_range(0..=5)? {
            0 => Meddle::Kill(u.arbitrary::<u8>()?.into()),
            1 => Meddle::PreemptNow(u.arbitrary::<u8>()?.into()),
            2 => Meddle::IncrementEpoch,
            3 => Meddle::Open,
            4 => Meddle::Notify(u.int_in_range(0..=3)?),
            _ => Meddle::Pause(Duration::from_micros(u.int_in_range(1..=500)?)),
        })
    }
}

/// None of zero, which is an error.
fn limits(u: &mut Unstructured<'_>) -> Result<Limits> {
    let which: u8 = u.arbitrary()?;
    let amount = u64::from(u.arbitrary::<u16>()?) + 1;
    let is = |bit: u8| which & (1 << bit) != 0;
    let time = Duration::from_nanos(amount * 50);
    Ok(Limits {
        fuel: is(0).then_some(amount),
        cpu: is(1).then_some(time),
        wall: is(2).then_some(time * 2),
        soft_fuel: is(3).then_some(amount.div_ceil(2)),
    })
}
