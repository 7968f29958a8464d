//! Reports for tests.

use super::Report;
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::thread::Thread;
use crate::values::Value;
use std::time::Duration;
use wasmtime::preempt::OverLimit;
use wasmtime::{Slice, Val};

fn thread(id: u64, outcome: Outcome) -> Thread {
    Thread {
        thread: id,
        guest: format!("guest{id}.wat:run"),
        threads: None,
        ended_by: None,
        others: Vec::new(),
        waits_for: None,
        outcome,
        cpu_time: Duration::from_micros(1500),
        slices: 4,
        preemptions: 3,
        throttles: None,
        share: 0.25,
        fuel: None,
        interleaving: None,
    }
}

pub fn report(outcomes: Vec<Outcome>) -> Report {
    let threads = outcomes.into_iter().zip(1..);
    Report {
        preemption: "epoch".to_string(),
        slice: Slice::Time(Duration::from_millis(10)),
        policy: "round-robin".to_string(),
        seed: None,
        replayed: None,
        traced: None,
        searched: None,
        end: "time_up",
        elapsed: Duration::from_secs(2),
        cpu_time: Duration::from_millis(6),
        slices: 16,
        preemptions: 12,
        interleaving: None,
        threads: threads.map(|(o, id)| thread(id, o)).collect(),
    }
}

pub fn every_outcome() -> Report {
    let results = [Val::I32(-1), Val::F64(0.5f64.to_bits())];
    report(vec![
        Outcome::Returned(results.iter().map(Value::from).collect()),
        Outcome::Exited(3),
        Outcome::Trapped {
            error: "no more".to_string(),
            backtrace: vec!["inner".to_string(), "outer".to_string()],
        },
        Outcome::Stopped,
        Outcome::OverLimit(Limit(OverLimit::Fuel {
            limit: 1000,
            used: 1003,
            group: false,
        })),
    ])
}
