//! The preemption sources, which end slices. This is all that the run loop knows of them.
//!
//! ```text
//!   begin_run
//!     |
//!     v
//!   begin_slice ---> the thread runs ---> end_slice ---+
//!     ^                |        ^                      |
//!     |                | keeps  | continue_slice       |
//!     |                | the    |                      |
//!     |                | store  |                      |
//!     |                +--------+                      |
//!     +------------------------------------------------+
//!     |
//!     v
//!   end_run
//! ```
//!
//! Fuel may be counted under any source, so per-thread fuel is handled here too.

use super::clock::Moment;
use crate::prelude::*;
use crate::store::StoreOpaque;

pub(super) mod attention;
pub(crate) mod epoch;
pub(crate) mod epoch_timer;
pub(crate) mod fuel;
pub(crate) mod host_call;
mod host_results;
pub(crate) mod host_return;
pub(super) mod interrupt;
pub(super) mod jitter;
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    )),
    path = "source/signal/unsupported.rs"
)]
pub(crate) mod signal;
mod slots;

impl StoreOpaque {
    /// A run begins. It should end or pause at `end`.
    ///
    /// # Errors
    ///
    /// If the OS refuses what the source needs.
    pub(super) fn begin_run(&mut self, end: Option<Moment>) -> Result<()> {
        self.start_fuel(end);
        self.start_epochs(end)?;
        self.start_signals(end)
    }

    /// The run is over, or its future is pending.
    pub(super) fn end_run(&mut self) {
        self.stop_fuel();
        self.stop_epochs();
        self.stop_signals();
    }

    /// The running thread starts its slice. A signal is armed once the thread's dispatch is
    /// current: see `suspend.rs`.
    ///
    /// # Errors
    ///
    /// If the OS refuses to create what ends the slice.
    #[inline(always)]
    pub(super) fn begin_slice(&mut self, now: Moment) -> Result<()> {
        self.resume_fuel();
        self.arm_epoch(now)?;
        self.ensure_signals_come()?;
        self.arm_fuel_clock()
    }

    /// The running thread continues its slice after keeping the store.
    pub(super) fn continue_slice(&mut self, now: Moment) {
        if self.engine().tunables().consume_fuel {
            self.start_attention();
        }
        let armed = self.arm_epoch(now);
        if armed.and_then(|()| self.arm_fuel_clock()).is_err() {
            // Then the thread checks the clock itself.
            self.raise_attention();
        }
    }

    /// The running thread is about to be unwound: it has its fuel but no slice.
    pub(super) fn begin_unwinding(&mut self) {
        self.resume_fuel();
    }

    /// The running thread leaves the CPU. Returns its fuel counter, if its code may have that
    /// in a register.
    #[inline(always)]
    pub(super) fn end_slice(&mut self) -> Option<i64> {
        self.suspend_fuel()
    }

    /// Another thread now waits for the CPU, or the running thread was suspended: its slice
    /// has an end from now on.
    pub(super) fn bring_end_forward(&mut self) {
        self.preempt_alone_no_more();
        self.watch_alone_no_more();
    }
}
