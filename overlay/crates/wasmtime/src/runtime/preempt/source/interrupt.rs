//! How another OS thread interrupts the thread on the CPU.

use super::epoch_timer::Kick;
use super::host_call::Attention;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::signal::os_timer;

#[derive(Default)]
pub(in crate::runtime::preempt) enum Interrupt {
    /// There is none, or it cannot be.
    #[default]
    None,
    Epoch(Kick),
    /// It looks when it comes back from the host. This is so for as long as the store is
    /// there.
    Fuel(Attention),
    /// The OS thread that runs it.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Signal(libc::pid_t),
}

impl Interrupt {
    /// Where slices are fuel, and do not end for this, has the thread on the CPU paused,
    /// or the next one that is there: a dispatch may be about to begin.
    pub(in crate::runtime::preempt) fn pause(&self) {
        if let Interrupt::Fuel(attention) = self {
            attention.raise();
        }
    }

    /// Ends the slice of the thread on the CPU, unless it is fuel: such a slice ends when
    /// it is used up.
    pub(in crate::runtime::preempt) fn end_slice(&self) {
        match self {
            Interrupt::None | Interrupt::Fuel(_) => {}
            Interrupt::Epoch(kick) => kick.now(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Interrupt::Signal(thread) => os_timer::send(*thread),
        }
    }
}
