//! Bytes that make [`Unstructured`](arbitrary::Unstructured) choose what is wanted. Seeds are
//! written with them: each method here is the inverse of the one of the same name there.

use crate::source;
use std::ops::RangeInclusive;
use wasmtime::preempt::{Preemption, Slice};

#[derive(Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Those after the first `len`.
    pub fn since(&self, len: usize) -> &[u8] {
        &self.0[len..]
    }

    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }

    pub fn int_in_range(&mut self, value: impl Into<i64>, range: RangeInclusive<i64>) {
        let value = value.into();
        assert!(range.contains(&value), "{value} is not in {range:?}");
        let (offset, most) = (value - range.start(), range.end() - range.start());
        let bytes = (i64::BITS - most.leading_zeros()).div_ceil(8) as usize;
        self.0.extend(&offset.to_be_bytes()[8 - bytes..]);
    }

    /// Of one in `denominator`.
    pub fn ratio(&mut self, is: bool, denominator: i64) {
        self.int_in_range(if is { 1 } else { 2 }, 1..=denominator);
    }

    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    /// As `source::source` chooses.
    pub fn source(&mut self, source: Preemption) {
        let choice = match source {
            Preemption::Epoch => 4,
            Preemption::Signal => 5,
            _ => 0,
        };
        self.int_in_range(choice, 0..=5);
    }

    /// As `source::slice` chooses.
    pub fn slice(&mut self, source: Preemption, slice: Slice) {
        match slice {
            Slice::Fuel(units @ 1..=64) => self.u16(units as u16 - 1),
            // A multiple of its 5,000 to begin with.
            Slice::Fuel(units @ 1..=5_000) => self.u16(35_000 + units as u16 - 1),
            Slice::Time(time) => self.u16((time - source::shortest(source)).as_nanos() as u16),
            slice => panic!("it never chooses {slice:?}"),
        }
    }
}
