//! A trace as events of the crate `tracing`.

use crate::names::{Names, shown};
use tracing::{Level, event};
use wasmtime::{Trace, Traced};

/// Emits every event of `trace`, oldest first, at the level `TRACE`, with the target
/// `preempt`: what happened as the message, and the fields `at` and `slice` (in
/// ticks), `thread`, and `name` where the thread has one. Ends of threads other than by
/// returning are at the level `DEBUG`.
///
/// These are emitted when this is called, and not when they happened: that is `at`. A
/// subscriber in the dispatch loop would take longer than what it is told of.
pub fn emit(trace: &Trace) {
    let names = Names::of(trace);
    for traced in &trace.events {
        let (at, thread) = (traced.at, traced.thread.as_u64());
        let name = names.given(traced.thread);
        let slice = match traced.what {
            Traced::Dispatched { slice } => Some(slice),
            _ => None,
        };
        let what = shown(traced.what);
        match traced.what {
            Traced::Trapped | Traced::Killed | Traced::OverLimit => {
                event!(target: "preempt", Level::DEBUG, at, thread, name, "{what}");
            }
            _ => event!(target: "preempt", Level::TRACE, at, thread, name, slice, "{what}"),
        }
    }
}
