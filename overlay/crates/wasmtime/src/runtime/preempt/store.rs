//! The guest threads of a store, for the rest of Wasmtime. What it calls a preemption source
//! for is in that source's file.

use super::epoch_delivery::Delivery;
use super::suspend::{self, Taken};
use super::threads::PreemptiveThreads;
use super::time_deadline::state::State as TimeDeadline;
#[cfg(feature = "gc")]
use crate::module::ModuleRegistry;
use crate::prelude::*;
#[cfg(feature = "gc")]
use crate::runtime::vm::{GcRootsList, Unwind};
#[cfg(feature = "gc")]
use crate::store::Asyncness;
use crate::store::StoreOpaque;

/// The guest threads of a store, if it has, or had, any, and what interrupts its other guests.
#[derive(Default)]
pub(crate) struct StoreThreads {
    threads: Option<Box<PreemptiveThreads>>,
    /// What delivers its epochs, if signals do.
    delivery: Option<Box<Delivery>>,
    /// The embedder's epoch deadline, in the embedder's epoch, if it has set one.
    pub(super) epoch_deadline: Option<u64>,
    /// Its deadline in time, if it ever had one.
    pub(super) time_deadline: Option<Box<TimeDeadline>>,
}

impl StoreThreads {
    /// Keeps it, at this address.
    pub(super) fn set_delivery(&mut self, delivery: Box<Delivery>) -> *const Delivery {
        let delivery: &Delivery = self.delivery.insert(delivery);
        delivery
    }

    /// Traces the GC roots on the stacks of suspended threads (rule I3).
    #[cfg(feature = "gc")]
    pub(crate) fn trace_gc_roots(
        &mut self,
        modules: &ModuleRegistry,
        unwind: &dyn Unwind,
        roots: &mut GcRootsList,
    ) {
        for fiber in self
            .threads
            .iter_mut()
            .flat_map(|threads| threads.fibers_mut())
        {
            fiber.trace_gc_roots(modules, unwind, roots);
        }
    }
}

impl StoreOpaque {
    pub(crate) fn preempt(&self) -> Option<&PreemptiveThreads> {
        self.preempt.threads.as_deref()
    }

    pub(crate) fn preempt_mut(&mut self) -> &mut Option<Box<PreemptiveThreads>> {
        &mut self.preempt.threads
    }

    /// Gives a new store fuel if fuel only measures slices: then it has no budget.
    pub(crate) fn inject_fuel_for_slices(&mut self) {
        if self.engine().tunables().consume_fuel && !self.engine().config().fuel_is_requested() {
            self.inject_endless_fuel();
        }
    }

    /// An instance is about to be made, perhaps of a module that is new to the store. The running
    /// thread may call it at once.
    pub(crate) fn new_module_joins_threads(&mut self) {
        if self.running_thread().is_some() {
            self.watch_new_modules();
        }
    }

    /// Whether `with_blocking` can be used right here: if `can_block` says so, or if this is a
    /// guest thread.
    pub(crate) fn can_suspend(&mut self) -> bool {
        suspend::available(self) || self.can_block()
    }

    /// How to collect garbage. A guest thread keeps the store until the collection is over, so
    /// nobody would gain from its yields.
    #[cfg(feature = "gc")]
    pub(crate) fn asyncness_of_gc(&self, asyncness: Asyncness) -> Asyncness {
        match self.running_thread() {
            Some(_) => Asyncness::No,
            None => asyncness,
        }
    }
}

/// Takes the context of a guest thread, which has it elsewhere than in the store.
pub(crate) fn take_blocking_context(store: &mut StoreOpaque) -> Option<Taken> {
    match store.can_block() {
        true => None,
        false => suspend::take(store),
    }
}
