//! Stacks that count themselves.

use super::{Counted, Counter, config};
use rustix::mm;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use wasmtime::*;

/// Makes the stacks of an engine, and knows how many there are.
#[derive(Clone, Default)]
pub struct CountedStacks(Counter);

impl CountedStacks {
    /// How many stacks there are now.
    pub fn live(&self) -> usize {
        self.0.live()
    }

    /// How many there ever were.
    pub fn made(&self) -> usize {
        self.0.made()
    }

    /// An engine which takes its stacks from here.
    pub fn engine(&self, preemption: Preemption) -> Engine {
        let mut config = config(preemption);
        config.with_host_stack(Arc::new(self.clone()));
        Engine::new(&config).unwrap()
    }
}

// SAFETY: the stacks are mappings of their own, page-aligned, with a page below
// them that cannot be accessed, and stay until the `CountedStack` is dropped.
unsafe impl StackCreator for CountedStacks {
    fn new_stack(&self, size: usize, _zeroed: bool) -> Result<Box<dyn StackMemory>> {
        const PAGE: usize = 4096;
        let size = size.next_multiple_of(PAGE);
        let prot = mm::ProtFlags::READ | mm::ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the system's choice, whose
        // first page is then made inaccessible.
        let base = unsafe {
            let base =
                mm::mmap_anonymous(ptr::null_mut(), PAGE + size, prot, mm::MapFlags::PRIVATE)?;
            mm::mprotect(base, PAGE, mm::MprotectFlags::empty())?;
            base.cast::<u8>()
        };
        Ok(Box::new(CountedStack {
            base: base as usize,
            guard: PAGE,
            size,
            _counted: self.0.counted(),
        }))
    }
}

struct CountedStack {
    base: usize,
    guard: usize,
    size: usize,
    _counted: Counted,
}

// SAFETY: see `CountedStacks`.
unsafe impl StackMemory for CountedStack {
    fn top(&self) -> *mut u8 {
        (self.base + self.guard + self.size) as *mut u8
    }

    fn range(&self) -> Range<usize> {
        self.base + self.guard..self.base + self.guard + self.size
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.base as *mut u8..(self.base + self.guard) as *mut u8
    }
}

impl Drop for CountedStack {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new_stack`, and is not used any more.
        unsafe { mm::munmap(self.base as *mut _, self.guard + self.size) }.unwrap();
    }
}
