//! Traces as events of the `tracing` crate.

use crate::names::{Names, shown};
use tracing::{Level, event};
use wasmtime::preempt::{Trace, Traced};

/// Emits every event of `trace`, oldest first, at the level `TRACE`, with the target
/// `preempt`. The message is what happened. The fields are `at` and `slice` (in
/// ticks), `thread`, and `name` if the thread has one. A thread's end other than by
/// returning is at the level `DEBUG`.
///
/// Events are emitted when this is called, not when they happened: `at` tells that. A
/// subscriber inside the dispatch loop would take longer than the events it reports.
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
