//! A store's virtual clock, as a clock of a WASI context.

use std::time::Duration;
use wasmtime::preempt::VirtualClock;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// 2000-01-01, 00:00:00 UTC.
const START: Duration = Duration::from_secs(946_684_800);

/// Shows guests the [virtual clock](wasmtime::preempt::WasmThreads::set_virtual_clock) of
/// their store, as their monotonic and as their wall clock.
///
/// ```
/// use wasmtime::preempt::VirtualClock;
/// use wasmtime::{Config, Engine, Preemption, Result, Store};
/// use wasmtime_wasi::WasiCtxBuilder;
///
/// # fn main() -> Result<()> {
/// let engine = Engine::new(Config::new().preemption(Preemption::Fuel))?;
/// let shown = VirtualClock::new();
/// let clock = preempt_wasi::Clock::new(shown.clone());
/// let context = WasiCtxBuilder::new()
///     .monotonic_clock(clock.clone())
///     .wall_clock(clock)
///     .build_p1();
/// let mut store = Store::new(&engine, context);
/// store.wasm_threads().set_virtual_clock(shown)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Clock {
    shown: VirtualClock,
    start: Duration,
}

impl Clock {
    /// The wall clock begins at 2000-01-01, 00:00:00 UTC.
    pub fn new(shown: VirtualClock) -> Clock {
        Clock {
            shown,
            start: START,
        }
    }

    /// The wall clock begins at this time since 1970-01-01, 00:00:00 UTC.
    pub fn wall_clock_start(mut self, start: Duration) -> Clock {
        self.start = start;
        self
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shown.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.start.saturating_add(self.shown.now())
    }
}
