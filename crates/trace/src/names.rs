//! What threads are called.

use std::collections::HashMap;
use wasmtime::{ThreadId, Trace, Traced};

/// The names in a trace. Of two for one thread the later counts.
pub struct Names<'a>(HashMap<ThreadId, &'a str>);

impl<'a> Names<'a> {
    pub fn of(trace: &'a Trace) -> Self {
        let names = trace.names.iter();
        Names(names.map(|(id, name)| (*id, name.as_str())).collect())
    }

    /// The name that `thread` was given, unless it is empty.
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

/// The word for an event, as in the text format.
///
/// `None` for one of a later version of Wasmtime.
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

/// [`word`] for people to read.
pub fn shown(what: Traced) -> &'static str {
    word(what).unwrap_or("unknown event")
}

/// Whether a thread is finished by this event.
pub fn finishes(what: Traced) -> bool {
    matches!(
        what,
        Traced::Returned | Traced::Trapped | Traced::Killed | Traced::OverLimit
    )
}
