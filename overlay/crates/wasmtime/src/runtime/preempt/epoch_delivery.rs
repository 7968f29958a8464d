//! Epochs without checks in compiled code: a deadline that is reached is delivered by a signal.
//!
//! ```text
//!   increment_epoch ---- membarrier; looks at every OsThread
//!         |                in Wasm of this engine, past its store's deadline?
//!         v
//!     signal ----> handler (deliver.rs)
//!                    | not due, or in the host?            nothing
//!                    | in a Wasm function of the store?    "call" the stub
//!                    | anything else                       look again a little later
//!                    v
//!     stub ------> interrupted.rs: what the `new_epoch` libcall does
//!
//!   entry, and return from the host (calls.rs): publish the deadline in OsThread, then look
//!   at the epoch
//! ```
//!
//! The handler, the stub, the list of functions and the timers are those of
//! `Preemption::Signal`. What differs is what happens at the deadline: the store's own trap,
//! callback or yield. A yield keeps the store, so nobody else uses it meanwhile, nothing moves,
//! and nothing is collected. So code with references, and tables and memories that grow, can be
//! interrupted at any instruction. What a callback may do is limited: see `sealed.rs`.
//!
//! No interrupt is lost (I20): see `os_threads.rs`. A late, early or stray signal does nothing
//! (I7).
//!
//! Rejected:
//!
//! * A fence at each entry and each return from the host, in place of `membarrier`: 20 cycles
//!   for every call, to spare the rare increment a system call.
//! * To signal OS threads that are in the host: their system calls would fail with `EINTR`. The
//!   return from the host looks at the epoch. (Only where the kernel has no `membarrier` are all
//!   signalled, as nothing else is a fence: see `os_threads.rs`.)
//! * A timer per store: an OS thread's own timer serves all stores whose calls it runs, see
//!   `timed.rs`.

use crate::prelude::*;
use crate::runtime::preempt::epochs::EpochDelivery;
use crate::runtime::preempt::source::signal::host::ensure_stub_works;
use crate::{Config, Engine};
use wasmparser::WasmFeatures;
use wasmtime_environ::Tunables;

pub(crate) mod calls;
pub(in crate::runtime::preempt) mod deliver;
mod delivery;
pub(in crate::runtime::preempt) mod interrupted;
mod os_threads;
mod sealed;
mod timed;

pub(crate) use self::delivery::Delivery;

impl Engine {
    /// Whether signals deliver its epochs.
    #[inline]
    pub(crate) fn delivers_epochs_by_signal(&self) -> bool {
        self.config().epoch_delivery == EpochDelivery::Signal
    }

    /// The rest of `increment_epoch`. May be called by a signal handler.
    pub(crate) fn deliver_epoch(&self) {
        if self.delivers_epochs_by_signal() {
            os_threads::signal_those_due(self.epoch_counter());
        }
    }
}

/// # Errors
///
/// If an engine with this configuration cannot deliver epochs by signals, naming what works.
pub(super) fn ensure(config: &Config, tunables: &Tunables, features: WasmFeatures) -> Result<()> {
    ensure!(
        config.epochs_are_requested(),
        "`EpochDelivery::Signal` needs `Config::epoch_interruption(true)`"
    );
    if let Some(preemption) = config.preemption {
        bail!(
            "`EpochDelivery::Signal` cannot be used with `{preemption}`, which interrupts the \
             engine's guests in its own way: use `EpochDelivery::Check`"
        );
    }
    ensure!(
        !tunables.debug_guest,
        "`EpochDelivery::Signal` cannot be used with `Config::guest_debug`: a debugger must not \
         see a guest between any two instructions; use `EpochDelivery::Check`"
    );
    #[cfg(feature = "gc")]
    if features.gc_types() {
        ensure!(
            config.collector.try_not_auto()? != crate::Collector::DeferredReferenceCounting,
            "`EpochDelivery::Signal` cannot be used with \
             `Collector::DeferredReferenceCounting`, whose code counts references in several \
             steps: use `Collector::Copying`, `Config::gc_support(false)`, or \
             `EpochDelivery::Check`"
        );
    }
    let (what, instead) = ("`EpochDelivery::Signal`", "`EpochDelivery::Check`");
    ensure_stub_works(config, tunables, features, what, instead)?;
    os_threads::prepare();
    Ok(())
}
