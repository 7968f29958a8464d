//! What threads are called.

use std::collections::HashMap;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, Traced};

/// The names in a trace. If a thread has two, the later one counts.
pub struct Names<'a>(HashMap<ThreadId, &'a str>);

impl<'a> Names<'a> {
    pub fn of(trace: &'a Trace) -> Self {
        let names = trace.names.iter();
        Names(names.map(|(id, name)| (*id, name.as_str())).collect())
    }

    /// The name given to `thread`, unless it is empty.
    pub fn given(&self, thread: ThreadId) -> Option<&'a str> {
        self.0.get(&thread).copied().filter(|name| !name.is_empty())
    }

    /// A label that tells threads of the same name apart.
    pub fn label(&self, thread: ThreadId) -> String {
        match self.given(thread) {
            Some(name) => format!("{thread} {name}"),
            None => format!("thread {thread}"),
        }
    }
}

/// The word for an event in the text format.
///
/// `None` for an event from a later version of Wasmtime.
pub fn word(what: Traced) -> Option<&'static str> {
    Some(match what {
        Traced::RunStarted => "run-started",
        Traced::RunEnded => "run-ended",
        Traced::Spawned => "spawned",
        Traced::Dispatched { .. } => "dispatched",
        Traced::Preempted => "preempted",
        Traced::Yielded => "yielded",
        Traced::Paused => "paused",
        Traced::Parked => "parked",
        Traced::Woken => "woken",
        Traced::Returned => "returned",
        Traced::Trapped => "trapped",
        Traced::Killed => "killed",
        Traced::OverLimit => "over-limit",
        _ => return None,
    })
}

/// [`word`] for human readers.
pub fn shown(what: Traced) -> &'static str {
    word(what).unwrap_or("unknown event")
}

/// Whether this event finishes a thread.
pub fn finishes(what: Traced) -> bool {
    matches!(
        what,
        Traced::Returned | Traced::Trapped | Traced::Killed | Traced::OverLimit
    )
}
