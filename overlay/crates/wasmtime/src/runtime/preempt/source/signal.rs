//! Time slices, ended by a timer signal: no checks in compiled code.
//!
//! ```text
//!   dispatch ---- sets Watch::slice_end, arms the OS thread's timer
//!
//!   timer -----> handler (on the alternate signal stack)
//!                  | late, or the slice has moved on?   re-arm, or nothing
//!                  | guest thread's own Wasm function?  "call" the stub
//!                  | one that may hold references?      it polls: host_return.rs
//!                  | in a host call?                    its end looks: host_return.rs
//!                  | anything else                      look again a little later
//!                  v
//!   stub ------> preempted() ---> suspend the fiber      x86_64/stub.rs,
//!                                                        aarch64/stub.rs
//! ```
//!
//! So a host function is interrupted once per end of a slice, however long it waits.
//! "Anything else" is the few instructions of trampolines, of the ends of host calls, and of
//! tail calls that move their frames.
//!
//! What the handler may touch (I5): `CURRENT` and what it points to, the list of activations,
//! the interrupted registers, and its OS thread's timer. No locks, no allocation, nothing else
//! of the store. All of that is written by the same OS thread, so relaxed atomics are enough:
//! they keep the compiler, not another CPU, from tearing and moving accesses. Other OS
//! threads write only `Remote::slice_end_requested`, and do so before they send the signal.
//!
//! The signal is SIGURG, as in Go: it is ignored by default, so that a stray one is harmless,
//! the C library does not use it, and nothing sends it unasked. A signal is ours if it carries
//! our token: it is from one of our timers, from an OS thread that ends a slice (remote.rs), or
//! from one that increments an epoch (epoch_delivery.rs). Others are passed on to the previously
//! installed handler.
//!
//! Rejected:
//!
//! * Switching stacks in the handler (I6). The signal would stay blocked, and its
//!   frame on the alternate stack, until the thread is resumed, perhaps on
//!   another OS thread.
//! * A thread that signals the others, but not those in the host: it is late when it cannot get
//!   the CPU that it should take from the guest. If it ticks, it wakes up even if nothing waits.
//! * A page that compiled code loads from and that is unmapped to stop it: still a check,
//!   plus a TLB shootdown for each preemption.
//! * Patching a trap into the code: it stops all threads that run that code, in all stores.

use super::attention::Attention;
use super::interrupt::Interrupt;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::fork;
use crate::runtime::preempt::slice::Preemption;
use crate::runtime::preempt::suspend;
use crate::store::StoreOpaque;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicPtr, AtomicU64, compiler_fence};
use std::sync::Once;

pub(in crate::runtime::preempt) mod armed;
pub(in crate::runtime::preempt) mod code;
mod handler;
pub(crate) mod host;
pub(in crate::runtime::preempt) mod os_timer;
mod preempted;
pub(in crate::runtime::preempt) mod watch;

#[cfg(target_arch = "aarch64")]
pub(in crate::runtime::preempt) mod aarch64;
#[cfg(target_arch = "x86_64")]
pub(in crate::runtime::preempt) mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(in crate::runtime::preempt) use self::aarch64 as arch;
#[cfg(target_arch = "x86_64")]
pub(in crate::runtime::preempt) use self::x86_64 as arch;

use self::code::Code;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use self::handler::interrupt;
use self::watch::Watch;

/// A store's state for this source.
pub(crate) struct SignalState {
    code: Option<Box<Code>>,
    /// When the run ends, on the monotonic clock.
    run_end: u64,
    /// Set during a run.
    started: bool,
}

impl Default for SignalState {
    fn default() -> SignalState {
        SignalState {
            code: None,
            run_end: NEVER,
            started: false,
        }
    }
}

/// Makes sure that this OS thread can receive the signal.
///
/// # Errors
///
/// If it cannot.
pub(in crate::runtime::preempt) fn prepare_this_thread() -> Result<()> {
    static FORKS: Once = Once::new();
    FORKS.call_once(|| fork::in_child(forked));
    handler::ensure_installed()?;
    armed::ensure_timer()
}

/// This process is a new one, forked by this OS thread in a host function or outside of runs. Its
/// slices are over, as those of the other sources.
fn forked() {
    armed::forked();
    suspend::end_slices_in_host();
}

impl StoreOpaque {
    fn slices_are_signals(&self) -> bool {
        self.engine().config().preemption == Some(Preemption::Signal)
    }

    /// A run begins, which should end at `end`.
    ///
    /// # Errors
    ///
    /// If the signal cannot be delivered.
    pub(in crate::runtime::preempt) fn start_signals(&mut self, end: Option<Moment>) -> Result<()> {
        if !self.slices_are_signals() {
            return Ok(());
        }
        prepare_this_thread()?;
        let interrupt = Interrupt::Signal(os_timer::target()?);
        let threads = self.preemptive_threads()?;
        threads.remote.set_interrupt(interrupt);
        let signal = &mut threads.signal;
        signal.run_end = end.map_or(NEVER, Moment::as_nanos);
        signal.started = true;
        Ok(())
    }

    /// The run that `start_signals` began is over.
    pub(in crate::runtime::preempt) fn stop_signals(&mut self) {
        // The timer stays set: the next run is likely to want it, and the handler finds nothing to
        // do if none comes.
        if let Some(threads) = self.preempt_mut() {
            threads.signal.run_end = NEVER;
            if core::mem::take(&mut threads.signal.started) {
                threads.remote.set_interrupt(Interrupt::None);
            }
        }
    }

    /// A slice begins.
    ///
    /// # Errors
    ///
    /// If this process was forked in this run, and the OS refuses to create a timer.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn ensure_signals_come(&self) -> Result<()> {
        if self.slices_are_signals() && !os_timer::exists() {
            armed::ensure_timer()?;
        }
        Ok(())
    }

    /// Whether `pc` is in a guest's function that signals stop at any instruction.
    pub(in crate::runtime::preempt) fn signals_may_stop_code_at(&self, pc: usize) -> bool {
        let code = self
            .preempt()
            .and_then(|threads| threads.signal.code.as_ref());
        let function = code.and_then(|code| code.function_at(pc));
        function.is_some_and(|function| !function.polls)
    }

    /// Makes the signal come a little later.
    pub(in crate::runtime::preempt) fn watch_again_soon(&self) {
        if self.slices_are_signals() {
            let now = Moment::now().as_nanos();
            suspend::with_dispatch(|dispatch| dispatch.watch.retry_later(now));
        }
    }

    /// The end of the slice if another thread waits for the CPU, else that of the run or of
    /// the thread's limits.
    fn next_signal(&self) -> u64 {
        self.preempt()
            .filter(|threads| threads.signal.started)
            .and_then(|threads| threads.interrupt_at(threads.signal.run_end))
            .unwrap_or(NEVER)
    }

    /// What the handler watches in the dispatch that is about to begin.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn watch(&mut self) -> Watch {
        if !self.slices_are_signals() {
            return Watch::none();
        }
        Watch {
            slice_end: AtomicU64::new(self.next_signal()),
            code: AtomicPtr::new(self.current_code()),
            store: Some(self.traitobj()),
            attention: Some(Attention::of(self)),
            slice_end_requested: self
                .preempt()
                .map(|threads| NonNull::from(&threads.remote.slice_end_requested)),
            ..Watch::none()
        }
    }

    fn code_is_current(&self) -> bool {
        let code = self
            .preempt()
            .and_then(|threads| threads.signal.code.as_ref());
        code.is_some_and(|code| code.is_current(self.modules()))
    }

    /// The list of this store's modules, rebuilt if there are new ones. No handler may be
    /// using the old one.
    fn current_code(&mut self) -> *mut Code {
        if !self.code_is_current() {
            let code = Box::new(Code::new(self.modules()));
            if let Some(threads) = self.preempt_mut() {
                threads.signal.code = Some(code);
            }
        }
        match self.preempt_mut() {
            Some(threads) => threads
                .signal
                .code
                .as_deref_mut()
                .map_or(ptr::null_mut(), ptr::from_mut),
            None => ptr::null_mut(),
        }
    }

    /// Tells the handler about modules that the running thread may call from now on.
    pub(in crate::runtime::preempt) fn watch_new_modules(&mut self) {
        if !self.slices_are_signals() || self.code_is_current() {
            return;
        }
        // The handler must not see the old list while it is replaced.
        let watch_code = |code| {
            suspend::with_dispatch(|dispatch| dispatch.watch.code.store(code, Relaxed));
            compiler_fence(SeqCst);
        };
        watch_code(ptr::null_mut());
        let code = self.current_code();
        watch_code(code);
    }

    /// Whether the running thread's slice is over, as it is where the handler could not end
    /// it.
    pub(in crate::runtime::preempt) fn signal_slice_is_over(&self) -> bool {
        let end = suspend::with_dispatch(|dispatch| dispatch.watch.slice_end());
        end.is_some_and(|end| end <= Moment::now().as_nanos())
    }

    /// Makes the signal come again if the slice is over: the first one left it to the end of
    /// a host call, which has not ended the slice.
    pub(in crate::runtime::preempt) fn watch_overdue_slice(&mut self) {
        if self.slices_are_signals() {
            suspend::with_dispatch(|dispatch| dispatch.watch.arm());
        }
    }

    /// A thread was spawned, perhaps next to one that had the CPU to itself.
    pub(in crate::runtime::preempt) fn watch_alone_no_more(&mut self) {
        if self.slices_are_signals() && self.running_thread().is_some() {
            let end = self.next_signal();
            suspend::with_dispatch(|dispatch| dispatch.watch.bring_slice_end_to(end));
        }
    }
}
