//! What an epoch callback may not do while its guest is stopped at an arbitrary instruction.
//!
//! I23: compiled code may have in a register what it has just read from the store: the address of
//! a table, a memory or the collector's heap, or a reference that nothing counts yet. The
//! callback has the store. So from when a deadline is found reached until the guest goes on, the
//! store refuses, with an error, all that could move or free such things:
//!
//! | what | why |
//! |---|---|
//! | calling Wasm | it could do any of the following |
//! | growing a memory or a table | its address may be in a register |
//! | collecting, and allocating, which may collect or grow the heap | there is no map of the stopped frame's references |
//! | entering a component, dropping its resources, looking at its current task | the code between two components changes these in several steps |
//! | setting a field or an element of an object, writing a reference to a table or a global, copying elements of tables | a reference that is overwritten may be in a register, and nowhere else |
//!
//! Call hooks, which are called around what happens at the deadline, are as limited. Reading a
//! reference counts it in the reference counting collector, whose code counts in several steps,
//! and which leaves half-made objects where a guest is ended: engines with that collector do
//! not deliver epochs by signals.
//!
//! It makes no difference where the guest is stopped: entry and return from the host are treated
//! alike, so that what a callback may do does not depend on the moment.

use super::delivery::Delivery;
use crate::prelude::*;
use crate::store::StoreOpaque;

/// A deadline is being handled until this is dropped.
pub(super) struct Seal<'a> {
    delivery: &'a Delivery,
    was_sealed: bool,
}

impl<'a> Seal<'a> {
    pub(super) fn new(delivery: &'a Delivery) -> Seal<'a> {
        let was_sealed = delivery.sealed.replace(true);
        Seal {
            delivery,
            was_sealed,
        }
    }
}

impl Drop for Seal<'_> {
    fn drop(&mut self) {
        self.delivery.sealed.set(self.was_sealed);
    }
}

impl StoreOpaque {
    /// A fiber is resumed, or suspended. Returns whether the store was sealed before.
    ///
    /// A guest that is suspended while it is stopped does not go on while anybody else has the
    /// store: it has it, or its future was leaked.
    #[inline]
    pub(crate) fn replace_sealed(&self, sealed: bool) -> bool {
        match self.delivery() {
            Some(delivery) => delivery.sealed.replace(sealed),
            None => false,
        }
    }

    /// # Errors
    ///
    /// If the store's guest may be stopped at an instruction where doing `what` is not safe.
    #[inline]
    pub(crate) fn ensure_unsealed(&self, what: &str) -> Result<()> {
        match self.delivery() {
            Some(delivery) if delivery.sealed.get() => refuse(what),
            _ => Ok(()),
        }
    }
}

#[cold]
fn refuse(what: &str) -> Result<()> {
    bail!(
        "cannot {what} in an epoch deadline callback or a call hook there: with \
         `EpochDelivery::Signal` the guest is stopped between any two instructions; do it after \
         the call, or use `EpochDelivery::Check`"
    )
}
