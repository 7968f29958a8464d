//! A Store that answers requests, from the first to the last.
//!
//! ```text
//!   queue --> acceptor: an instance and a thread for each request
//!               |         |
//!               |         +--> its end: the answer, if there is none yet
//!               +--> done when the Store has made its instances, or nobody has come for a while
//! ```
//!
//! The Store is done when all of its threads are. Instances are not freed before.

use super::acceptor::{self, AcceptorFirst};
use super::answer::{Cancel, Failure, Reply};
use super::app::App;
use super::body::{AnswerBody, Ending};
use super::host::Host;
use super::job::Job;
use super::sizes::{INSTANCES, instances};
use super::traces;
use crate::wasi::HANDLES;
use http_body_util::BodyExt;
use preempt_policies::{WeightedFair, YoungFirst};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use wasmtime::preempt::{ConcurrentCaller, OverLimit};
use wasmtime::{
    AsContextMut, Exit, Result, RunEnd, Store, StoreContextMut, ThreadId, ThreadOptions, format_err,
};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

/// The requests for a Store, while it takes any.
pub type Queue = OwnedMutexGuard<UnboundedReceiver<Job>>;

/// For how many slices a request goes before those that have had as many.
const YOUNG: u64 = 8;

/// For how long a Store that has nothing to do keeps the memory of its instances.
const IDLE: Duration = Duration::from_secs(1);

/// How large the memories of instances that are done may be before another Store takes over: they
/// are used again when their Store is done.
const GARBAGE: u64 = 256 << 20;

/// Answers requests until the Store is done. Lets go of `queue` when it takes no more.
///
/// # Errors
///
/// If there can be no such Store.
pub async fn run(app: &Arc<App>, number: u64, queue: Queue) -> Result<()> {
    let mut store = new(app, queue)?;
    let run = store.run_wasm_threads_async(Duration::MAX).await;
    if !matches!(&run, Ok(run) if run.end == RunEnd::AllFinished) {
        // Those that are left wait for what will not happen.
        store.shutdown_wasm_threads();
    }
    let trace = store.wasm_threads().take_trace();
    if let (Some(mut trace), Some(dir)) = (trace, &app.trace) {
        trace.names.extend(store.data_mut().names.drain(..));
        trace.names.sort_unstable_by_key(|(id, _)| *id);
        trace.names.dedup_by_key(|(id, _)| *id);
        if let Err(error) = traces::write(dir, number, &trace) {
            app.log(&format!("error: {error:#}"));
        }
    }
    run.map(drop)
}

/// A Store with nothing but its acceptor.
///
/// # Errors
///
/// If the OS cannot provide what this takes, or the slice is out of bounds.
pub fn new(app: &Arc<App>, queue: Queue) -> Result<Store<Host>> {
    let mut store = Store::new(&app.engine, Host::new(&app.stores));
    store.limiter(|host| host);
    let on_cpu = store.wasm_threads().thread_on_cpu()?;
    store.data_mut().is_of(on_cpu);
    store.set_max_component_handles(INSTANCES * HANDLES);
    if app.counts_fuel {
        store.set_fuel(u64::MAX)?;
    }
    let mut policy = WeightedFair::new(app.ticks);
    // What is done soon does not wait for what is not. Tenants have their shares instead.
    let allowance = match app.tenants.are_told_apart() {
        true => 0,
        false => app.ticks.saturating_mul(YOUNG),
    };
    for (group, weight) in app.tenants.weights() {
        policy.set_group_weight(*group, *weight);
    }
    let mut threads = store.wasm_threads();
    threads.set_slice(app.slice)?;
    threads.set_max_threads(INSTANCES + 1)?;
    threads.set_scheduler(AcceptorFirst::new(YoungFirst::new(policy, allowance)))?;
    if app.trace.is_some() {
        threads.set_trace(traces::EVENTS)?;
    }
    let intake = Arc::new(Intake {
        app: app.clone(),
        queue: Mutex::new(Some(queue)),
    });
    acceptor::spawn(&mut store, &app.acceptor, move |caller| {
        let intake = intake.clone();
        Box::pin(async move { intake.accept(caller).await })
    })?;
    Ok(store)
}

struct Intake {
    app: Arc<App>,
    /// Until the acceptor takes it.
    queue: Mutex<Option<Queue>>,
}

impl Intake {
    /// Spawns a thread for each request, for as long as this Store takes any.
    async fn accept(&self, caller: &ConcurrentCaller<Host>) -> Result<()> {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut queue) = queue else {
            return Ok(());
        };
        loop {
            let takes_more = match timeout(IDLE, queue.recv()).await {
                Ok(Some(job)) => caller.with(|mut caller| {
                    start(&self.app, &mut caller, job);
                    let host = caller.data();
                    let most = instances(self.app.stores.load(Ordering::Relaxed));
                    let is_full = host.made >= most || host.garbage >= GARBAGE;
                    !is_full || !host.idle.is_empty()
                })?,
                Ok(None) => false,
                Err(_) => caller.with(|caller| {
                    let host = caller.data();
                    host.made == 0 || host.running > 0
                })?,
            };
            if !takes_more {
                return Ok(());
            }
        }
    }
}

/// Spawns the thread of a request, or answers that there is none.
fn start(app: &Arc<App>, store: impl AsContextMut<Data = Host>, job: Job) {
    if job.cancel.is_cancelled() {
        return;
    }
    let reply = job.reply.clone();
    let left = app.timeout.saturating_sub(job.arrived.elapsed());
    let started = match left.is_zero() {
        true => Err(Failure::TimedOut(app.timeout)),
        false => spawn(app, store, job, left).map_err(Failure::Internal),
    };
    if let Err(failure) = started {
        reply.give(Err(failure));
    }
}

fn spawn(
    app: &Arc<App>,
    mut store: impl AsContextMut<Data = Host>,
    job: Job,
    left: Duration,
) -> Result<()> {
    let mut store = store.as_context_mut();
    let mut instance = match store.data_mut().idle.pop() {
        Some(idle) => idle,
        None => {
            store.data_mut().made += 1;
            Box::new(app.instance(&job.name)?)
        }
    };
    instance.requests += 1;
    instance.memory.refused = false;
    let mut http = instance.http();
    let request = http.new_incoming_request(Scheme::Http, job.request)?;
    let (reply, cancel) = (job.reply.clone(), job.cancel.clone());
    let ending = Ending::default();
    let thread = ending.clone();
    let response = http.new_response_outparam_from_callback(move |answer| {
        let of_thread = |body| AnswerBody::new(body, thread, cancel).boxed_unsync();
        let answer = answer.map(|answer| answer.map(of_thread));
        reply.give(answer.map_err(Failure::Error));
    })?;

    let mut options = ThreadOptions::new()
        .group(job.group)
        .limits(app.limits.of_thread(left));
    if app.trace.is_some() {
        options = options.name(&*job.name);
    }
    if let Some(tenant) = app.tenants.tenant(job.group)? {
        options = options.tenant(&tenant);
    }
    let thread = match instance.handle {
        Some(handle) => options
            .spawn_component_typed(&mut store, &handle, (request, response))?
            .id(),
        None => app
            .proxy
            .spawn(
                &mut store,
                options,
                request,
                response,
                |mut store, handle| {
                    store.data_mut().current().handle = Some(handle);
                },
            )?
            .id(),
    };
    let host = store.data_mut();
    host.enter(thread, instance);
    host.running += 1;
    let end = End {
        app: app.clone(),
        name: job.name,
        reply: job.reply,
        cancel: job.cancel.clone(),
        ending,
    };
    thread.on_exit(&mut store, |store, thread| end.of(store, thread))?;
    job.cancel.runs(thread.remote(&mut store)?);
    Ok(())
}

/// What there is to do at the end of a request's thread.
struct End {
    app: Arc<App>,
    name: String,
    reply: Reply,
    cancel: Cancel,
    ending: Ending,
}

impl End {
    fn of(self, mut store: StoreContextMut<'_, Host>, thread: ThreadId) {
        let exit = thread.take_exit(&mut store);
        let host = store.data_mut();
        host.running -= 1;
        if self.app.trace.is_some() {
            if host.names.len() == traces::EVENTS {
                host.names.pop_front();
            }
            host.names.push_back((thread, self.name.clone()));
        }
        let Some(instance) = host.leave(thread) else {
            return;
        };
        let memory = instance.memory.clone();
        let has_returned = matches!(exit, Some(Exit::Returned(_)));
        let rest = match has_returned && instance.requests < self.app.reuse {
            true => {
                host.idle.push(instance);
                None
            }
            false => {
                host.garbage = host.garbage.saturating_add(memory.used);
                Some(instance)
            }
        };
        let was_cancelled = self.cancel.is_cancelled();
        self.cancel.is_over();

        let failure = match exit {
            Some(Exit::Returned(_)) => Failure::NoAnswer,
            Some(Exit::OverLimit(OverLimit::WallTime { .. })) => {
                Failure::TimedOut(self.app.timeout)
            }
            Some(Exit::OverLimit(over)) => Failure::OverLimit(over),
            Some(Exit::Trapped(_)) if memory.refused => Failure::OverMemory(memory.limit()),
            Some(Exit::Trapped(error)) => Failure::of_trap(error),
            _ => Failure::Internal(format_err!("its Store failed")),
        };
        let Err(failure) = self.reply.give_failure(failure) else {
            // There is no body. The instance's table may still have what would have given the
            // answer, which has the ending: keeping the one in the other would keep both for ever.
            return self.ending.end(None);
        };
        self.ending.end(rest);
        if !has_returned && !was_cancelled && !failure.is_exit() {
            let log = failure.log();
            let name = &self.name;
            self.app.log(&format!(
                "request {name}, after its answer had begun: {log}"
            ));
        }
    }
}
