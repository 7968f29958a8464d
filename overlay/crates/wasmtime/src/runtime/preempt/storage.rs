//! Storage that moves or is freed while threads are stopped: tables that grow, and element
//! segments that are dropped.
//!
//! ```text
//!   a thread, stopped by a signal:    bound = table.size; base = table.base; ^ load base[i]
//!   meanwhile, someone else:          table.grow: the elements move, the size changes
//! ```
//!
//! Stock Wasmtime frees the old storage. Here it stays while any thread is unfinished (I4), even
//! if that is the one that runs: it may be in a call hook, between its interruption and its
//! suspension. What is kept is freed when the table grows later, or with the instance.
//! `Table::grow` refuses, as a store to the old storage would be lost.
//!
//! Rejected: reserving address space for each table's maximum, as for memories. Most tables have
//! no maximum, or grow never, and there can be one in each of a hundred thousand instances.

use super::slice::Preemption;
use crate::Table;
use crate::prelude::*;
use crate::store::StoreOpaque;

impl StoreOpaque {
    /// Whether guest threads may have been stopped in the middle of an operation on a table or on
    /// an element segment.
    pub(crate) fn guests_may_be_in_mid_operation(&self) -> bool {
        self.engine().config().preemption == Some(Preemption::Signal)
            && self.preempt().is_some_and(|threads| threads.anyone_live())
    }

    /// Makes sure that no guest thread other than the running one is stopped in the middle of an
    /// operation on `table`.
    ///
    /// # Errors
    ///
    /// If one may be. Names it.
    pub(crate) fn ensure_table_is_at_rest(&self, table: &Table) -> Result<()> {
        if !self.guests_may_be_in_mid_operation() {
            return Ok(());
        }
        let definition = table.vmimport(self).from.as_non_null().addr().get();
        match self.other_user_of(definition) {
            None => Ok(()),
            Some(user) => bail!(
                "cannot grow the table: {user}, which has not finished, may have been stopped in \
                 the middle of an operation on it. Grow it in a host function that this thread \
                 calls, before the thread is spawned, after its end, or use `Preemption::Epoch`"
            ),
        }
    }
}
