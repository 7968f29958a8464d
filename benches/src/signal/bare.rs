//! A timer and a signal with nothing behind them: how late the first instruction
//! of a handler is. What a switch takes beyond that is the runtime's own.

use nix::sys::signal::sigaction;
use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::gettid;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

/// Not the one that the runtime uses.
const SIGNAL: Signal = Signal::SIGUSR1;

/// When the handler was called, on the monotonic clock in nanoseconds. Zero before.
static CALLED: AtomicU64 = AtomicU64::new(0);

/// Of the OS thread that has made it.
pub struct BareTimer(Timer);

impl BareTimer {
    pub fn new() -> Result<BareTimer> {
        let action = SigAction::new(
            SigHandler::Handler(handle),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler reads the clock and writes an atomic, no more.
        unsafe { sigaction(SIGNAL, &action) }.context("cannot install a handler")?;
        let event = SigEvent::new(SigevNotify::SigevThreadId {
            signal: SIGNAL,
            thread_id: gettid().as_raw(),
            si_value: 0,
        });
        let timer = Timer::new(ClockId::CLOCK_MONOTONIC, event).context("cannot make a timer")?;
        Ok(BareTimer(timer))
    }

    /// Spins until the signal comes, which is to be in `time`. Returns how late it
    /// was.
    pub fn sample(&mut self, time: Duration) -> Result<Duration> {
        CALLED.store(0, Ordering::Relaxed);
        let end = now() + time;
        self.0
            .set(
                Expiration::OneShot(TimeSpec::from_duration(end)),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )
            .context("cannot set a timer")?;
        let called = loop {
            let called = CALLED.load(Ordering::Relaxed);
            if called != 0 {
                break Duration::from_nanos(called);
            }
            ensure!(
                now() < end + Duration::from_secs(10),
                "a timer's signal has not come"
            );
        };
        Ok(called.saturating_sub(end))
    }
}

extern "C" fn handle(_: nix::libc::c_int) {
    CALLED.store(now().as_nanos() as u64, Ordering::Relaxed);
}

/// On the monotonic clock, which does not fail.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
