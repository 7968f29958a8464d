//! Bare fibers on the stacks of a slab: what a switch costs without a scheduler.

use crate::{guest, os};
use preempt_stacks::StackSlab;
use std::ops::Range;
use wasmtime::{Result, StackCreator, StackMemory, ensure};
use wasmtime_internal_fiber::{Fiber, FiberStack, RuntimeFiberStack};

#[expect(
    clippy::vec_box,
    reason = "each by itself in memory, as a store has them"
)]
pub struct Fibers(Vec<Box<Fiber<'static, bool, (), ()>>>);

/// A stack of a slab, as fibers know stacks.
struct Stack(Box<dyn StackMemory>);

// SAFETY: I27. It is what a slab promises to Wasmtime.
unsafe impl RuntimeFiberStack for Stack {
    fn top(&self) -> *mut u8 {
        self.0.top()
    }

    fn range(&self) -> Range<usize> {
        self.0.range()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.0.guard_range()
    }
}

impl Fibers {
    pub fn new(fibers: u32) -> Result<Fibers> {
        let slab = StackSlab::new(guest::SLAB_STACK)?;
        let mut all = Vec::new();
        for _ in 0..fibers {
            let stack = Stack(slab.new_stack(guest::SLAB_STACK, false)?);
            let stack = FiberStack::from_custom(Box::new(stack))?;
            let fiber = Fiber::new(stack, |mut again, suspend| {
                while again {
                    again = suspend.suspend(());
                }
            });
            all.push(Box::new(fiber.map_err(|(error, _)| error)?));
        }
        Ok(Fibers(all))
    }

    /// Nanoseconds to resume one and to have it suspend, all of them in turn, `rounds` times.
    pub fn switch(&mut self, rounds: u32) -> Result<f64> {
        self.round()?;
        let (took, ()) = os::timed(|| (0..rounds).try_for_each(|_| self.round()))?;
        Ok(took.as_nanos() as f64 / f64::from(rounds) / self.0.len() as f64)
    }

    fn round(&mut self) -> Result<()> {
        for fiber in &self.0 {
            ensure!(fiber.resume(true).is_err(), "a fiber has ended early");
        }
        Ok(())
    }
}

impl Drop for Fibers {
    fn drop(&mut self) {
        for fiber in &self.0 {
            let _ = fiber.resume(false);
        }
    }
}
