//! An OS thread and its Stores: one that takes requests, and others that finish those they have.
//!
//! All of them take turns. The one that takes requests has a turn between any two others, so a new
//! request need not wait for old ones that never yield.

use super::app::App;
use super::job::Job;
use super::place::Load;
use super::store::{self, Queue};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use wasmtime::Result;
use wasmtime::error::Context as _;

/// How long to wait before another Store is tried after one that could not be made.
const PAUSE: Duration = Duration::from_millis(100);

/// How many Stores there were.
static STORES: AtomicU64 = AtomicU64::new(0);

pub struct Worker {
    queue: UnboundedSender<Job>,
    /// How many requests it has.
    load: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts an OS thread. What is asynchronous in its Stores is up to `network`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(app: &Arc<App>, network: &Handle) -> Result<Worker> {
        let (queue, jobs) = unbounded_channel();
        let (app, network) = (app.clone(), network.clone());
        let run = move || network.block_on(serve(app, Arc::new(Mutex::new(jobs))));
        let thread = thread::Builder::new().name("requests".to_string());
        let thread = thread.spawn(run).context("cannot start an OS thread")?;
        Ok(Worker {
            queue,
            load: Arc::default(),
            thread,
        })
    }

    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Whether it can answer requests.
    pub fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Counts one more request.
    pub fn take_load(&self) -> Load {
        Load::new(&self.load)
    }

    pub fn send(&self, job: Job) {
        // If its OS thread is gone, the job has no answer.
        let _ = self.queue.send(job);
    }

    /// Sends no more requests. Waits until all are answered.
    pub fn finish(self) {
        drop(self.queue);
        // A panic was reported.
        let _ = self.thread.join();
    }
}

/// Makes Stores, one after the other, until there are no more requests and all Stores are done.
async fn serve(app: Arc<App>, jobs: Arc<Mutex<UnboundedReceiver<Job>>>) {
    let (mut taking, mut finishing) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        // The Store before this one had it until it took no more.
        let queue: Queue = jobs.clone().lock_owned().await;
        if queue.is_closed() && queue.is_empty() {
            break;
        }
        taking.push(Box::pin(run(app.clone(), queue)));
        let mut next = pin!(jobs.lock());
        let mut has_failed = false;
        loop {
            // Either of the last two polls a Store or two, and then lets the other one.
            tokio::select! {
                biased;
                _ = &mut next => break,
                Some(result) = taking.next() => has_failed |= result.is_err(),
                Some(_) = finishing.next() => {}
            }
        }
        finishing.extend(mem::take(&mut taking));
        if has_failed {
            sleep(PAUSE).await;
        }
    }
    while finishing.next().await.is_some() {}
}

/// Runs a Store.
///
/// # Errors
///
/// If there can be none. This was logged.
async fn run(app: Arc<App>, queue: Queue) -> Result<(), ()> {
    let number = STORES.fetch_add(1, Ordering::Relaxed) + 1;
    let run = store::run(&app, number, queue).await;
    run.map_err(|error| app.log(&format!("error: Store {number}: {error:#}")))
}
