//! Deadlines in time for a store's ordinary calls: nobody has to increment epochs.
//!
//! ```text
//!   entry, or a fiber resumed: attach         return, or a fiber suspended: detach
//!        |                                         ^
//!        v                                         |
//!   checks:  a slot of the engine's timer, whose tick advances the epoch (source/epoch.rs)
//!   signals: this OS thread's own timer, whose handler makes the epoch deadline 0
//!        |                                                        (epoch_delivery/timed.rs)
//!        v
//!   `new_epoch` libcall -> handle.rs: trap, callback, or yield
//! ```
//!
//! What interrupts a guest is what epochs have, so a deadline in time comes wherever an epoch
//! deadline would. A store may have both.
//!
//! Time on the CPU is what the OS reports for the OS thread, from attach to detach. It is never
//! more than the time on the clock, so an interrupt that comes when the rest has passed on the
//! clock is in time or early, and an early one sets the next.

use super::limits::thread_cpu_time;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::{AsContext, AsContextMut, Store, StoreContextMut};
use core::fmt;
use core::time::Duration;

pub(crate) mod handle;
pub(crate) mod state;

/// What a store does at its deadline, for the store's own type.
type Behavior = Box<dyn FnMut(&mut dyn VMStore) -> Result<UpdateTimeDeadline> + Send + Sync>;

/// When a store's guests are interrupted: see [`Store::set_time_deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeDeadline {
    /// Once this much time has passed on the clock.
    Wall(Duration),
    /// Once calls of the store have used this much CPU time.
    ///
    /// That is what the OS counts for the OS threads that run them. It includes host functions.
    /// It excludes time in which a call waits for a host function's future, or for a CPU, and
    /// in which no call is running.
    Cpu(Duration),
}

impl fmt::Display for TimeDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeDeadline::Wall(time) => write!(f, "{time:?}"),
            TimeDeadline::Cpu(time) => write!(f, "{time:?} of CPU time"),
        }
    }
}

/// What to do about a guest that has reached its store's deadline in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateTimeDeadline {
    /// End the call with [`TimeDeadlineReached`]. The deadline stays as it is.
    Interrupt,
    /// Go on until this deadline, which counts from now.
    Continue(TimeDeadline),
    /// Yield to the async executor first. The deadline counts from when the guest goes on.
    ///
    /// # Errors
    ///
    /// The call ends with an error if it is not asynchronous.
    Yield(TimeDeadline),
}

/// The error of a call that was ended by its store's deadline in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeDeadlineReached {
    /// The deadline, as it was set.
    pub deadline: TimeDeadline,
}

impl fmt::Display for TimeDeadlineReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest has reached its deadline of {}", self.deadline)
    }
}

impl core::error::Error for TimeDeadlineReached {}

/// # Deadlines in time
impl<T: 'static> Store<T> {
    /// Sets when this store's guests are interrupted. It counts from now.
    ///
    /// This is for all of the store's calls: `call`, `call_async`, instantiation, and those of
    /// components. What happens then is what was last configured: [the call
    /// ends](Self::time_deadline_trap), which is the default, a [callback is
    /// called](Self::time_deadline_callback), or the call
    /// [yields](Self::time_deadline_async_yield_and_update). A call that begins after the
    /// deadline is interrupted at once.
    ///
    /// The engine needs [`Config::epoch_interruption`](crate::Config::epoch_interruption),
    /// and its guests are interrupted where they would be by epochs. A guest in a host function
    /// is interrupted after that returns. No other OS thread has to call
    /// [`Engine::increment_epoch`](crate::Engine::increment_epoch): with
    /// [`EpochDelivery::Signal`](crate::EpochDelivery::Signal), the OS thread that runs the
    /// guest has a timer; otherwise, the engine starts one OS thread, when it is first needed,
    /// for all stores. An epoch deadline of the store is independent of this one.
    ///
    /// Set the first deadline of a store before its guests start. With checks, a task of a
    /// component that was suspended before learns of it at its next function call, and not in
    /// a loop.
    ///
    /// # Errors
    ///
    /// * If the engine has no epochs.
    /// * If it has a [preemption source](crate::Config::preemption): guest threads have limits
    ///   of their own, [`ThreadLimits`](super::ThreadLimits).
    /// * For CPU time, if the OS does not report it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wasmtime::{preempt::{TimeDeadline, TimeDeadlineReached}, *};
    /// # fn main() -> Result<()> {
    /// let mut config = Config::new();
    /// config.epoch_interruption(true);
    /// let engine = Engine::new(&config)?;
    /// let module = Module::new(&engine, r#"(module (func (export "spin") (loop br 0)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_epoch_deadline(u64::MAX / 2); // nobody increments epochs
    /// store.set_time_deadline(TimeDeadline::Wall(Duration::from_millis(10)))?;
    ///
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    /// let error = spin.call(&mut store, ()).unwrap_err();
    /// assert!(error.is::<TimeDeadlineReached>());
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_time_deadline(&mut self, deadline: TimeDeadline) -> Result<()> {
        let store = self.as_context_mut();
        let engine = store.0.engine();
        if let Some(preemption) = engine.config().preemption {
            bail!(
                "a deadline of {deadline} cannot be set with `{preemption}`, which interrupts \
                 guests in its own way: spawn the guest as a thread with \
                 `ThreadOptions::limits`"
            );
        }
        ensure!(
            engine.config().epochs_are_requested(),
            "a deadline of {deadline} needs `Config::epoch_interruption(true)`"
        );
        ensure!(
            matches!(deadline, TimeDeadline::Wall(_)) || thread_cpu_time().is_some(),
            "a deadline of {deadline} cannot be had, as this OS does not report CPU time: use \
             `TimeDeadline::Wall`"
        );
        store.0.set_time_deadline(Some(deadline))
    }

    /// Removes the deadline. What was configured to happen there stays.
    pub fn clear_time_deadline(&mut self) {
        // Nothing is armed, so nothing fails.
        let _ = self.as_context_mut().0.set_time_deadline(None);
    }

    /// What is left until the deadline: zero if it is reached, and `None` if there is none.
    pub fn time_deadline(&self) -> Option<TimeDeadline> {
        let state = self.as_context().0.preempt.time_deadline.as_ref()?;
        state.left()
    }

    /// Configures calls that reach the deadline to end with [`TimeDeadlineReached`], which is
    /// the default.
    pub fn time_deadline_trap(&mut self) {
        self.as_context_mut().0.time_state().behavior = None;
    }

    /// Configures calls that reach the deadline to call `callback`, which decides how they go
    /// on. An error that it returns ends the call.
    ///
    /// With [`EpochDelivery::Signal`](crate::EpochDelivery::Signal) the callback is limited, as
    /// an epoch callback is: see [`Config::epoch_delivery`](crate::Config::epoch_delivery).
    pub fn time_deadline_callback(
        &mut self,
        mut callback: impl FnMut(StoreContextMut<'_, T>) -> Result<UpdateTimeDeadline>
        + Send
        + Sync
        + 'static,
    ) {
        self.as_context_mut().0.time_state().behavior = Some(Box::new(move |store| {
            // SAFETY: I13. The callback is kept in a store of this type, and called with that
            // store.
            callback(unsafe { store.unchecked_context_mut() })
        }));
    }

    /// Configures calls that reach the deadline to yield to the async executor, and to go on
    /// until `after`, which counts from then.
    ///
    /// From then on, the store's calls must be asynchronous.
    pub fn time_deadline_async_yield_and_update(&mut self, after: TimeDeadline) {
        let store = self.as_context_mut().0;
        store.set_async_required(crate::store::Asyncness::Yes);
        store.time_state().behavior = Some(Box::new(move |_| Ok(UpdateTimeDeadline::Yield(after))));
    }
}
