//! The workloads on demand. Compiled into two binaries: one with the patched
//! Wasmtime, one with the published one. See `turns.rs` for the other end of the
//! pipe.
//!
//! Each line of standard input is the name of a workload, a mode, `calls` or
//! `threads`, how many of them, and how often each does the work. It is answered by
//! a line of nanoseconds of CPU time, nanoseconds of elapsed time, the number of
//! preemptions and the fuel consumed. Results are checked each time, and a wrong one
//! ends the process.
//!
//! All that belongs to one workload is kept until another one is asked for: an
//! engine and a store per mode, and as many instances as were needed at once. So
//! what is compared runs in turns, and on the same instances each time.

use super::layout::laid_out;
use crate::workloads::{Answer, BROAD, PAPER, Workload};
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::fmt;
use std::io::{Write, stdin, stdout};
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{Config, Engine, Func, Instance, Memory, Module, Result, Store, Val, bail};

/// What can interrupt the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nothing: no checks in compiled code.
    Baseline,
    Fuel,
    Epoch,
    Signal,
}

/// What there is to measure in this build of Wasmtime.
pub struct Build {
    /// Which [layout](super::layout) of the guests' code.
    pub layout: u32,
    pub configure: fn(Mode, &mut Config) -> Result<()>,
    /// Lets plain calls run for as long as they want.
    pub unlimited: fn(&mut Store<()>) -> Result<()>,
    /// Runs these functions as guest threads with this parameter.
    pub threads: fn(&mut Store<()>, Mode, &[Func], Val) -> Result<Ran>,
}

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
    threads: bool,
    count: usize,
    times: i32,
}

/// Answers lines until there are no more.
pub fn serve(build: &Build) -> Result<()> {
    let mut current: Option<Current> = None;
    for line in stdin().lines() {
        let line = line?;
        let request = Request::parse(&line)?;
        // First this: some have much memory.
        drop(current.take_if(|kept| kept.workload.name != request.workload));
        let guests = match &mut current {
            Some(kept) => kept,
            None => current.insert(Current::new(request.workload)?),
        };
        let what = guests.workload.what;
        let sample = guests
            .run(build, &request)
            .with_context(|| format!("{what}: `{line}`"))?;
        writeln!(stdout(), "{sample}")?;
    }
    Ok(())
}

impl Request<'_> {
    fn parse(line: &str) -> Result<Request<'_>> {
        let words: Vec<&str> = line.split(' ').collect();
        let [workload, mode, how, count, times] = words[..] else {
            bail!("`{line}` is not WORKLOAD MODE calls|threads COUNT TIMES");
        };
        Ok(Request {
            workload,
            mode: mode.parse()?,
            threads: match how {
                "calls" => false,
                "threads" => true,
                _ => bail!("`{how}` is neither `calls` nor `threads`"),
            },
            count: count.parse()?,
            times: times.parse()?,
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

    fn run(&mut self, build: &Build, request: &Request<'_>) -> Result<Sample> {
        let guests = match self.modes.get_mut(&request.mode) {
            Some(guests) => guests,
            None => {
                let mut config = Config::new();
                (build.configure)(request.mode, &mut config)?;
                let guest = laid_out(self.workload.guest, build.layout)?;
                let guests = Guests::new(&config, &guest)?;
                self.modes.entry(request.mode).or_insert(guests)
            }
        };
        while guests.runs.len() < request.count {
            (build.unlimited)(&mut guests.store)?;
            guests.add()?;
        }
        guests.forget(&self.answer);
        let (sample, results) = guests.timed(build, request)?;
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

    fn timed(&mut self, build: &Build, request: &Request<'_>) -> Result<(Sample, Vec<Val>)> {
        (build.unlimited)(&mut self.store)?;
        let (runs, times) = (&self.runs[..request.count], Val::I32(request.times));
        let fuel = self.store.get_fuel();
        let (wall, cpu) = (Instant::now(), cpu_time());
        let ran = if request.threads {
            (build.threads)(&mut self.store, request.mode, runs, times)?
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

/// The CPU time that the calling OS thread has used so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

const MODES: [(Mode, &str); 4] = [
    (Mode::Baseline, "baseline"),
    (Mode::Fuel, "fuel"),
    (Mode::Epoch, "epoch"),
    (Mode::Signal, "signal"),
];

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = MODES.iter().find(|(mode, _)| mode == self);
        f.pad(name.map_or("", |(_, name)| *name))
    }
}

impl std::str::FromStr for Mode {
    type Err = wasmtime::Error;

    fn from_str(text: &str) -> Result<Mode> {
        match MODES.iter().find(|(_, name)| *name == text) {
            Some((mode, _)) => Ok(*mode),
            None => bail!("there is no mode `{text}`"),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, wall) = (self.cpu.as_nanos(), self.wall.as_nanos());
        write!(f, "{cpu} {wall} {} {}", self.preemptions, self.fuel)
    }
}
