//! Which guest comes next: the policies of `preempt_policies`, and their results.

use crate::files;
use crate::memory::Noted;
use crate::mode::{Mode, ticks};
use crate::names;
use crate::picks::{Made, Replayed};
use crate::schedule::{Name, ScheduleArgs};
use crate::wasi::Host;
use preempt_policies::{
    EarliestDeadlineFirst, Pct, Priority, Random, Recorder, Replay, RoundRobin, Schedule,
    WeightedFair,
};
use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use wasmtime::error::Context as _;
use wasmtime::preempt::ThreadScheduler;
use wasmtime::{Result, Slice, Store, ThreadOptions};

/// A policy that is ready to be given to the Store.
pub struct Policy {
    pub name: Name,
    /// For policies that leave choices to chance, and if one was given for the guests.
    pub seed: Option<u64>,
    /// The seed of the run, which repeats it. `None` if nothing does.
    pub repeats: Option<u64>,
    /// What the policy is told about each guest.
    pub guests: Vec<ThreadOptions>,
    slice: u64,
    threads: u64,
    patience: Option<u64>,
    steps: u64,
    depth: u32,
    replay: Schedule,
}

impl Policy {
    /// The policy for `guests`. `seed` replaces `--seed`.
    ///
    /// # Errors
    ///
    /// If the options make no sense, or the schedule to replay cannot be read.
    pub fn of(
        given: &ScheduleArgs,
        guests: &[String],
        mode: Mode,
        slice: Slice,
        seed: Option<u64>,
    ) -> Result<Policy> {
        let name = given.name()?;
        given.check(name, mode)?;
        let replay = given.replay.as_deref().map(read_schedule).transpose()?;
        let replay = replay.unwrap_or_default();
        let seed = match name {
            Name::Random | Name::Pct => Some(seed.unwrap_or_else(any_seed)),
            _ => seed,
        };
        Ok(Policy {
            name,
            seed,
            repeats: match mode {
                Mode::Fuel => seed.or(replay.seed()),
                Mode::Signal | Mode::Epoch => None,
            },
            guests: given.options(guests, mode)?,
            slice: ticks(slice),
            threads: guests.len() as u64,
            patience: given.patience(mode)?,
            steps: given.steps.unwrap_or(1000),
            depth: given.depth.unwrap_or(3),
            replay,
        })
    }

    /// Installs the policy in `store`. Returns the function that asks it for its results.
    pub fn install(self, store: &mut Store<Host>, record: bool) -> Result<Ask> {
        let seed = self.seed.unwrap_or(0);
        match self.name {
            Name::RoundRobin => install(store, RoundRobin::new(), record),
            Name::Fair => install(store, WeightedFair::new(self.slice), record),
            Name::Priority => {
                let policy = self.patience.map_or_else(Priority::strict, Priority::new);
                install(store, policy, record)
            }
            Name::Deadline => install(store, EarliestDeadlineFirst::new(), record),
            Name::Random => {
                let policy = Random::seeded(seed).slices(1..=self.slice);
                install(store, policy, record)
            }
            Name::Pct => {
                let policy = Pct::new(seed, self.threads, self.steps, self.depth);
                install(store, policy, record)
            }
            Name::Replay => install(store, Replay::new(self.replay), record),
        }
    }
}

/// Short enough to type. std's hash maps provide the randomness.
fn any_seed() -> u64 {
    RandomState::new().hash_one(0) >> 32
}

fn read_schedule(path: &Path) -> Result<Schedule> {
    let shown = names::path(path);
    let not_recorded = || format!("--replay: {shown} is not what --record writes");
    let text = files::read(path).context("--replay")?;
    let text = String::from_utf8(text).with_context(not_recorded)?;
    text.parse::<Schedule>().with_context(not_recorded)
}

/// Asks the policy of a Store for its results.
pub type Ask = fn(&mut Store<Host>) -> Made;

fn install<P: ThreadScheduler>(store: &mut Store<Host>, policy: P, record: bool) -> Result<Ask> {
    let (memory, until) = (store.data().memory.clone(), store.data().until.clone());
    if record {
        store
            .wasm_threads()
            .set_scheduler(Noted::new(Recorder::new(policy), &memory, &until))?;
        return Ok(|store| {
            let noted = store.wasm_threads().scheduler_mut::<Noted<Recorder<P>>>();
            noted.map_or_else(Made::default, |Noted { policy, .. }| Made {
                replayed: replayed(policy.policy()),
                schedule: Some(policy.take_schedule()),
            })
        });
    }
    store
        .wasm_threads()
        .set_scheduler(Noted::new(policy, &memory, &until))?;
    Ok(|store| Made {
        schedule: None,
        replayed: store
            .wasm_threads()
            .scheduler_mut::<Noted<P>>()
            .and_then(|noted| replayed(&noted.policy)),
    })
}

fn replayed(policy: &dyn Any) -> Option<Replayed> {
    let replay = policy.downcast_ref::<Replay>()?;
    Some(Replayed {
        divergence: replay.divergence(),
        left: replay.remaining(),
    })
}
