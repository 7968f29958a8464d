//! What ends a slice, and how long one is: [`Preemption`] and [`Slice`].

use crate::prelude::*;
use core::fmt;
use core::time::Duration;

/// What preempts a guest thread: see
/// [`Config::preemption`](crate::Config::preemption).
///
/// | | checks in compiled code | slices | schedule |
/// |---|---|---|---|
/// | [`Fuel`](Preemption::Fuel) | at function entries and loop headers | a number of executed operations | deterministic |
/// | [`Epoch`](Preemption::Epoch) | at function entries and loop headers | wall-clock time | depends on the machine |
/// | [`Signal`](Preemption::Signal) | none | wall-clock time | depends on the machine |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preemption {
    /// A slice is an amount of fuel. The same guests with the same input and the same slices
    /// interleave identically on every machine, however often a run is cut short: time only
    /// ends or pauses a thread, and a paused thread resumes with the rest of its slice before
    /// any other thread runs.
    ///
    /// This turns on [`Config::consume_fuel`](crate::Config::consume_fuel). Unless that was
    /// also requested explicitly, there is no budget: a [`Store`](crate::Store) starts with
    /// `u64::MAX` units of fuel instead of none, and gets more when these are used up, until
    /// [`Store::set_fuel`](crate::Store::set_fuel) sets a budget.
    Fuel,

    /// A slice is an amount of wall-clock time, measured by one timer thread per engine,
    /// which sleeps unless a thread waits for the CPU.
    ///
    /// This turns on [`Config::epoch_interruption`](crate::Config::epoch_interruption).
    /// Unless that was also requested explicitly, a [`Store`](crate::Store) starts with no
    /// epoch deadline instead of one that has already passed.
    ///
    /// The embedder's own use of epochs is unaffected: only
    /// [`Engine::increment_epoch`](crate::Engine::increment_epoch) brings a deadline set with
    /// [`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline) nearer.
    Epoch,

    /// A slice is an amount of wall-clock time, ended by a timer signal that stops the guest
    /// at any instruction. Compiled code has no checks, and is as fast as if it were never
    /// interrupted. Works on x86-64 and aarch64 Linux.
    ///
    /// The signal is SIGURG. Its handler is installed by the first run, and reinstalled by
    /// any run that finds it replaced; signals that this crate has not sent go to the previous
    /// handler. Each OS thread that has run guest threads has one POSIX timer,
    /// which is set during a run if a thread waits for the CPU or the run has an end. A host
    /// function gets one signal at most for each slice, but a system call that is not restarted
    /// then, as a `poll`, fails with `EINTR`.
    ///
    /// Code that may be stopped at any instruction must not hold anything that may be
    /// collected or moved:
    ///
    /// * A function that may hold a reference to the garbage-collected heap is not stopped at any
    ///   instruction. It polls at its entry and in its loops, as with epochs. Which functions do
    ///   is decided when a module is compiled, by their types and operators. Most modules have
    ///   none.
    /// * A memory is not moved, and [`Table::grow`](crate::Table::grow) is an error, if another
    ///   unfinished thread can reach that memory or table: it may have been stopped in the middle
    ///   of an operation on it. This only concerns host functions, embedders between two runs, and
    ///   threads that may share
    ///   ([`set_sharing_allowed`](crate::preempt::WasmThreads::set_sharing_allowed)). Memories of
    ///   32 bits never move unless their reservation is made smaller.
    ///
    /// Winch, Pulley, stack switching, guest debugging, and a process with a hardware shadow
    /// stack are errors, too.
    ///
    /// Fuel can be metered as well. See [`ThreadStats`](crate::preempt::ThreadStats) for how
    /// exact the count is. A suspended thread holds some of the store's fuel until it ends:
    /// at most 1,000,000 units, and at most its share of half of the budget except for the
    /// last 1,000 units.
    Signal,
}

impl Preemption {
    /// The fastest source for this machine: [`Preemption::Signal`] where it works, and
    /// [`Preemption::Epoch`] elsewhere.
    pub fn for_this_host() -> Preemption {
        if super::source::signal::host::works_here() {
            Preemption::Signal
        } else {
            Preemption::Epoch
        }
    }
}

impl fmt::Display for Preemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preemption::Fuel => "Preemption::Fuel",
            Preemption::Epoch => "Preemption::Epoch",
            Preemption::Signal => "Preemption::Signal",
        })
    }
}

/// What a guest thread may use before it is preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Slice {
    /// Wall-clock time on the CPU, for [`Preemption::Epoch`] and, from 50 us up, for
    /// [`Preemption::Signal`].
    ///
    /// Under `Epoch` the slice ends at the first check that the guest reaches afterwards. It
    /// ends early only if somebody asks for that: with
    /// [`RemoteThread::preempt_now`](super::RemoteThread::preempt_now), by ending any thread of
    /// the store during the run, or by changing limits. A thread that has the CPU to itself is
    /// also preempted when another OS thread wakes a sibling.
    Time(Duration),

    /// Units of fuel, for [`Preemption::Fuel`]. From 1 to `i64::MAX`.
    ///
    /// The slice ends at the first fuel check that the guest reaches after using this much,
    /// or a little less: each slice is shortened by a new pseudo-random amount, of at most an
    /// eighth or 16 units, whichever is more, unless the scheduler chose its length
    /// ([`Pick::slice`](super::Pick::slice)). Equal slices can be in step with a guest, which
    /// is then preempted at the same place on each turn of a loop, perhaps while holding a
    /// lock, which its siblings then never get. The amounts are the same in each store,
    /// unless it has another [seed](super::WasmThreads::set_slice_seed).
    Fuel(u64),
}

impl Slice {
    /// The longest time slice, about 292 years.
    const MAX_TIME: Duration = Duration::from_nanos(i64::MAX as u64);

    /// The shortest slice under `Preemption::Signal`: the signals would use up shorter ones.
    const MIN_SIGNAL_TIME: Duration = Duration::from_micros(50);

    /// A store's initial slice: 10 ms, or as many units of fuel as take roughly that long.
    pub(super) fn default_for(preemption: Preemption) -> Slice {
        match preemption {
            Preemption::Fuel => Slice::Fuel(10_000_000),
            Preemption::Epoch | Preemption::Signal => Slice::Time(Duration::from_millis(10)),
        }
    }

    /// The slice closest to this many ticks that `preemption` can end.
    pub(super) fn nearest(ticks: u64, preemption: Preemption) -> Slice {
        let ticks = ticks.clamp(1, i64::MAX as u64);
        match preemption {
            Preemption::Fuel => Slice::Fuel(ticks),
            Preemption::Epoch => Slice::Time(Duration::from_nanos(ticks)),
            Preemption::Signal => {
                Slice::Time(Duration::from_nanos(ticks).max(Self::MIN_SIGNAL_TIME))
            }
        }
    }

    /// Checks that this slice can end, and that `preemption` can end it.
    pub(super) fn validate(self, preemption: Preemption) -> Result<()> {
        match (self, preemption) {
            (Slice::Time(time), Preemption::Epoch) => ensure!(
                !time.is_zero() && time <= Self::MAX_TIME,
                "a slice of {time:?} is out of range: it must be at least 1 ns \
                 and at most {:?}",
                Self::MAX_TIME,
            ),
            (Slice::Fuel(fuel), Preemption::Fuel) => ensure!(
                (1..=i64::MAX as u64).contains(&fuel),
                "a slice of {fuel} units of fuel is out of range: it must be at \
                 least 1 and at most {}",
                i64::MAX,
            ),
            (Slice::Time(time), Preemption::Signal) => ensure!(
                time >= Self::MIN_SIGNAL_TIME && time <= Self::MAX_TIME,
                "a slice of {time:?} is out of range: it must be at least {:?} \
                 and at most {:?}",
                Self::MIN_SIGNAL_TIME,
                Self::MAX_TIME,
            ),
            (Slice::Time(time), Preemption::Fuel) => bail!(
                "a slice of {time:?} cannot be measured under {preemption}: use \
                 `Slice::Fuel`, or configure `Preemption::Epoch`"
            ),
            (Slice::Fuel(fuel), Preemption::Epoch | Preemption::Signal) => bail!(
                "a slice of {fuel} units of fuel cannot be measured under \
                 {preemption}: use `Slice::Time`, or configure `Preemption::Fuel`"
            ),
        }
        Ok(())
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slice::Time(time) => write!(f, "{time:?}"),
            Slice::Fuel(fuel) => write!(f, "{fuel} units of fuel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Preemption; 3] = [Preemption::Fuel, Preemption::Epoch, Preemption::Signal];

    #[test]
    fn the_nearest_slice_is_one_that_can_end() {
        for preemption in ALL {
            Slice::default_for(preemption).validate(preemption).unwrap();
            for ticks in [0, 1, 49_999, 50_000, i64::MAX as u64, u64::MAX] {
                let slice = Slice::nearest(ticks, preemption);
                slice.validate(preemption).unwrap();
                let given = match slice {
                    Slice::Fuel(fuel) => fuel,
                    Slice::Time(time) => time.as_nanos() as u64,
                };
                if Slice::Time(Duration::from_nanos(ticks))
                    .validate(preemption)
                    .is_ok()
                {
                    assert_eq!(given, ticks, "{preemption:?}");
                }
            }
        }
    }

    #[test]
    fn a_slice_that_cannot_end_is_refused_with_its_length() {
        let too_long = Slice::MAX_TIME + Duration::from_nanos(1);
        for (slice, preemption) in [
            (Slice::Fuel(0), Preemption::Fuel),
            (Slice::Fuel(i64::MAX as u64 + 1), Preemption::Fuel),
            (Slice::Fuel(7), Preemption::Epoch),
            (Slice::Fuel(7), Preemption::Signal),
            (Slice::Time(Duration::ZERO), Preemption::Epoch),
            (Slice::Time(too_long), Preemption::Epoch),
            (Slice::Time(too_long), Preemption::Signal),
            (
                Slice::Time(Duration::from_nanos(49_999)),
                Preemption::Signal,
            ),
            (Slice::Time(Duration::from_secs(1)), Preemption::Fuel),
        ] {
            let error = slice.validate(preemption).unwrap_err().to_string();
            assert!(error.contains(&format!("a slice of {slice}")), "{error}");
        }
    }
}
