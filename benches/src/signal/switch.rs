//! One forced switch: from the end of a slice to the sibling's first instruction.
//!
//! In the first slice of a run a thread makes two stamps, and spins. At the second
//! one the kernel is asked when the timer that ends the slice will expire. The
//! sibling was asked for a stamp, too, and makes it as soon as it goes on. Then the
//! run is over, and the next one is the next sample.
//!
//! Both ends are rounded up, and by how much is measured beside: the timer may
//! expire later, by at most what it takes to ask for it (`timer_error`); and the
//! stamp is late by what it takes to finish a turn of the loop, call the host and
//! read the clock, which two stamps in successive turns tell (`stamp_error`).
//!
//! Epochs have a timer thread instead. There the end of the slice is taken to be
//! the time before the run, and the slice, which is up to a microsecond early.
//!
//! No sample is left out because it takes long: if the run is over before the
//! sibling gets the CPU, another one follows, and the stamp is as late as it is.

use super::bare::BareTimer;
use super::runtime_timer::Expiry;
use super::spinner::{Spinners, Work};
use crate::distribution::{Distribution, Figures};
use crate::os::taken_off_core;
use serde::Serialize;
use std::time::{Duration, Instant};
use wasmtime::{Preemption, Result, bail, ensure};

const SLICE: Duration = Duration::from_micros(200);

/// How much longer than the slice a run is. Of no consequence: see above.
const MARGIN: Duration = Duration::from_micros(100);

/// How many samples of a kind come after another.
const BATCH: usize = 250;

/// What was measured.
pub struct Switch {
    pub bare: Distribution,
    pub wasm: Distribution,
    pub host_calls: Distribution,
    pub epoch: Distribution,
    /// By how much the timer may expire later than assumed.
    pub timer_error: Distribution,
    /// What a stamp takes.
    pub stamp_error: Distribution,
    /// How much later than a slice after the call of the run the timer is set to.
    pub set_later: Distribution,
}

impl Switch {
    pub fn all(&self) -> [&Distribution; 7] {
        [
            &self.wasm,
            &self.host_calls,
            &self.epoch,
            &self.bare,
            &self.timer_error,
            &self.stamp_error,
            &self.set_later,
        ]
    }

    fn record_errors(&mut self, sample: &Sample) {
        let disturbed = sample.disturbed;
        self.timer_error.record(sample.timer_error, disturbed);
        self.stamp_error.record(sample.stamp_error, disturbed);
        self.set_later.record(sample.set_later, disturbed);
    }

    pub fn figures(&self) -> impl Serialize + use<> {
        self.all()
            .map(Distribution::figures)
            .map(Vec::<Figures>::from)
    }
}

/// Takes so many samples of each kind.
pub fn measure(samples: usize) -> Result<Switch> {
    let mut switch = Switch {
        bare: Distribution::new("a timer's signal, to its handler")?,
        wasm: Distribution::new("switch, guests in Wasm")?,
        host_calls: Distribution::new("switch, guests in tiny host calls")?,
        epoch: Distribution::new("switch, by epochs")?,
        timer_error: Distribution::new("error: asking for the timer")?,
        stamp_error: Distribution::new("error: finishing a turn, calling the host")?,
        set_later: Distribution::new("beginning of the run, to that of its slice")?,
    };
    let spinners = |preemption, work| {
        let mut spinners = Spinners::new(preemption, SLICE, work)?;
        for _ in 0..20 {
            sample(&mut spinners)?;
        }
        if preemption == Preemption::Signal {
            spinners.watch_timer()?;
        }
        wasmtime::error::Ok(spinners)
    };
    let mut wasm = spinners(Preemption::Signal, Work::Wasm)?;
    let mut host_calls = spinners(Preemption::Signal, Work::HostCalls)?;
    let mut epoch = spinners(Preemption::Epoch, Work::Wasm)?;
    let mut bare = BareTimer::new()?;

    for _ in 0..samples.div_ceil(BATCH) {
        for _ in 0..BATCH {
            let before = taken_off_core()?;
            let late = bare.sample(SLICE)?;
            switch.bare.record(late, taken_off_core()? != before);
        }
        for _ in 0..BATCH {
            if let Some(sample) = sample(&mut wasm)? {
                switch.wasm.record(sample.took, sample.disturbed);
                switch.record_errors(&sample);
            }
        }
        for _ in 0..BATCH {
            if let Some(sample) = sample(&mut host_calls)? {
                switch.host_calls.record(sample.took, sample.disturbed);
            }
        }
        for _ in 0..BATCH {
            if let Some(sample) = sample(&mut epoch)? {
                // It may be the timer thread itself that takes the core away.
                switch.epoch.record(sample.took, false);
            }
        }
    }
    for distribution in [&switch.wasm, &switch.host_calls, &switch.epoch] {
        let measured = distribution.len();
        ensure!(
            measured * 10 >= samples * 9,
            "`{}`: {measured} samples of {samples}: the machine is too busy",
            distribution.name
        );
    }
    Ok(switch)
}

struct Sample {
    took: Duration,
    timer_error: Duration,
    stamp_error: Duration,
    set_later: Duration,
    disturbed: bool,
}

/// `None` if the OS had taken the core away before the first thread was on it, so
/// that it is not known whose slice has ended, or until that was over.
fn sample(spinners: &mut Spinners) -> Result<Option<Sample>> {
    spinners.clear();
    spinners.ask(2)?;
    let before = taken_off_core()?;
    let start = Instant::now();
    spinners.run(SLICE + MARGIN)?;
    // The sibling was not on the CPU, or for too short.
    let mut more = 0;
    while spinners.stamps().len() < 4 {
        ensure!(more < 1000, "a guest thread does not get the CPU");
        spinners.run(MARGIN)?;
        more += 1;
    }
    let &[a, a_again, b, b_again] = spinners.stamps() else {
        bail!("{} stamps, where 4 were asked for", spinners.stamps().len());
    };
    let expiry = if spinners.watches_timer() {
        a_again.circumstances.and_then(|then| then.expiry)
    } else {
        Some(Expiry {
            at: start + SLICE,
            error: a.at - start,
        })
    };
    let Some(expiry) = expiry else {
        return Ok(None);
    };
    // Past the slice's end, the timer is set to when to look again.
    if a_again.at >= expiry.at || expiry.at > a.at + SLICE {
        return Ok(None);
    }
    ensure!(
        a.who == a_again.who && a.who != b.who && b.who == b_again.who,
        "the guest threads were not on the CPU in turns"
    );
    ensure!(
        expiry.at + expiry.error >= start + SLICE,
        "the timer is set to before the end of the slice"
    );
    Ok(Some(Sample {
        took: b.at.saturating_duration_since(expiry.at),
        timer_error: expiry.error,
        stamp_error: a_again.at - a.at,
        set_later: expiry.at.saturating_duration_since(start + SLICE),
        disturbed: b_again.taken_off_core() != Some(before),
    }))
}
