//! The workloads on demand. Compiled into two binaries: one with the patched
//! Wasmtime, one with the published one. See `turns.rs` for the other end of the
//! pipe.
//!
//! Each line of standard input is the name of a workload, a mode, how many calls, how often
//! each does the work, and the length of a slice: nanoseconds or fuel, or 0 for plain calls
//! in place of guest threads. It is answered by a line of nanoseconds of CPU time,
//! nanoseconds of elapsed time, the number of preemptions and the fuel consumed. Results are
//! checked each time, and a wrong one ends the process.
//!
//! All that belongs to one workload is kept until another one is asked for: an
//! engine and a store per mode, and as many instances as were needed at once. So
//! what is compared runs in turns, and on the same instances each time.

use super::layout::laid_out;
use crate::served::{self, Build, Mode, cpu_time};
use crate::workloads::{Answer, BROAD, PAPER, Workload};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{Config, Engine, Func, Instance, Memory, Module, Result, Store, Val, bail, ensure};

/// Runs functions as guest threads with this parameter, in slices of this length.
pub type Threads = fn(&mut Store<()>, Mode, u64, &[Func], Val) -> Result<Ran>;

/// What came of them.
pub struct Ran {
    /// What each returned.
    pub results: Vec<Val>,
    pub preemptions: u64,
}

/// A line of standard input.
struct Request<'a> {
    workload: &'a str,
    mode: Mode,
    count: usize,
    times: i32,
    slice: u64,
}

/// Answers lines until there are no more. `layout` is which [layout](super::layout) of the
/// guests' code.
pub fn serve(build: &Build, threads: Threads, layout: u32) -> Result<()> {
    let mut current: Option<Current> = None;
    served::serve(|line| {
        let request = Request::parse(line)?;
        // First this: some have much memory.
        drop(current.take_if(|kept| kept.workload.name != request.workload));
        let guests = match &mut current {
            Some(kept) => kept,
            None => current.insert(Current::new(request.workload)?),
        };
        let what = guests.workload.what;
        let sample = guests
            .run(build, threads, layout, &request)
            .with_context(|| format!("{what}: `{line}`"))?;
        Ok(sample.to_string())
    })
}

impl Request<'_> {
    fn parse(line: &str) -> Result<Request<'_>> {
        let words: Vec<&str> = line.split(' ').collect();
        let [workload, mode, count, times, slice] = words[..] else {
            bail!("`{line}` is not WORKLOAD MODE COUNT TIMES SLICE");
        };
        Ok(Request {
            workload,
            mode: mode.parse()?,
            count: count.parse()?,
            times: times.parse()?,
            slice: slice.parse()?,
        })
    }
}

/// The workload that is measured now.
struct Current {
    workload: &'static Workload,
    answer: Answer,
    modes: HashMap<Mode, Guests>,
}

/// Instances of it in one store.
struct Guests {
    store: Store<()>,
    module: Module,
    runs: Vec<Func>,
    memories: Vec<Memory>,
}

/// What was measured.
struct Sample {
    cpu: Duration,
    wall: Duration,
    preemptions: u64,
    fuel: u64,
}

impl Current {
    fn new(name: &str) -> Result<Current> {
        let mut all = PAPER.iter().chain(&BROAD);
        let Some(workload) = all.find(|workload| workload.name == name) else {
            bail!("there is no workload `{name}`");
        };
        Ok(Current {
            workload,
            answer: workload.answer(),
            modes: HashMap::new(),
        })
    }

    fn run(
        &mut self,
        build: &Build,
        threads: Threads,
        layout: u32,
        request: &Request<'_>,
    ) -> Result<Sample> {
        if !self.modes.contains_key(&request.mode) {
            let mut config = Config::new();
            (build.configure)(request.mode, &mut config)?;
            let guests = Guests::new(&config, &laid_out(self.workload.guest, layout)?)?;
            let baseline = self.modes.get(&Mode::Baseline);
            ensure!(
                request.mode != Mode::Signal
                    || baseline.is_none_or(|other| other.module.text() == guests.module.text()),
                "under signals, the code is not the same as without preemption"
            );
            self.modes.insert(request.mode, guests);
        }
        let Some(guests) = self.modes.get_mut(&request.mode) else {
            bail!("there are no guests for the mode `{}`", request.mode);
        };
        while guests.runs.len() < request.count {
            (build.unlimited)(&mut guests.store)?;
            guests.add()?;
        }
        guests.forget(&self.answer);
        let (sample, results) = guests.timed(build, threads, request)?;
        for result in results {
            self.answer.check(&result)?;
        }
        guests.check_memories(&self.answer, request.count)?;
        Ok(sample)
    }
}

impl Guests {
    fn new(config: &Config, guest: &[u8]) -> Result<Guests> {
        let engine = Engine::new(config)?;
        Ok(Guests {
            module: Module::new(&engine, guest)?,
            store: Store::new(&engine, ()),
            runs: Vec::new(),
            memories: Vec::new(),
        })
    }

    /// One more instance.
    fn add(&mut self) -> Result<()> {
        let instance = Instance::new(&mut self.store, &self.module, &[])?;
        let Some(run) = instance.get_func(&mut self.store, "run") else {
            bail!("the guest does not export a function `run`");
        };
        self.runs.push(run);
        let memory = instance.get_memory(&mut self.store, "memory");
        self.memories.extend(memory);
        Ok(())
    }

    fn timed(
        &mut self,
        build: &Build,
        threads: Threads,
        request: &Request<'_>,
    ) -> Result<(Sample, Vec<Val>)> {
        (build.unlimited)(&mut self.store)?;
        let (runs, times) = (&self.runs[..request.count], Val::I32(request.times));
        let fuel = self.store.get_fuel();
        let (wall, cpu) = (Instant::now(), cpu_time());
        let ran = if request.slice > 0 {
            threads(&mut self.store, request.mode, request.slice, runs, times)?
        } else {
            let mut results = vec![Val::null_any_ref(); runs.len()];
            for (run, result) in runs.iter().zip(&mut results) {
                run.call(&mut self.store, &[times], std::slice::from_mut(result))?;
            }
            Ran {
                results,
                preemptions: 0,
            }
        };
        let (cpu, wall) = (cpu_time() - cpu, wall.elapsed());
        let fuel = match (fuel, self.store.get_fuel()) {
            (Ok(before), Ok(after)) => before - after,
            // There is none in this mode.
            _ => 0,
        };
        let sample = Sample {
            cpu,
            wall,
            preemptions: ran.preemptions,
            fuel,
        };
        Ok((sample, ran.results))
    }

    /// Overwrites what was computed before.
    fn forget(&mut self, answer: &Answer) {
        if let Some((at, bytes)) = &answer.memory {
            for memory in &self.memories {
                memory.data_mut(&mut self.store)[*at..*at + bytes.len()].fill(0xff);
            }
        }
    }

    /// Looks at the memories of so many instances.
    fn check_memories(&self, answer: &Answer, count: usize) -> Result<()> {
        let Some((at, bytes)) = &answer.memory else {
            return Ok(());
        };
        let right = |memory: &Memory| {
            memory.data(&self.store).get(*at..*at + bytes.len()) == Some(bytes.as_slice())
        };
        if self.memories.len() < count || !self.memories[..count].iter().all(right) {
            bail!("what the guest has left in its memory is wrong");
        }
        Ok(())
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, wall) = (self.cpu.as_nanos(), self.wall.as_nanos());
        write!(f, "{cpu} {wall} {} {}", self.preemptions, self.fuel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls two instances of the workload.
    fn call(current: &mut Current) -> Result<Sample> {
        let build = Build {
            configure: |_, _| Ok(()),
            unlimited: |_| Ok(()),
        };
        let line = format!("{} baseline 2 1 0", current.workload.name);
        let no_threads: Threads = |_, _, _, _, _| bail!("only calls are asked for");
        current.run(&build, no_threads, 0, &Request::parse(&line)?)
    }

    #[test]
    fn each_guest_computes_what_rust_does() -> Result<()> {
        for workload in &PAPER {
            let mut current = Current::new(workload.name)?;
            call(&mut current)?;
            current.answer.result ^= 1;
            assert!(call(&mut current).is_err(), "{}", workload.name);
        }
        Ok(())
    }

    #[test]
    fn a_wrong_element_is_found() -> Result<()> {
        let mut current = Current::new("matmul")?;
        current.answer.memory.as_mut().expect("it is in memory").1[4711] ^= 1;
        assert!(call(&mut current).is_err());
        Ok(())
    }
}
