//! Which stacks are in use, and where the others are.
//!
//! ```text
//!               never used (no guard yet)
//!                     |
//!        take         v          take
//!      +--------->  in use  <------------+
//!      |              | put              |
//!      |              v                  |
//!      +-----------  warm --------->   cold
//!                       give_back, put_cold
//! ```
//!
//! A region is one mapping. The stack that was used last is the first to be used again, as its
//! memory is in the caches. Cold stacks, which have given theirs back, are taken from the oldest
//! region that has any, so that others become empty. All but one empty region are unmapped,
//! which frees their page tables: the one left keeps threads that come and go from mapping and
//! unmapping it each time.

use crate::limits;
use crate::mapping::{self, Guards, Mapping};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use wasmtime::{Result, bail};

/// How many stacks a region has at least.
pub(crate) const LEAST: usize = 16;

/// How many bytes the first region has, and the largest ones: each is as large as all before.
const FIRST_BYTES: usize = 64 << 20;
#[cfg(target_pointer_width = "64")]
const MOST_BYTES: usize = 4 << 30;
#[cfg(not(target_pointer_width = "64"))]
const MOST_BYTES: usize = 64 << 20;

/// How many stacks get their guards together.
const GUARDED_AT_ONCE: usize = 64;

/// A stack: its region, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    region: u32,
    stack: u32,
}

struct Region {
    mapping: Mapping,
    stacks: usize,
    /// How many were ever used, from the lowest on.
    begun: usize,
    /// How many have guards.
    guarded: usize,
    cold: Vec<u32>,
}

/// The stacks of a slab.
pub(crate) struct Regions {
    stride: usize,
    guard_size: usize,
    guards: Guards,
    /// By number. The numbers of unmapped ones are used again.
    regions: Vec<Option<Region>>,
    /// Those with stacks that are cold or were never used.
    roomy: BTreeSet<u32>,
    /// The one that has only such.
    empty: Option<u32>,
    /// The stack used last is at the back.
    warm: VecDeque<Slot>,
    in_use: usize,
    mapped: usize,
}

/// Stacks on their way from warm to cold.
pub(crate) struct Cooled {
    slots: Vec<Slot>,
    ranges: Vec<Range<usize>>,
}

impl Cooled {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn give_back(&self) {
        mapping::give_back(&self.ranges);
    }
}

impl Region {
    fn is_full(&self) -> bool {
        self.begun == self.stacks && self.cold.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.begun == self.cold.len()
    }
}

impl Regions {
    pub(crate) fn new(stride: usize, guard_size: usize, guards: Guards) -> Regions {
        Regions {
            stride,
            guard_size,
            guards,
            regions: Vec::new(),
            roomy: BTreeSet::new(),
            empty: None,
            warm: VecDeque::new(),
            in_use: 0,
            mapped: 0,
        }
    }

    pub(crate) fn guards(&self) -> Guards {
        self.guards
    }

    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }

    pub(crate) fn warm(&self) -> usize {
        self.warm.len()
    }

    pub(crate) fn mapped(&self) -> usize {
        self.mapped
    }

    /// Takes a free stack. Returns its lowest address above the guard, and whether it is warm:
    /// others are zeros.
    ///
    /// # Errors
    ///
    /// If there is none, and the system does not give another one.
    pub(crate) fn take(&mut self) -> Result<(Slot, usize, bool)> {
        let (slot, warm) = match self.warm.pop_back() {
            Some(slot) => (slot, true),
            None => (self.take_cold()?, false),
        };
        let Some(range) = self.range(slot) else {
            bail!("{slot:?} of a slab of stacks is not mapped");
        };
        self.in_use += 1;
        Ok((slot, range.start, warm))
    }

    fn take_cold(&mut self) -> Result<Slot> {
        let number = match self.roomy.first() {
            Some(number) => *number,
            None => self.add_region()?,
        };
        let in_use = self.in_use;
        let Some(Some(region)) = self.regions.get_mut(number as usize) else {
            bail!("region {number} of a slab of stacks is not mapped");
        };
        let stack = match region.cold.pop() {
            Some(stack) => stack,
            None => {
                if region.begun == region.guarded {
                    let end = region.stacks.min(region.guarded + GUARDED_AT_ONCE);
                    let guard = |stack| {
                        let start = region.mapping.start() + stack * self.stride;
                        start..start + self.guard_size
                    };
                    let guards: Vec<_> = (region.guarded..end).map(guard).collect();
                    if let Err(error) = region.mapping.guard(self.guards, &guards) {
                        return Err(limits::refused(&error, "guard", in_use, self.stride));
                    }
                    region.guarded = end;
                }
                region.begun += 1;
                u32::try_from(region.begun - 1)?
            }
        };
        if region.is_full() {
            self.roomy.remove(&number);
        }
        if self.empty == Some(number) {
            self.empty = None;
        }
        Ok(Slot {
            region: number,
            stack,
        })
    }

    fn add_region(&mut self) -> Result<u32> {
        let bytes = self.mapped.clamp(FIRST_BYTES, MOST_BYTES);
        let mut stacks = (bytes / self.stride).max(LEAST);
        let mapping = loop {
            match Mapping::new(stacks * self.stride) {
                Ok(mapping) => break mapping,
                // Perhaps there is room for less.
                Err(_) if stacks > LEAST => stacks = (stacks / 2).max(LEAST),
                Err(error) => {
                    return Err(limits::refused(&error, "map", self.in_use, self.stride));
                }
            }
        };
        let unused = self.regions.iter().position(Option::is_none);
        let number = unused.unwrap_or(self.regions.len());
        self.mapped += mapping.len();
        let region = Region {
            mapping,
            stacks,
            begun: 0,
            guarded: 0,
            cold: Vec::new(),
        };
        match unused {
            Some(number) => self.regions[number] = Some(region),
            None => self.regions.push(Some(region)),
        }
        let number = u32::try_from(number)?;
        self.roomy.insert(number);
        Ok(number)
    }

    /// A stack in use is free, and warm.
    pub(crate) fn put(&mut self, slot: Slot) {
        self.in_use -= 1;
        self.warm.push_back(slot);
    }

    /// Takes up to `most` of the warm stacks that were used least recently.
    pub(crate) fn take_oldest(&mut self, most: usize) -> Cooled {
        let count = most.min(self.warm.len());
        let slots: Vec<Slot> = self.warm.drain(..count).collect();
        let ranges = slots.iter().filter_map(|slot| self.range(*slot)).collect();
        Cooled { slots, ranges }
    }

    /// They are cold. Returns regions to be dropped.
    pub(crate) fn put_cold(&mut self, cooled: Cooled) -> Vec<Mapping> {
        let mut unmapped = Vec::new();
        for slot in cooled.slots {
            let Some(Some(region)) = self.regions.get_mut(slot.region as usize) else {
                continue;
            };
            if region.is_full() {
                self.roomy.insert(slot.region);
            }
            region.cold.push(slot.stack);
            if region.is_empty()
                && let Some(other) = self.empty.replace(slot.region)
            {
                unmapped.extend(self.remove(other));
            }
        }
        unmapped
    }

    /// Takes the empty region, to be dropped.
    pub(crate) fn take_spare(&mut self) -> Option<Mapping> {
        let empty = self.empty.take()?;
        self.remove(empty)
    }

    fn remove(&mut self, number: u32) -> Option<Mapping> {
        let region = self.regions.get_mut(number as usize)?.take()?;
        self.roomy.remove(&number);
        self.mapped -= region.mapping.len();
        Some(region.mapping)
    }

    /// Its addresses, without the guard.
    fn range(&self, slot: Slot) -> Option<Range<usize>> {
        let region = self.regions.get(slot.region as usize)?.as_ref()?;
        let start = region.mapping.start() + slot.stack as usize * self.stride;
        Some(start + self.guard_size..start + self.stride)
    }
}
