//! What guest threads, and epochs that signals deliver, need of an engine's configuration.

use super::epoch_delivery;
use super::epochs::EpochDelivery;
use super::slice::Preemption;
use super::source::signal;
use crate::Config;
use crate::prelude::*;
use core::fmt;
use wasmparser::WasmFeatures;
use wasmtime_environ::Tunables;

/// The minimum distance from the limit where Wasm functions trap to the end of a guest
/// thread's stack: for their callees, including suspension. A stack overflow there would end
/// the process.
const MIN_HEADROOM: usize = 64 << 10;

/// # Guest threads, and interruption without checks
impl Config {
    /// Configures what preempts the guest threads of a [`Store`](crate::Store).
    ///
    /// A store can run any number of [guest
    /// threads](crate::Store#preemptive-guest-threads) in turns. This setting
    /// selects how one that does not give back the CPU is made to, and turns on
    /// the instrumentation of compiled code that this needs. All else that an
    /// engine does is unaffected by it, and fuel and epochs can be used as
    /// always.
    ///
    /// Guest threads call components synchronously. So this turns
    /// `Config::wasm_component_model_async` off, which has been found to let guests make
    /// the host panic. Turn it on afterwards for other calls of trusted components.
    ///
    /// By default stores have no guest threads.
    pub fn preemption(&mut self, preemption: Preemption) -> &mut Self {
        self.preemption = Some(preemption);
        #[cfg(feature = "component-model-async")]
        self.wasm_component_model_async(false);
        self
    }

    /// Configures how guests learn that their store's epoch deadline is reached.
    ///
    /// By default they check for it. With [`EpochDelivery::Signal`] their code has no checks,
    /// and is that of an engine without [`Config::epoch_interruption`]:
    /// [`Engine::increment_epoch`](crate::Engine::increment_epoch) signals the OS threads
    /// whose guests have reached their deadlines. Deadlines, traps, callbacks and yields mean
    /// what they mean by default, for calls of all kinds, with these differences:
    ///
    /// * A guest is interrupted at any instruction, and not only at function entries and in
    ///   loops. So an epoch callback cannot call Wasm, grow memories and tables, collect
    ///   garbage, allocate or change garbage-collected objects, overwrite references to them, or
    ///   copy elements of tables: that is an error.
    /// * The error of a call whose deadline has passed before it begins has no backtrace.
    /// * `increment_epoch` makes system calls. It may still be called by a signal handler.
    /// * It uses SIGURG. The handler that the process has for that is called for signals that
    ///   are not ours. A guest in a host function gets no signal, unless it is entering or
    ///   leaving that in the same moment.
    ///
    /// # Errors
    ///
    /// Creating an engine fails if it cannot deliver epochs so: on machines other than x86-64 and
    /// aarch64 Linux, for other targets, with Winch, with [`Config::guest_debug`], with stack
    /// switching, with the reference counting collector, with [`Config::preemption`], with less
    /// than 64 KiB between [`Config::max_wasm_stack`] and [`Config::async_stack_size`], and
    /// without [`Config::epoch_interruption`].
    pub fn epoch_delivery(&mut self, delivery: EpochDelivery) -> &mut Self {
        self.epoch_delivery = delivery;
        self
    }

    /// Whether fuel is a budget, and not only what slices are measured in.
    pub(crate) fn fuel_is_requested(&self) -> bool {
        self.tunables.consume_fuel == Some(true)
    }

    /// Whether epochs are the embedder's, and not only what ends slices.
    pub(crate) fn epochs_are_requested(&self) -> bool {
        self.tunables.epoch_interruption == Some(true)
    }
}

/// Turns on what the configured preemption needs of compiled code.
///
/// # Errors
///
/// If the configuration does not support guest threads, naming what works.
pub(crate) fn configure(
    config: &Config,
    tunables: &mut Tunables,
    features: WasmFeatures,
) -> Result<()> {
    if config.epoch_delivery == EpochDelivery::Signal {
        ensure_headroom(config, &"EpochDelivery::Signal")?;
        epoch_delivery::ensure(config, tunables, features)?;
        tunables.epoch_interruption = false;
    }
    let Some(preemption) = config.preemption else {
        return Ok(());
    };
    ensure(config, preemption, tunables, features)?;
    match preemption {
        Preemption::Fuel => {
            ensure!(
                config.tunables.consume_fuel != Some(false),
                "`Preemption::Fuel` cannot be used with `consume_fuel(false)`"
            );
            tunables.consume_fuel = true;
        }
        Preemption::Epoch => {
            ensure!(
                config.tunables.epoch_interruption != Some(false),
                "`Preemption::Epoch` cannot be used with `epoch_interruption(false)`"
            );
            tunables.epoch_interruption = true;
        }
        Preemption::Signal => {
            signal::host::ensure(config, tunables, features)?;
            tunables.safepoint_polls = true;
        }
    }
    Ok(())
}

/// What every preemption needs.
fn ensure(
    config: &Config,
    preemption: Preemption,
    tunables: &Tunables,
    features: WasmFeatures,
) -> Result<()> {
    ensure_headroom(config, &preemption)?;
    ensure!(
        !tunables.debug_guest,
        "`{preemption}` cannot be had with `Config::guest_debug`: a debugger's handler is \
         called from asynchronous calls only; use `Func::call_async` without preemption"
    );
    ensure!(
        !features.contains(WasmFeatures::STACK_SWITCHING),
        "`{preemption}` cannot be had with stack switching: a guest thread has one stack, and its \
         continuations would have others; do not enable `Config::wasm_stack_switching`"
    );
    Ok(())
}

fn ensure_headroom(config: &Config, what: &dyn fmt::Display) -> Result<()> {
    let (stack, wasm) = (config.async_stack_size, config.max_wasm_stack);
    ensure!(
        stack.saturating_sub(wasm) >= MIN_HEADROOM,
        "`{what}` needs {MIN_HEADROOM} bytes of stack below the guest's: an \
         `async_stack_size` of {stack} is too little for a `max_wasm_stack` of {wasm}",
    );
    Ok(())
}
