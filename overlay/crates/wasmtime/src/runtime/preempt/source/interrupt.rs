//! How another OS thread interrupts the thread on the CPU.

use super::attention::Attention;
use super::epoch_timer::SliceEnder;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
use super::signal::os_timer::Target;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
use std::sync::Arc;

#[derive(Default)]
pub(in crate::runtime::preempt) enum Interrupt {
    /// No thread is on the CPU, or it cannot be interrupted.
    #[default]
    None,
    Epoch(SliceEnder),
    /// It checks on return from the host. Valid for as long as the store exists.
    Fuel(Attention),
    /// The OS thread that it runs on.
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ))]
    Signal(Arc<Target>),
}

impl Interrupt {
    /// Where slices are fuel, makes the thread on the CPU pause when it returns from the host:
    /// its slice is not over, but the run can carry out requests. If no thread is on the CPU,
    /// this is for the next one, whose dispatch may be about to begin.
    pub(in crate::runtime::preempt) fn pause(&self) {
        if let Interrupt::Fuel(attention) = self {
            attention.raise();
        }
    }

    /// Ends the slice of the thread on the CPU, unless slices are fuel: those end when used
    /// up.
    pub(in crate::runtime::preempt) fn end_slice(&self) {
        match self {
            Interrupt::None | Interrupt::Fuel(_) => {}
            Interrupt::Epoch(ender) => ender.end_now(),
            #[cfg(all(
                target_os = "linux",
                any(target_arch = "aarch64", target_arch = "x86_64")
            ))]
            Interrupt::Signal(target) => target.signal(),
        }
    }
}
