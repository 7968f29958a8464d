//! What guest threads cost, and what the same thing costs elsewhere.
//!
//! ```text
//!  benches/dispatch, spawn     criterion, one figure per subject
//!  benches/memory, unthreaded, host_calls, waiting, epochs, references, components, summary
//!                              tables with ratios and aims: summary.rs
//!  benches/scale               cost against the number of threads: scale.rs
//!  benches/signal              switches and slices: signal.rs
//!  benches/tenants, many_cores rates and shares; many OS threads beside one
//!  benches/delays              how late preemptions are: delays.rs
//!  src/bin/paper               `cargo xtask paper`: paper.rs
//!        |
//!  dispatch.rs spawn.rs waiting.rs latency.rs host_calls.rs epochs.rs references.rs components.rs
//!                              subjects of this process         paired.rs  in turns
//!  memory.rs scale.rs beside_stock.rs   subjects that are processes
//!  overhead.rs                 workloads, interrupted or not
//!        |
//!  report.rs  a row            table.rs  Markdown               chart.rs lines.rs  SVG
//!
//!  src/bin/*, stock/           served.rs, fibers.rs, unthreaded.rs, workloads.rs and
//!                              overhead/server.rs are compiled into both builds
//! ```
//!
//! A figure of one machine at one hour says little, so what is compared is
//! ratios: the two sides run in turns, a few milliseconds each, and the ratio is
//! the median over such pairs.

pub mod beside_stock;
pub mod chart;
pub mod cli;
pub mod components;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub mod delays;
pub mod dispatch;
pub mod distribution;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod epochs;
pub mod fibers;
pub mod guest;
pub mod host_calls;
pub mod latency;
pub mod lines;
pub mod many_cores;
pub mod memory;
pub mod os;
pub mod overhead;
pub mod paired;
pub mod paper;
pub mod piped;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod references;
pub mod report;
pub mod scale;
pub mod served;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub mod signal;
pub mod spawn;
pub mod summary;
pub mod table;
pub mod tenants;
pub mod waiting;
pub mod workloads;
