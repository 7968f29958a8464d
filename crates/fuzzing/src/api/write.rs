//! The bytes that choose an operation: the inverse of `op.rs`.

use super::op::{Hook, Meddle, Op, Spawn};
use super::thread::{Limits, Work};
use crate::bytes::Bytes;
use wasmtime::preempt::Preemption;

impl Op {
    pub fn write(&self, source: Preemption, to: &mut Bytes) {
        let mut kind = |n: i64| to.int_in_range(n, 0..=41);
        match self {
            Op::Spawn(spawn) => {
                kind(0);
                spawn.write(source, to);
            }
            Op::Run {
                time,
                elsewhere,
                meanwhile,
            } => {
                kind(10);
                to.int_in_range(time.as_micros() as i64, 0..=1_500);
                to.ratio(*elsewhere, 3);
                to.int_in_range(meanwhile.len() as i64, 0..=4);
                meanwhile.iter().for_each(|meddle| meddle.write(to));
            }
            Op::RunAsync { polls } => {
                kind(17);
                to.int_in_range(*polls, 1..=10);
            }
            Op::Suspend(thread) => {
                kind(19);
                to.u8(*thread as u8);
            }
            Op::Resume(thread) => {
                kind(21);
                to.u8(*thread as u8);
            }
            Op::Kill(thread) => {
                kind(23);
                to.u8(*thread as u8);
            }
            Op::SetSlice(slice) => {
                kind(25);
                to.slice(source, *slice);
            }
            Op::SetThreadSlice(thread, slice) => {
                kind(26);
                to.u8(*thread as u8);
                to.slice(source, *slice);
            }
            Op::SetParams {
                thread,
                weight,
                priority,
            } => {
                kind(27);
                to.u8(*thread as u8);
                to.int_in_range(*weight, 0..=4);
                to.int_in_range(*priority, -2..=2);
            }
            Op::SetLimits(thread, limits) => {
                kind(28);
                to.u8(*thread as u8);
                limits.write(to);
            }
            Op::SetGroupLimits(limits) => {
                kind(29);
                limits.write(to);
            }
            Op::SetScheduler(which, seed) => {
                kind(30);
                to.u8(*which);
                to.u64(*seed);
            }
            Op::SetMaxThreads(max) => {
                kind(31);
                to.int_in_range(*max as i64, 0..=20);
            }
            Op::SetMaxIdleStacks(max) => {
                kind(32);
                to.int_in_range(*max as i64, 0..=4);
            }
            Op::OwnMemories(own) => {
                kind(33);
                to.bool(*own);
            }
            Op::Open(tickets) => {
                kind(34);
                to.int_in_range(*tickets, 1..=3);
            }
            Op::Notify(word) => {
                kind(35);
                to.int_in_range(*word as i64, 0..=3);
            }
            Op::TakeExits => kind(36),
            Op::PlainCall(n) => {
                kind(38);
                to.int_in_range(*n, 0..=200);
            }
            Op::Collect => kind(39),
            Op::IncrementEpoch => kind(40),
            Op::Shutdown | Op::Replace => {
                kind(41);
                to.bool(*self == Op::Shutdown);
            }
        }
    }
}

impl Spawn {
    fn write(&self, source: Preemption, to: &mut Bytes) {
        let work = Work::ALL.iter().position(|work| *work == self.work);
        let work = work.expect("they are all");
        to.int_in_range(work as i64, 0..=Work::ALL.len() as i64 - 1);
        to.int_in_range(self.n, 0..=400);
        let has_limits = self.limits != Limits::default();
        let flags = [
            self.slice.is_some(),
            self.detached,
            self.hook.is_some(),
            self.grouped,
            self.weight != 1,
            self.priority != 0,
            self.deadline.is_some(),
            has_limits,
        ];
        let flags = flags
            .iter()
            .rev()
            .fold(0, |all, is| all << 1 | u8::from(*is));
        to.ratio(flags != 0, 2);
        if flags != 0 {
            to.u8(flags);
        }
        if let Some(slice) = self.slice {
            to.slice(source, slice);
        }
        match self.hook {
            None => {}
            Some(Hook::KillAnother(thread)) => {
                to.int_in_range(0, 0..=3);
                to.u8(thread as u8);
            }
            Some(Hook::Spawn) => to.int_in_range(1, 0..=3),
            Some(Hook::Count) => to.int_in_range(2, 0..=3),
        }
        if has_limits {
            self.limits.write(to);
        }
    }
}

impl Meddle {
    fn write(&self, to: &mut Bytes) {
        let mut kind = |n: i64| to.int_in_range(n, 0..=5);
        match *self {
            Meddle::Kill(thread) => {
                kind(0);
                to.u8(thread as u8);
            }
            Meddle::PreemptNow(thread) => {
                kind(1);
                to.u8(thread as u8);
            }
            Meddle::IncrementEpoch => kind(2),
            Meddle::Open => kind(3),
            Meddle::Notify(word) => {
                kind(4);
                to.int_in_range(word as i64, 0..=3);
            }
            Meddle::Pause(time) => {
                kind(5);
                to.int_in_range(time.as_micros() as i64, 1..=500);
            }
        }
    }
}

impl Limits {
    /// Of one amount, as `op::limits` chooses.
    fn write(&self, to: &mut Bytes) {
        let all = [
            self.fuel.is_some(),
            self.cpu.is_some(),
            self.wall.is_some(),
            self.soft_fuel.is_some(),
        ];
        to.u8(all.iter().rev().fold(0, |all, is| all << 1 | u8::from(*is)));
        let amounts = [
            self.fuel,
            self.cpu.map(|time| time.as_nanos() as u64 / 50),
            self.wall.map(|time| time.as_nanos() as u64 / 100),
            self.soft_fuel.map(|half| half * 2),
        ];
        let amount = amounts.into_iter().flatten().next().unwrap_or(1);
        to.u16((amount - 1) as u16);
    }
}
