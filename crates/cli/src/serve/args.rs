//! The options of `preempt serve`.

use super::environment::EnvironmentArgs;
use super::tenants::TenantArgs;
use crate::codegen::CodegenArgs;
use crate::limits;
use crate::memory;
use crate::mode::{Mode, ticks};
use crate::times;
use clap::Args;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use wasmtime::preempt::ThreadLimits;
use wasmtime::{Result, Slice};

/// Serve HTTP with a component, each request as a preemptible thread
///
/// The component is one of the world `wasi:http/proxy` of WASI 0.2, as for `wasmtime serve`.
/// Each request gets an instance and a thread of its own, and no request has to yield: one that
/// loops forever does not hold up the others.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub struct ServeArgs {
    /// Where to listen. With port 0, the OS chooses one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub addr: std::net::SocketAddr,

    /// What ends a slice: a timer (signal, epoch) or a count of executed instructions (fuel)
    ///
    /// The default is signal where it works and epoch elsewhere.
    #[arg(long, value_enum, default_value_t = Mode::for_this_host())]
    pub preemption: Mode,

    /// How long a request may run before it is another one's turn: a duration such as 1ms
    /// (signal, from 50us up; epoch), or units of fuel such as 100000 (fuel)
    ///
    /// The default is 1ms or 1000000 units.
    #[arg(long, value_name = "1ms|100000", allow_hyphen_values = true)]
    slice: Option<String>,

    /// Write a trace of each Store's schedule to this directory, for the Perfetto UI
    /// (ui.perfetto.dev) or chrome://tracing
    ///
    /// A file store-1.json, store-2.json and so on appears when its Store is done: after some tens
    /// of requests, when all of them are answered.
    #[arg(long, value_name = "DIR")]
    pub trace: Option<PathBuf>,

    /// The component, text or binary
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub environment: EnvironmentArgs,

    #[command(flatten)]
    pub tenants: TenantArgs,

    #[command(flatten)]
    pub limits: RequestLimits,

    #[command(flatten)]
    pub capacity: Capacity,

    #[command(flatten)]
    pub codegen: CodegenArgs,
}

const AFTER_HELP: &str = "\
Answers that are not the component's:
  400  the request has no valid host
  500  the component trapped, returned without an answer, or gave an error
  503  the request was over --cpu-limit, --fuel-limit or --memory-limit; or there are
       --max-requests already; or the server is being stopped
  504  the request was over --timeout
  If the answer has begun when one of these happens, the connection is closed.

Stopping:
  Ctrl-C, SIGTERM or SIGHUP stops the server when the requests that it has are answered,
  or after --timeout. A second one ends it at once.";

/// What one request may use.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits of each request")]
pub struct RequestLimits {
    /// End a request that is not done after this time, whether it was running or waiting. The
    /// answer is 504. The default is 30s
    ///
    /// A connection is closed if its client takes as long to take anything of an answer, or, up to
    /// 30s, to send the head of a request.
    #[arg(long, value_name = "DURATION", value_parser = time, default_value = "30s",
        hide_default_value = true, allow_hyphen_values = true)]
    pub timeout: Duration,

    /// End a request that has used this much CPU time, such as 50ms. The answer is 503
    #[arg(long, value_name = "DURATION", value_parser = time, allow_hyphen_values = true)]
    cpu_limit: Option<Duration>,

    /// End a request that has used this many units of fuel. The answer is 503
    ///
    /// This makes compiled code count fuel under every --preemption.
    #[arg(long, value_name = "UNITS", allow_hyphen_values = true)]
    fuel_limit: Option<NonZeroU64>,

    /// How large the memories and tables of a request's instance may be in all, such as 64M. K,
    /// M and G stand for KiB, MiB and GiB. The default is 1G
    ///
    /// Beyond that, they do not grow. If the request traps then, the answer is 503.
    #[arg(long, value_name = "SIZE", value_parser = limits::bytes, allow_hyphen_values = true)]
    memory_limit: Option<u64>,
}

impl RequestLimits {
    pub fn memory(&self) -> u64 {
        self.memory_limit.unwrap_or(memory::DEFAULT_LIMIT)
    }

    /// Whether compiled code has to count fuel although slices are not fuel.
    pub fn counts_fuel(&self, mode: Mode) -> bool {
        self.fuel_limit.is_some() && mode != Mode::Fuel
    }

    /// The limits of a thread that may run for `left` more.
    pub fn of_thread(&self, left: Duration) -> ThreadLimits {
        let mut limits = ThreadLimits::new().wall_time(left);
        if let Some(time) = self.cpu_limit {
            limits = limits.cpu_time(time);
        }
        match self.fuel_limit {
            Some(units) => limits.fuel(units.get()),
            None => limits,
        }
    }
}

/// How much is there to serve with.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Capacity")]
pub struct Capacity {
    /// How many OS threads run requests. The default is the number of CPUs
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// How many requests an instance answers, one after the other
    ///
    /// With more than 1, a request may find what earlier ones have left in the instance's memory,
    /// and prints under the number of the first one.
    #[arg(long, value_name = "N", default_value_t = count(1))]
    pub max_instance_reuse_count: NonZeroUsize,

    /// How many requests may run or wait at a time. Others get 503
    #[arg(long, value_name = "N", default_value_t = count(1024))]
    pub max_requests: NonZeroUsize,

    /// How many connections may be open at a time. Others wait until one is closed
    ///
    /// Each takes a descriptor of this process, whose limit is raised as far as it may be.
    #[arg(long, value_name = "N", default_value_t = count(4096))]
    pub max_connections: NonZeroUsize,
}

const fn count(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

impl Capacity {
    /// How many OS threads run requests.
    pub fn threads(&self) -> usize {
        let cpus = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(cpus, NonZeroUsize::get)
    }
}

impl ServeArgs {
    /// The slice of each request.
    ///
    /// # Errors
    ///
    /// If `--slice` is not one.
    pub fn slice(&self) -> Result<Slice> {
        match (&self.slice, self.preemption) {
            (Some(text), mode) => mode.parse_slice(text),
            (None, Mode::Fuel) => Ok(Slice::Fuel(1_000_000)),
            (None, _) => Ok(Slice::Time(Duration::from_millis(1))),
        }
    }

    /// The slice, in the unit that schedulers count in.
    pub fn ticks(&self) -> Result<u64> {
        Ok(ticks(self.slice()?))
    }
}

fn time(text: &str) -> Result<Duration> {
    times::parse_or_say(text, "no request could be answered", "30s or 50ms")
}
