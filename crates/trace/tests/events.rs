//! Every event of a trace is one of `tracing`, in order and with its fields.

use preempt_trace::{events, text};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down what it is told.
#[derive(Default, Clone)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.target(), metadata.level()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn events_are_told_in_order_with_their_fields() {
    let trace = text::parse(
        "preempt-trace 1\nclock fuel\nlost 0\nevents 4\nname 7 \"reader\"\n\
         0 7 spawned\n5 0 run-started\n5 7 dispatched 100\n90 7 trapped\n",
    )
    .unwrap();
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || events::emit(&trace));
    let lines = log.0.lock().unwrap().clone();
    let expected = [
        "preempt TRACE message=spawned at=0 thread=7 name=\"reader\"",
        "preempt TRACE message=run-started at=5 thread=0",
        "preempt TRACE message=dispatched at=5 thread=7 name=\"reader\" slice=100",
        "preempt DEBUG message=trapped at=90 thread=7 name=\"reader\"",
    ];
    assert_eq!(lines, expected);
}
