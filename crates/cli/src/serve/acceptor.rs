//! The guest thread that takes requests and spawns their threads. It is the first of its Store.
//!
//! A thread of the Store can use the Store while it runs, and waits as any thread does: for the
//! next request, with a waker.

use super::host::Host;
use std::future::Future;
use std::pin::Pin;
use wasmtime::preempt::{ConcurrentCaller, Pick, ThreadParams, ThreadScheduler};
use wasmtime::{Engine, Linker, Module, Result, Store, ThreadId, ThreadOptions};

/// Calls the host once.
pub fn module(engine: &Engine) -> Result<Module> {
    let wat = r#"(module
        (import "server" "accept" (func $accept))
        (func (export "run") (call $accept)))"#;
    Module::new(engine, wat)
}

/// Spawns the thread, which is done when `accept` is.
///
/// # Errors
///
/// If it cannot be spawned.
pub fn spawn<F>(store: &mut Store<Host>, module: &Module, accept: F) -> Result<()>
where
    F: for<'a> Fn(
            &'a ConcurrentCaller<Host>,
        ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>
        + Send
        + Sync
        + 'static,
{
    let mut linker = Linker::new(store.engine());
    linker.func_wrap_concurrent("server", "accept", move |caller, ()| accept(caller))?;
    let instance = linker.instantiate(&mut *store, module)?;
    let run = instance.get_typed_func::<(), ()>(&mut *store, "run")?;
    let options = ThreadOptions::new().name("accept").detached(true);
    options.spawn_typed(store, &run, ())?;
    Ok(())
}

/// Lets the acceptor run whenever it has something to do, and the others as their own policy
/// says. It has a little for each request, of which there are not more than may wait.
pub struct AcceptorFirst<P> {
    others: P,
    /// Once it is spawned.
    acceptor: Option<ThreadId>,
    is_ready: bool,
}

impl<P> AcceptorFirst<P> {
    pub fn new(others: P) -> AcceptorFirst<P> {
        AcceptorFirst {
            others,
            acceptor: None,
            is_ready: false,
        }
    }

    fn is_acceptor(&self, thread: ThreadId) -> bool {
        self.acceptor == Some(thread)
    }
}

impl<P: ThreadScheduler> ThreadScheduler for AcceptorFirst<P> {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        match self.acceptor {
            Some(_) => self.others.spawned(now, thread, params),
            None => (self.acceptor, self.is_ready) = (Some(thread), true),
        }
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        match self.is_acceptor(thread) {
            true => self.is_ready = true,
            false => self.others.preempted(now, thread, used),
        }
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        match self.is_acceptor(thread) {
            true => self.is_ready = true,
            false => self.others.yielded(now, thread, used),
        }
    }

    fn parked(&mut self, now: u64, thread: ThreadId, used: u64) {
        match self.is_acceptor(thread) {
            true => self.is_ready = false,
            false => self.others.parked(now, thread, used),
        }
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        match self.is_acceptor(thread) {
            true => self.is_ready = true,
            false => self.others.woken(now, thread),
        }
    }

    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        if !self.is_acceptor(thread) {
            self.others.changed(now, thread, params);
        }
    }

    fn finished(&mut self, now: u64, thread: ThreadId, used: u64) {
        match self.is_acceptor(thread) {
            true => self.is_ready = false,
            false => self.others.finished(now, thread, used),
        }
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        if !std::mem::take(&mut self.is_ready) {
            return self.others.next(now);
        }
        self.acceptor.map(|thread| Pick {
            thread,
            slice: None,
        })
    }
}
