//! CPU rates: so much time on the CPU per period. Whoever has used it up waits until it refills.
//!
//! A rate is a bucket of CPU time. It holds one quota, and refills at a quota per period. A
//! thread borrows a *portion* of it before it runs, and settles afterwards: it gives back what
//! it has not used, and owes what it has used beyond that. If there is not enough in the bucket,
//! the thread still borrows, and waits until its portion is there:
//!
//! ```text
//!   quota  --+---------------------------------------------- full
//!            | \
//!   level    |   \ a runs            . refills by quota / period
//!            |     \           .
//!     0    --+-------\---+-----------+---------> time
//!                        b borrows:  c borrows: waits until b's portion and its own
//!                        waits       have refilled
//! ```
//!
//! So those that wait are let in one after another, in the order in which they came, also those
//! of different stores. Nobody is woken in vain, and nothing but the bucket is shared. Linux
//! lends the quota of a cgroup to its CPUs in portions, too (Turner, Rao and Rao, "CPU bandwidth
//! control for CFS", 2010).
//!
//! The state of a bucket is one number, the time at which it is full. To take `t` from it moves
//! that time later by `t * period / quota`. This is the virtual scheduling algorithm of ATM's
//! generic cell rate algorithm (ITU-T I.371).
//!
//! Rejected:
//!
//! * Charging only afterwards. All threads that wait for a level above zero wake at once, and
//!   all of them run before the first one is charged.
//! * A queue of those that wait. It has to be locked, and its wakers called by whoever holds
//!   the budget.

use super::clock::{Moment, nanos};
use crate::prelude::*;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

/// The smallest portion and quota, in nanoseconds: below that, switching costs as much as it
/// lets run.
pub(super) const LEAST_PORTION: u64 = 100_000;

/// The largest portion. Others that wait for the same bucket wait for this long.
const MOST_PORTION: u64 = 10_000_000;

/// How many portions a quota has, unless they would be smaller or larger than these.
const PORTIONS: u64 = 10;

const PERIODS: core::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// Time on the CPU per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuRate {
    quota: Duration,
    period: Duration,
}

impl CpuRate {
    pub(super) const fn new(quota: Duration, period: Duration) -> CpuRate {
        CpuRate { quota, period }
    }

    /// # Errors
    ///
    /// If `whose` rate cannot be kept, or the quota is more than the `most` OS threads get in a
    /// period that can use it at a time.
    pub(super) fn validate(&self, whose: &str, most: Option<u32>) -> Result<()> {
        let CpuRate { quota, period } = *self;
        ensure!(
            PERIODS.contains(&period),
            "a {whose} CPU rate of {self}: the period must be from {:?} to {:?}, such as 100ms",
            PERIODS.start(),
            PERIODS.end()
        );
        ensure!(
            nanos(quota) >= LEAST_PORTION,
            "a {whose} CPU rate of {self}: the time must be at least {:?}, as less is used up by \
             switching; use a longer period",
            Duration::from_nanos(LEAST_PORTION)
        );
        ensure!(
            most.is_none_or(|most| quota <= period.saturating_mul(most)),
            "a {whose} CPU rate of {self} limits nothing, as a store uses one OS thread at a \
             time: the time must be at most the period; for threads of many stores make a \
             `Tenant`"
        );
        Ok(())
    }

    /// The most that is lent at a time.
    pub(super) fn most_portion(&self) -> u64 {
        (nanos(self.quota) / PORTIONS).clamp(LEAST_PORTION, MOST_PORTION)
    }

    /// How long it takes to refill this much, rounded up.
    fn time_to_refill(&self, amount: u64) -> u64 {
        let (quota, period) = (self.quota.as_nanos().max(1), self.period.as_nanos());
        let time = (u128::from(amount) * period).div_ceil(quota);
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// The state of a bucket with this rate that owes what one with the rate `other` owed.
    pub(super) fn converted(&self, other: &CpuRate, full_at: u64, now: u64) -> u64 {
        let left = u128::from(full_at.saturating_sub(now));
        let owes = left * other.quota.as_nanos() / other.period.as_nanos().max(1);
        let owes = u64::try_from(owes).unwrap_or(u64::MAX);
        now.saturating_add(self.time_to_refill(owes))
    }

    /// Borrows `amount`, a quota at most. Returns when it is there, and the bucket's new state.
    fn borrow(&self, full_at: u64, amount: u64, now: u64) -> (u64, u64) {
        let rest = nanos(self.quota).saturating_sub(amount);
        let there_at = full_at.saturating_sub(self.time_to_refill(rest));
        let taken = full_at.max(now).saturating_add(self.time_to_refill(amount));
        (there_at, taken)
    }

    /// Gives back what is `left` of something borrowed, or takes what was used beyond it.
    fn settle(&self, full_at: u64, left: i64) -> u64 {
        let time = self.time_to_refill(left.unsigned_abs());
        match left < 0 {
            true => full_at.saturating_add(time),
            false => full_at.saturating_sub(time),
        }
    }
}

/// `20ms per 100ms`
impl fmt::Display for CpuRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} per {:?}", self.quota, self.period)
    }
}

/// The bucket of a thread or a group: when it is full. Full at first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Returns when the `amount` is there.
    pub(super) fn borrow(&mut self, rate: &CpuRate, amount: u64, now: u64) -> u64 {
        let (there_at, full_at) = rate.borrow(self.full_at, amount, now);
        self.full_at = full_at;
        there_at
    }

    pub(super) fn settle(&mut self, rate: &CpuRate, left: i64) {
        self.full_at = rate.settle(self.full_at, left);
    }

    /// What it owes stays the same.
    pub(super) fn convert(&mut self, from: &CpuRate, to: &CpuRate, now: u64) {
        self.full_at = to.converted(from, self.full_at, now);
    }
}

/// A group of guest threads of any number of stores, on any OS threads, that together get so
/// much time on the CPU per period: see [`ThreadOptions::tenant`](super::ThreadOptions::tenant).
/// Clones are the same tenant.
///
/// ```
/// # use wasmtime::*;
/// # use wasmtime::preempt::Tenant;
/// # use std::time::Duration;
/// # fn main() -> Result<()> {
/// # let mut config = Config::new();
/// # config.preemption(Preemption::Epoch);
/// # let engine = Engine::new(&config)?;
/// # let module = Module::new(&engine, r#"(module (func (export "spin") (loop br 0)))"#)?;
/// // A fifth of a CPU, however many stores it uses.
/// let tenant = Tenant::new(Duration::from_millis(2), Duration::from_millis(10))?;
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| -> Result<()> {
///             let mut store = Store::new(&engine, ());
///             let instance = Instance::new(&mut store, &module, &[])?;
///             let spin = instance.get_func(&mut store, "spin").unwrap();
///             let options = ThreadOptions::new().tenant(&tenant);
///             options.spawn(&mut store, spin, &[])?;
///             store.run_wasm_threads_for(Duration::from_millis(50))?;
///             Ok(())
///         });
///     }
/// });
/// assert!(tenant.throttles() > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tenant(Arc<Shared>);

/// In a cache line of its own: the OS threads that run this tenant's guests write it at each
/// dispatch of one, and no others do.
#[repr(align(128))]
struct Shared {
    rate: CpuRate,
    full_at: AtomicU64,
    cpu_time: AtomicU64,
    throttles: AtomicU64,
}

impl Tenant {
    /// A tenant that gets `quota` on the CPU per `period`, such as 20 ms per 100 ms. A quota of
    /// more than a period is for more than one OS thread. See
    /// [`ThreadLimits::cpu_rate`](super::ThreadLimits::cpu_rate) for what a rate is.
    ///
    /// # Errors
    ///
    /// If the quota is less than 100 us, or the period not from 1 ms to 1 h.
    pub fn new(quota: Duration, period: Duration) -> Result<Tenant> {
        let rate = CpuRate::new(quota, period);
        rate.validate("tenant's", None)?;
        Ok(Tenant(Arc::new(Shared {
            rate,
            full_at: AtomicU64::new(0),
            cpu_time: AtomicU64::new(0),
            throttles: AtomicU64::new(0),
        })))
    }

    /// What its threads have used, as the OS counts it. A dispatch counts when it ends.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.0.cpu_time.load(Ordering::Relaxed))
    }

    /// How many times one of its threads has had to wait for its quota to refill.
    pub fn throttles(&self) -> u64 {
        self.0.throttles.load(Ordering::Relaxed)
    }

    /// Whether this is the only handle, no thread belongs to it, and its quota is full. It is then
    /// no different from a new tenant, and a server that has many may forget it.
    pub fn is_idle(&self) -> bool {
        let full_at = self.0.full_at.load(Ordering::Relaxed);
        Arc::strong_count(&self.0) == 1 && full_at <= Moment::now().as_nanos()
    }

    pub(super) fn rate(&self) -> CpuRate {
        self.0.rate
    }

    /// Returns when the `amount` is there.
    pub(super) fn borrow(&self, amount: u64, now: u64) -> u64 {
        self.update(|full_at| self.0.rate.borrow(full_at, amount, now))
    }

    pub(super) fn settle(&self, left: i64) {
        self.update(|full_at| ((), self.0.rate.settle(full_at, left)));
    }

    /// Its threads have used this much more.
    pub(super) fn count(&self, used: u64) {
        self.0.cpu_time.fetch_add(used, Ordering::Relaxed);
    }

    pub(super) fn count_throttle(&self) {
        self.0.throttles.fetch_add(1, Ordering::Relaxed);
    }

    /// The bucket is all that OS threads tell each other here, so relaxed orderings are enough.
    fn update<R>(&self, change: impl Fn(u64) -> (R, u64)) -> R {
        let mut full_at = self.0.full_at.load(Ordering::Relaxed);
        loop {
            let (result, new) = change(full_at);
            let swapped = self.0.full_at.compare_exchange_weak(
                full_at,
                new,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return result,
                Err(other) => full_at = other,
            }
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("rate", &self.0.rate)
            .field("cpu_time", &self.cpu_time())
            .field("throttles", &self.throttles())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_bucket_lends_its_quota_at_once_and_then_as_fast_as_it_refills() {
        let rate = CpuRate::new(ms(20), ms(100));
        let mut bucket = Bucket::default();
        let now = 1_000 * MS;
        let mut there_at = |now| bucket.borrow(&rate, 5 * MS, now);
        for _ in 0..4 {
            assert!(there_at(now) <= now);
        }
        // Those that wait are there one after another.
        for turn in 1..10 {
            assert_eq!(there_at(now), now + turn * 25 * MS);
        }
        // Once it is full, it does not become fuller.
        let later = now + 10_000 * MS;
        for _ in 0..4 {
            assert!(there_at(later) <= later);
        }
        assert_eq!(there_at(later), later + 25 * MS);
    }

    #[test]
    fn what_is_left_is_given_back_and_what_was_overdrawn_is_owed() {
        let rate = CpuRate::new(ms(10), ms(100));
        let (mut bucket, now) = (Bucket::default(), 5_000 * MS);
        bucket.borrow(&rate, 10 * MS, now);
        bucket.settle(&rate, 10 * MS as i64);
        assert!(bucket.borrow(&rate, 10 * MS, now) <= now);
        bucket.settle(&rate, -(5 * MS as i64));
        assert_eq!(bucket.borrow(&rate, MS, now), now + 60 * MS);
        // No number of them makes it wrap.
        for _ in 0..4 {
            bucket.settle(&rate, i64::MIN);
        }
        assert!(bucket.borrow(&rate, MS, now) > u64::MAX / 2);
    }

    #[test]
    fn any_order_of_use_adds_up_to_the_rate() {
        for (quota, period) in [(1, 7), (3, 100), (99, 100), (100, 100), (7, 1_000)] {
            let rate = CpuRate::new(ms(quota), ms(period));
            let portion = rate.most_portion();
            let mut bucket = Bucket::default();
            let (mut now, mut used) = (0, 0u64);
            let mut turn = 0u64;
            while now < 100_000 * MS {
                turn += 1;
                now = now.max(bucket.borrow(&rate, portion, now));
                let uses = portion / (1 + turn % 3) + turn % 1_000;
                bucket.settle(&rate, portion as i64 - uses as i64);
                used += uses;
                now += uses;
            }
            let may = now / period * quota;
            let most = may + quota * MS + 2 * portion;
            assert!(
                (may - may / 100..=most).contains(&used),
                "{rate}: {used} of {may}"
            );
        }
    }

    #[test]
    fn another_rate_leaves_what_is_owed() {
        let (slow, fast) = (CpuRate::new(ms(10), ms(100)), CpuRate::new(ms(50), ms(100)));
        let (mut bucket, now) = (Bucket::default(), 5_000 * MS);
        bucket.borrow(&slow, 10 * MS, now);
        bucket.settle(&slow, -(20 * MS as i64));
        // It owes 20 ms beyond a quota of 10 ms.
        bucket.convert(&slow, &fast, now);
        assert!(bucket.borrow(&fast, 20 * MS, now) <= now);
        assert_eq!(bucket.borrow(&fast, 10 * MS, now), now + 20 * MS);
    }

    #[test]
    fn a_tenants_bucket_is_exact_on_many_os_threads() {
        let tenant = Tenant::new(ms(100), ms(100)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        tenant.borrow(MS, 0);
                        tenant.settle(500_000);
                    }
                });
            }
        });
        assert_eq!(tenant.0.full_at.load(Ordering::Relaxed), 20_000 * MS);
        let other = tenant.clone();
        assert!(!tenant.is_idle());
        drop(other);
        tenant.settle(i64::MAX);
        assert!(tenant.is_idle());
    }

    #[test]
    fn rates_that_cannot_be_kept_are_refused_with_what_works() {
        for (quota, period, most, says) in [
            (
                ms(0),
                ms(100),
                None,
                "0ns per 100ms: the time must be at least 100µs",
            ),
            (
                ms(1),
                ms(0),
                None,
                "1ms per 0ns: the period must be from 1ms to 3600s",
            ),
            (ms(1), ms(3_600_001), None, "the period must be from"),
            (ms(101), ms(100), Some(1), "101ms per 100ms limits nothing"),
        ] {
            let error = CpuRate::new(quota, period).validate("group's", most);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("group's"), "{error}");
        }
        assert!(Tenant::new(ms(800), ms(100)).is_ok());
        assert!(CpuRate::new(ms(100), ms(100)).validate("", Some(1)).is_ok());
    }
}
