//! What guest threads cost, and what the same thing costs elsewhere.
//!
//! ```text
//!  benches/dispatch, spawn     criterion, one figure per subject
//!  benches/memory, unthreaded  figures of the binaries in src/bin
//!  benches/summary             all of these: ratios, aims, Markdown, JSON
//!  benches/waiting             a table too: parking, atomics, executors, latency
//!        |
//!  dispatch.rs spawn.rs        subjects of this process      paired.rs  in turns
//!  waiting.rs latency.rs
//!  memory.rs beside_stock.rs   subjects that are processes   report.rs  the table
//!        |
//!  src/bin/*, stock/           unthreaded.rs, paper/server.rs and workloads.rs are
//!                              compiled into both builds
//! ```
//!
//! `cargo xtask paper` is by itself: paper.rs.
//!
//! A figure of one machine at one hour says little, so what is compared is
//! ratios: the two sides run in turns, a few milliseconds each, and the ratio is
//! the median over such pairs.

pub mod beside_stock;
pub mod cli;
pub mod dispatch;
pub mod guest;
pub mod host_calls;
pub mod latency;
pub mod memory;
pub mod os;
pub mod paired;
pub mod paper;
pub mod piped;
pub mod report;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub mod signal;
pub mod spawn;
pub mod summary;
pub mod waiting;
pub mod workloads;
