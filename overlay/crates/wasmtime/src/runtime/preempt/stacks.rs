//! Stacks of finished threads, kept for new ones.
//!
//! A store keeps the last stack it used. That is enough for calls, which happen one at a time.
//! But many threads may finish before the next are spawned, and with the on-demand allocator
//! each stack is a mapping of its own: system calls and page faults take ten times as long as
//! all the rest of a short thread. The pooling allocator keeps its stacks itself.

use super::mappings;
use crate::InstanceAllocationStrategy;
use crate::prelude::*;
use crate::store::StoreOpaque;
use wasmtime_fiber::FiberStack;

/// How many stacks a store keeps unless `WasmThreads::set_max_idle_stacks` says otherwise.
const DEFAULT_MAX: usize = 64;

pub(super) const NO_STACK: &str = "cannot allocate a stack for a guest thread; fewer \
     threads, a smaller `Config::async_stack_size` (and `Config::max_wasm_stack`) or, with \
     the pooling allocator, a larger `total_stacks` would help";

pub(super) struct IdleStacks {
    stacks: Vec<FiberStack>,
    max: usize,
}

impl Default for IdleStacks {
    fn default() -> IdleStacks {
        IdleStacks {
            stacks: Vec::new(),
            max: DEFAULT_MAX,
        }
    }
}

impl StoreOpaque {
    /// Provides a stack for a thread that is about to be made.
    pub(super) fn offer_idle_stack(&mut self) {
        if self.fiber_async_state_mut().last_fiber_stack().is_none()
            && let Some(threads) = self.preempt_mut()
            && let Some(stack) = threads.idle_stacks.stacks.pop()
        {
            *self.fiber_async_state_mut().last_fiber_stack() = Some(stack);
        }
    }

    /// # Errors
    ///
    /// If a new stack is needed and the process cannot afford one.
    pub(super) fn ensure_mappings(&mut self) -> Result<()> {
        if let InstanceAllocationStrategy::OnDemand = self.engine().config().allocation_strategy
            && self.fiber_async_state_mut().last_fiber_stack().is_none()
        {
            mappings::ensure_room()?;
        }
        Ok(())
    }

    /// Like [`StoreOpaque::offer_idle_stack`], but makes a stack if none is idle: for operations
    /// that cannot be undone if one is missing later.
    pub(super) fn ensure_stack(&mut self) -> Result<()> {
        self.offer_idle_stack();
        if self.fiber_async_state_mut().last_fiber_stack().is_none() {
            self.ensure_mappings()?;
            let stack = self.allocate_fiber_stack().context(NO_STACK)?;
            *self.fiber_async_state_mut().last_fiber_stack() = Some(stack);
        }
        Ok(())
    }

    /// A thread has finished and its stack is the store's last. The next to finish would replace
    /// it.
    pub(super) fn keep_idle_stack(&mut self) {
        if let InstanceAllocationStrategy::OnDemand = self.engine().config().allocation_strategy
            && let Some(threads) = self.preempt()
            && threads.anyone_live()
            && threads.idle_stacks.stacks.len() < threads.idle_stacks.max
            && let Some(stack) = self.fiber_async_state_mut().last_fiber_stack().take()
            && let Some(threads) = self.preempt_mut()
        {
            threads.idle_stacks.stacks.push(stack);
        }
    }

    /// Keeps at most `max` idle stacks from now on.
    pub(super) fn keep_idle_stacks(&mut self, max: usize) -> Result<()> {
        self.preemptive_threads()?.idle_stacks.max = max;
        self.drop_idle_stacks(max);
        Ok(())
    }

    /// Frees all but `max` idle stacks.
    pub(super) fn drop_idle_stacks(&mut self, max: usize) {
        while let Some(threads) = self.preempt_mut()
            && threads.idle_stacks.stacks.len() > max
            && let Some(stack) = threads.idle_stacks.stacks.pop()
        {
            self.deallocate_fiber_stack(stack);
        }
    }
}
