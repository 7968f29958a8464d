//! Storage that moves or is freed while threads are stopped: tables and memories that grow, and
//! element segments that are dropped.
//!
//! ```text
//!   a thread, stopped by a signal:    size = table.size; base = table.base; ^ load base[i]
//!   meanwhile, someone else:          table.grow: the elements move, the size changes
//! ```
//!
//! Stock Wasmtime frees the old storage. Here (I4)
//!
//! * that of a table or an element segment stays while any thread is unfinished, even if that is
//!   the one that runs: it may be in a call hook, between its interruption and its suspension.
//!   What is kept is freed when the table grows later, or with the instance. `Table::grow`
//!   refuses, as a store to the old storage would be lost.
//! * a memory is not moved while another thread may be stopped that can reach it: what cannot be
//!   grown in place is not grown. A memory of gigabytes cannot be kept twice. Under fuel and
//!   epochs, that is a thread that is in the midst of passing a string to another component.
//!
//! Under the sharing rule, the only thread that can reach a table or a memory is the one that
//! grows it, in a libcall. So all of this is for host functions that call a sibling's guest, for
//! the embedder between two runs, and for threads that may share.
//!
//! Rejected: reserving address space for each table's maximum, as for memories. Most tables have
//! no maximum, or grow never, and there can be one in each of a hundred thousand instances.

use super::slice::Preemption;
use crate::Table;
use crate::prelude::*;
use crate::store::{InstanceId, StoreOpaque};
use wasmtime_environ::{DefinedMemoryIndex, MemoryKind, MemoryTunables};

impl StoreOpaque {
    /// Whether guest threads may have been stopped in the middle of an operation on a table, a
    /// memory or an element segment.
    pub(crate) fn guests_may_be_in_mid_operation(&self) -> bool {
        self.engine().config().preemption == Some(Preemption::Signal)
            && self.preempt().is_some_and(|threads| threads.anyone_live())
    }

    /// Makes sure that no other guest thread is stopped in the middle of an operation on `table`.
    ///
    /// # Errors
    ///
    /// If one may be. Names it.
    pub(crate) fn ensure_table_is_at_rest(&self, table: &Table) -> Result<()> {
        if !self.guests_may_be_in_mid_operation() {
            return Ok(());
        }
        let definition = table.vmimport(self).from.as_non_null();
        self.ensure_is_at_rest("table", definition.addr().get())
    }

    /// Makes sure that no other guest thread is stopped with the address of this memory in a
    /// register, if it can move at all.
    ///
    /// # Errors
    ///
    /// If one may be. Names it.
    pub(crate) fn ensure_memory_is_at_rest(
        &self,
        instance: InstanceId,
        memory: DefinedMemoryIndex,
    ) -> Result<()> {
        let anywhere = self.guests_may_be_in_mid_operation();
        #[cfg(feature = "component-model")]
        let between_pieces = super::components::anyone_between_pieces(self);
        #[cfg(not(feature = "component-model"))]
        let between_pieces = false;
        if !anywhere && !between_pieces {
            return Ok(());
        }
        let instance = self.instance(instance);
        let module = instance.env_module();
        let tunables = MemoryTunables::new(self.engine().tunables(), MemoryKind::LinearMemory);
        if !module.memories[module.memory_index(memory)].memory_may_move(&tunables) {
            return Ok(());
        }
        let definition = instance.get_defined_memory_vmimport(memory).from;
        let definition = definition.as_non_null().addr().get();
        match anywhere {
            true => self.ensure_is_at_rest("memory", definition),
            false => refuse("memory", self.component_that_may_be_stopped(definition)),
        }
    }

    fn ensure_is_at_rest(&self, what: &str, definition: usize) -> Result<()> {
        let user = self.other_user_of(definition);
        let user = user.or_else(|| self.component_that_may_be_stopped(definition));
        refuse(what, user)
    }

    /// Of components it is not known what they use. They share nothing with core threads, whose
    /// definitions are known.
    fn component_that_may_be_stopped(&self, definition: usize) -> Option<String> {
        #[cfg(feature = "component-model")]
        if !self.is_of_core_thread(definition) {
            return super::components::stopped_call(self);
        }
        let _ = definition;
        None
    }
}

fn refuse(what: &str, user: Option<String>) -> Result<()> {
    match user {
        None => Ok(()),
        Some(user) => bail!(
            "cannot move the {what}: {user}, which has not finished, may have been stopped in the \
             middle of an operation on it. Grow it in a host function that this thread calls, \
             before the thread is spawned, or after its end"
        ),
    }
}
