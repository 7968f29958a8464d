//! A request on its way to a thread.

use super::answer::{Cancel, Reply};
use std::time::Instant;
use wasmtime_wasi_http::WasiBody;

pub struct Job {
    pub request: http::Request<WasiBody>,
    /// What it is called where people read about it: `7 (GET /)`.
    pub name: String,
    /// The group of threads that it belongs to.
    pub group: u64,
    pub arrived: Instant,
    pub reply: Reply,
    pub cancel: Cancel,
}
