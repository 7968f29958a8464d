//! What happens at a store's deadline in time, for a guest that has called `new_epoch`.

use super::{TimeDeadlineReached, UpdateTimeDeadline};
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use core::pin::pin;

/// Does nothing if the deadline is not reached.
///
/// # Errors
///
/// If the guest is to be ended.
#[inline]
pub(in crate::runtime::preempt) fn handle(store: &mut dyn VMStore) -> Result<()> {
    match &store.preempt.time_deadline {
        None => Ok(()),
        Some(state) if !state.is_reached() => store.put_time_deadline_off(),
        Some(_) => at_deadline(store),
    }
}

#[cold]
fn at_deadline(store: &mut dyn VMStore) -> Result<()> {
    let mut behavior = store.time_state().behavior.take();
    let update = match &mut behavior {
        Some(behavior) => behavior(store),
        None => Ok(UpdateTimeDeadline::Interrupt),
    };
    store.time_state().behavior = behavior;
    match update? {
        UpdateTimeDeadline::Interrupt => match store.time_state().deadline() {
            Some(deadline) => Err(TimeDeadlineReached { deadline }.into()),
            None => Ok(()),
        },
        UpdateTimeDeadline::Continue(deadline) => store.set_time_deadline(Some(deadline)),
        UpdateTimeDeadline::Yield(deadline) => {
            ensure!(
                store.can_block(),
                "cannot use `UpdateTimeDeadline::Yield` without using an async wasm entrypoint"
            );
            // None while it is suspended, so that the next resume is not its end.
            store.set_time_deadline(None)?;
            let yielded = store.with_blocking(|store, cx| cx.block_on(pin!(store.yield_now())));
            store.set_time_deadline(Some(deadline))?;
            yielded
        }
    }
}
