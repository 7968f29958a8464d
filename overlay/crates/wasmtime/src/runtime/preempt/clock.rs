//! The monotonic clock as a single number, so that work done at every dispatch costs an
//! addition or a comparison.

use core::time::Duration;
use std::sync::OnceLock;
use std::time::Instant;

/// In place of a [`Moment`] in nanoseconds: one that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// A point in time on the monotonic clock, in nanoseconds. The origin is that of
/// `CLOCK_MONOTONIC` on Linux, and the first reading elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    #[inline]
    pub(super) fn now() -> Moment {
        Moment(clock())
    }

    /// `None` if the clock never reaches it.
    pub(super) fn checked_add(self, time: Duration) -> Option<Moment> {
        let time = u64::try_from(time.as_nanos()).ok()?;
        self.0.checked_add(time).map(Moment)
    }

    /// Saturates after 584 years on the clock.
    pub(super) fn saturating_add(self, time: Duration) -> Moment {
        self.checked_add(time).unwrap_or(Moment(u64::MAX))
    }

    /// The nanoseconds since `earlier`, or 0 if that is later.
    #[inline]
    pub(super) fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `now` until this.
    pub(super) fn left(self, now: Moment) -> Duration {
        Duration::from_nanos(self.since(now))
    }

    #[inline]
    pub(super) fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    #[inline]
    pub(super) fn as_nanos(self) -> u64 {
        self.0
    }

    /// Converts from the embedder's clock: not earlier, and later by less than a microsecond.
    pub(super) fn from_instant(instant: Instant) -> Moment {
        let (known, moment) = *known();
        Moment(match instant.checked_duration_since(known) {
            Some(later) => moment.0.saturating_add(nanos(later)),
            None => moment.0.saturating_sub(nanos(known - instant)),
        })
    }

    /// The reverse of [`from_instant`](Self::from_instant).
    pub(super) fn to_instant(self) -> Instant {
        let (known, moment) = *known();
        let later = known.checked_add(self.left(moment));
        later
            .and_then(|later| later.checked_sub(moment.left(self)))
            .unwrap_or(known)
    }
}

/// `time` in nanoseconds, saturating.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The same point in time on both clocks.
fn known() -> &'static (Instant, Moment) {
    static KNOWN: OnceLock<(Instant, Moment)> = OnceLock::new();
    KNOWN.get_or_init(|| {
        // The OS may preempt this between two readings.
        let readings = core::array::from_fn::<_, 8, _>(|_| {
            let before = Moment::now();
            let instant = Instant::now();
            let after = Moment::now();
            (after.since(before), instant, after)
        });
        let [first, rest @ ..] = readings;
        let closest = rest
            .into_iter()
            .fold(first, |a, b| if b.0 < a.0 { b } else { a });
        (closest.1, closest.2)
    })
}

#[cfg(target_os = "linux")]
#[inline]
fn clock() -> u64 {
    let mut time = core::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: I5. The clock exists, and the pointer is to a local, which is written. A signal
    // handler may call this.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    nanos(START.get_or_init(Instant::now).elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree_to_a_microsecond() {
        for _ in 0..1_000 {
            let instant = Instant::now();
            let after = Moment::now();
            assert!(Moment::from_instant(instant).since(after) < 1_000);
            for away in [Duration::ZERO, Duration::from_secs(3_600)] {
                for instant in [instant + away, instant - away] {
                    let moment = Moment::from_instant(instant);
                    assert_eq!(moment.to_instant(), instant);
                }
            }
        }
    }

    #[test]
    fn the_clock_saturates() {
        let now = Moment::now();
        assert_eq!(now.checked_add(Duration::MAX), None);
        assert_eq!(now.checked_add(Duration::from_nanos(u64::MAX)), None);
        let end = now.saturating_add(Duration::MAX);
        assert_eq!(end.as_nanos(), u64::MAX);
        assert_eq!(now.since(end), 0);
        assert_eq!(now.left(end), Duration::ZERO);
        assert_eq!(end.left(now).as_nanos(), u128::from(u64::MAX - now.0));
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }
}
