//! How a module runs.

use crate::modules::Shape;
use crate::source;
use arbitrary::{Result, Unstructured};
use preempt_policies::{EarliestDeadlineFirst, Pct, Priority, Random, WeightedFair};
use std::time::Duration;
use wasmtime::preempt::{Preemption, Slice};
use wasmtime::{Collector, Config, Store};

/// How many calls and turns of loops a module may make in all.
const STEPS: u32 = 300;

#[derive(Clone, Debug)]
pub struct Plan {
    pub source: Preemption,
    pub slice: Slice,
    pub shape: Shape,
    policy: Policy,
    collector: Collector,
    /// Under any source. Always, if slices are fuel.
    pub counts_fuel: bool,
    /// How many threads make each call.
    pub copies: usize,
    pub reverse: bool,
    /// After so many microseconds, each: what is done to a thread. In the end, the threads run for
    /// as long as it takes.
    pub steps: Vec<(u64, Step)>,
    /// The fuel limit of each thread, in turn.
    pub limits: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Only the end of a run.
    Nothing,
    Kill(usize),
    Suspend(usize),
    Resume(usize),
    Collect,
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    BuiltIn,
    Random { seed: u64, longest: u64 },
    Pct { seed: u64 },
    Fair,
    Priority,
    Deadline,
}

impl Plan {
    pub fn choose(u: &mut Unstructured<'_>) -> Result<Plan> {
        let source = source::source(u)?;
        let flags: u8 = u.arbitrary()?;
        let flag = |bit: u8| flags & (1 << bit) != 0;
        let shape = Shape {
            imports: if flag(0) { 4 } else { 0 },
            gc: flag(1),
            exceptions: flag(2),
            no_traps: !flag(3),
            steps: STEPS,
        };
        let mut steps = Vec::new();
        for _ in 0..u.int_in_range(0..=6)? {
            steps.push((u.int_in_range(0..=400)?, step(u)?));
        }
        let mut limits = vec![None];
        if flag(4) {
            for _ in 0..u.int_in_range(1..=3)? {
                limits.push(Some(u.int_in_range(1..=4_000)?));
            }
        }
        Ok(Plan {
            source,
            slice: source::slice(source, u)?,
            shape,
            policy: policy(u)?,
            // The other one does nothing for guests without references.
            collector: match flag(5) {
                true => Collector::Copying,
                false => Collector::DeferredReferenceCounting,
            },
            counts_fuel: source == Preemption::Fuel || flag(4) || flag(6),
            copies: u.int_in_range(1..=3)?,
            reverse: flag(7),
            steps,
            limits,
        })
    }

    /// Of the engine whose guest threads make the calls.
    pub fn config(&self) -> Config {
        let mut config = self.plain_config();
        config
            .preemption(self.source)
            .consume_fuel(self.counts_fuel);
        config
    }

    /// Of the engine that calls without threads.
    pub fn plain_config(&self) -> Config {
        let mut config = Config::new();
        config
            .collector(self.collector)
            .wasm_gc(true)
            .wasm_function_references(true)
            .wasm_exceptions(true)
            .consume_fuel(true);
        config
    }

    pub fn set_policy<T: 'static>(&self, store: &mut Store<T>) {
        let mut threads = store.wasm_threads();
        match self.policy {
            Policy::BuiltIn => Ok(()),
            Policy::Random { seed, longest: 0 } => threads.set_scheduler(Random::seeded(seed)),
            Policy::Random { seed, longest } => {
                threads.set_scheduler(Random::seeded(seed).slices(1..=longest))
            }
            Policy::Pct { seed } => threads.set_scheduler(Pct::new(seed, 8, 500, 3)),
            Policy::Fair => threads.set_scheduler(WeightedFair::new(100)),
            Policy::Priority => threads.set_scheduler(Priority::new(1_000)),
            Policy::Deadline => threads.set_scheduler(EarliestDeadlineFirst::new()),
        }
        .expect("no run is in progress");
    }

    /// Whether the order of threads is that in which they became ready.
    pub fn is_round_robin(&self) -> bool {
        matches!(self.policy, Policy::BuiltIn)
    }

    /// Whether the same schedule is made each time.
    pub fn is_repeatable(&self) -> bool {
        self.source == Preemption::Fuel && self.steps.is_empty()
    }

    /// After how long each step comes.
    pub fn step_time(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let thread = u.int_in_range(0..=11)?;
    Ok(match u.int_in_range(0..=4)? {
        0 => Step::Nothing,
        1 => Step::Kill(thread),
        2 => Step::Suspend(thread),
        3 => Step::Resume(thread),
        _ => Step::Collect,
    })
}

fn policy(u: &mut Unstructured<'_>) -> Result<Policy> {
    Ok(match u.int_in_range(0..=6)? {
        0 | 1 => Policy::BuiltIn,
        2 => Policy::Random {
            seed: u.arbitrary()?,
            longest: u.int_in_range(0..=200)?,
        },
        3 => Policy::Pct {
            seed: u.arbitrary()?,
        },
        4 => Policy::Fair,
        5 => Policy::Priority,
        _ => Policy::Deadline,
    })
}
