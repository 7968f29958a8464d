//! The line of the report for a guest.

use crate::outcome::Outcome;
use crate::times;
use serde::Serialize;
use std::time::Duration;

/// One of a guest's threads.
#[derive(Clone, Serialize)]
pub struct Which {
    pub thread: u64,
    /// The guest's name, with a number for all but its first thread.
    pub name: String,
}

/// A thread that has not ended.
#[derive(Serialize)]
pub struct Other {
    #[serde(flatten)]
    pub thread: Which,
    pub waits_for: Option<String>,
}

/// One line of the table.
#[derive(Serialize)]
pub struct Thread {
    pub thread: u64,
    pub guest: String,
    /// How many threads it has had, for a guest that can start threads.
    pub threads: Option<u64>,
    /// Which of them ended it.
    pub ended_by: Option<Which>,
    /// The stopped threads other than its first one.
    #[serde(rename = "other_threads")]
    pub others: Vec<Other>,
    /// What its first thread was waiting for when it was stopped.
    pub waits_for: Option<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(rename = "cpu_time_ms", serialize_with = "times::serialize")]
    pub cpu_time: Duration,
    /// How many times its threads were given the CPU.
    pub slices: u64,
    /// How many times the CPU was taken from them.
    pub preemptions: u64,
    /// How many times they had to wait for more CPU time; only if some guest had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttles: Option<u64>,
    /// Its share of the CPU time of all threads, from 0 to 1.
    pub share: f64,
    /// The fuel it consumed; counted only under `--preemption fuel` or with a limit.
    pub fuel: Option<u64>,
    /// Its share of the CPU time in each step of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interleaving: Option<Vec<f64>>,
}
