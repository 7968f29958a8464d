//! Scheduling policies for the guest threads of a Wasmtime `Store`: they choose which
//! runnable thread comes next, and for how long.
//!
//! | policy | promise | cost, `n` live threads |
//! |---|---|---|
//! | [`RoundRobin`] | every runnable thread in turn | O(1) |
//! | [`WeightedFair`] | shares by weight, of threads and of groups, within about a slice | O(log n) |
//! | [`Priority`] | the highest priority runs; others wait for a bounded time | O(log n) |
//! | [`EarliestDeadlineFirst`] | meets all deadlines, if any order of execution does | O(log n) |
//! | [`YoungFirst`] | new threads first, up to half of the time; then another policy | O(log n), and the other's |
//! | [`Random`] | a random thread for a random slice, the same for the same seed | O(1) |
//! | [`Pct`] | finds races of a given depth with a known probability | O(log n) |
//! | [`Recorder`] | picks like another policy, and records the picks | of that policy |
//! | [`Replay`] | repeats recorded picks | O(1) |
//!
//! Costs hold for every operation. They are amortized where collections grow or
//! shrink, and expected where a hash map is used, which is to find a thread by its
//! id.
//!
//! All policies
//!
//! - lose no thread and never idle: if a thread is runnable, `next` returns one, and
//!   returns none twice until it is given back;
//! - ignore calls that make no sense, such as those for unknown threads, for a thread
//!   that is spawned twice, or for one that is preempted but not running;
//! - keep nothing about threads that have finished;
//! - decide by integers and in a fixed order: the same calls give the same picks on
//!   every machine.
//!
//! Amounts are in *ticks*: nanoseconds if slices are time, units of fuel if they are
//! fuel.
//!
//! ```
//! use preempt_policies::WeightedFair;
//! use wasmtime::ThreadId;
//! use wasmtime::preempt::{ThreadParams, ThreadScheduler};
//!
//! let mut policy = WeightedFair::new(1_000_000);
//! let (a, b) = (ThreadId::from_u64(1), ThreadId::from_u64(2));
//! let mut heavy = ThreadParams::default();
//! heavy.weight = 3;
//! policy.spawned(0, a, &heavy);
//! policy.spawned(0, b, &ThreadParams::default());
//!
//! let mut dispatches_of_a = 0;
//! for dispatch in 0..400 {
//!     let pick = policy.next(dispatch * 1_000_000).expect("two are runnable");
//!     dispatches_of_a += usize::from(pick.thread == a);
//!     policy.preempted((dispatch + 1) * 1_000_000, pick.thread, 1_000_000);
//! }
//! assert_eq!(dispatches_of_a, 300);
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod deadline;
mod dice;
mod fair;
mod levels;
mod line;
mod pct;
mod priority;
mod random;
mod record;
mod replay;
mod round_robin;
mod schedule;
mod table;
mod tree;
mod young;

pub use deadline::EarliestDeadlineFirst;
pub use fair::WeightedFair;
pub use pct::Pct;
pub use priority::Priority;
pub use random::Random;
pub use record::Recorder;
pub use replay::{Divergence, DivergenceReason, Replay};
pub use round_robin::RoundRobin;
pub use schedule::{ParseScheduleError, Schedule};
pub use young::YoungFirst;
