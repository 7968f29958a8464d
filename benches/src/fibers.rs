//! Fibers without a store and a guest: what giving the CPU to the next one cannot do without.
//! Compiled into both builds, like `unthreaded.rs`.

use super::served::cpu_time;
use std::time::Duration;
use wasmtime::{Result, ensure};
use wasmtime_internal_fiber::{Fiber, FiberStack, Suspend};

/// Bare fibers that suspend at once until they are told not to.
///
/// After a switch each return on the way up is mispredicted for which the CPU
/// remembers the call of another stack. So it makes a difference whether `resume`
/// and `suspend` are calls, or inlined into their callers; and `F` is which.
pub struct Fibers<F: Switch>(Vec<Fiber<'static, bool, F, ()>>);

/// How to switch: also what the fiber yields, so that each way has copies of the
/// generic code by itself.
pub trait Switch: Default + 'static {
    /// Whether the fiber has suspended, and not ended.
    fn resume(fiber: &Fiber<'static, bool, Self, ()>) -> bool;

    /// Whether to suspend once more.
    fn suspend(suspend: &mut Suspend<bool, Self, ()>) -> bool;
}

macro_rules! switch {
    ($name:ident, $inline:ident) => {
        #[derive(Default)]
        pub struct $name;

        impl Switch for $name {
            #[inline($inline)]
            fn resume(fiber: &Fiber<'static, bool, $name, ()>) -> bool {
                fiber.resume(true).is_err()
            }

            #[inline($inline)]
            fn suspend(suspend: &mut Suspend<bool, $name, ()>) -> bool {
                suspend.suspend($name)
            }
        }
    };
}

switch!(Called, never);
switch!(Inlined, always);

impl<F: Switch> Fibers<F> {
    pub fn new(fibers: usize) -> Result<Self> {
        let mut all = Vec::new();
        for _ in 0..fibers {
            let stack = FiberStack::new(64 << 10, false)?;
            let fiber = Fiber::new(stack, |mut again, suspend| {
                while again {
                    again = F::suspend(suspend);
                }
            });
            all.push(fiber.map_err(|(error, _)| error)?);
        }
        Ok(Fibers(all))
    }

    pub fn switches(&mut self, times: u64) -> Result<Duration> {
        let start = cpu_time();
        let mut left = times;
        while left > 0 {
            for fiber in self.0.iter().take(left as usize) {
                ensure!(F::resume(fiber), "a fiber has ended early");
                left -= 1;
            }
        }
        Ok(cpu_time() - start)
    }
}

impl<F: Switch> Drop for Fibers<F> {
    fn drop(&mut self) {
        for fiber in &self.0 {
            let _ = fiber.resume(false);
        }
    }
}
