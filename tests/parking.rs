//! Guest threads that wait in concurrent host functions: their siblings run on.

mod accessing;
mod combinators;
mod deadlocks;
mod dropping;
mod joining;
mod sleeping;
mod suspending;
mod waking;

use crate::support::*;
use std::future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// What tests look at.
#[derive(Default)]
struct Data {
    log: Vec<String>,
    gate: Gate,
}

/// A future that is ready once the gate is open.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        let wakers = std::mem::take(&mut gate.1);
        drop(gate);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn pass(&self) {
        future::poll_fn(|cx| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn waiting(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}

const GUEST: &str = r#"
(module
  (import "host" "sleep" (func $sleep (param i32)))
  (import "host" "pass" (func $pass))
  (import "host" "join" (func $join (param i64)))
  (import "host" "yield" (func $yield))
  (func (export "sleep") (param i32) (call $sleep (local.get 0)))
  (func (export "pass") (call $pass))
  (func (export "join") (param i64) (call $join (local.get 0)))
  (func (export "yield") (param i32)
    (loop $again
      (call $yield)
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0))))
  (func (export "spin") (loop br 0)))
"#;

struct Guests {
    linker: Linker<Data>,
    module: Module,
    store: Store<Data>,
}

impl Guests {
    fn new(source: Preemption) -> Guests {
        let engine = engine(source);
        let mut linker = Linker::<Data>::new(&engine);
        linker
            .func_wrap_concurrent("host", "sleep", |accessor, (millis,): (u32,)| {
                Box::pin(async move { accessor.sleep(ms(millis.into())).await })
            })
            .unwrap()
            .func_wrap_concurrent("host", "pass", |accessor, ()| {
                Box::pin(async move {
                    let gate = accessor.with(|caller| caller.data().gate.clone())?;
                    gate.pass().await;
                    accessor.with(|mut caller| {
                        let id = caller.wasm_threads().current().unwrap();
                        caller.data_mut().log.push(format!("{id} passed"));
                    })
                })
            })
            .unwrap()
            .func_wrap_concurrent("host", "join", |accessor, (id,): (u64,)| {
                Box::pin(async move { accessor.join(ThreadId::from_u64(id)).await })
            })
            .unwrap()
            .func_wrap_concurrent("host", "yield", |accessor, ()| {
                Box::pin(async move { accessor.yield_now().await })
            })
            .unwrap();
        let module = Module::new(&engine, GUEST).unwrap();
        let store = Store::new(&engine, Data::default());
        Guests {
            linker,
            module,
            store,
        }
    }

    fn spawn(&mut self, name: &str, params: &[Val]) -> ThreadId {
        spawn_linked(&mut self.store, &self.linker, &self.module, name, params)
    }

    fn run(&mut self, time: Duration) -> RunSummary {
        self.store.run_wasm_threads_for(time).unwrap()
    }

    fn state(&self, id: ThreadId) -> ThreadState {
        id.info(&self.store).unwrap().state
    }
}

/// A store whose `run` calls the concurrent host function `func`.
struct Callers<T: 'static> {
    store: Store<T>,
    instance: Instance,
}

const CALLER: &str = r#"
(module
  (import "host" "f" (func $f))
  (import "host" "memory" (memory 1 1 shared))
  (func (export "run") (call $f))
  (func (export "run_for_ever") (loop (call $f) (br 0)))
  (func (export "run_times") (param i32)
    (loop $again
      (call $f)
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0))))
  (func (export "wait") (param i64) (result i32)
    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "notify_and_mismatch")
    (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 1) (i64.const -1)))))
"#;

/// What a concurrent host function returns.
type HostFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

impl<T: 'static> Callers<T> {
    fn new<F>(source: Preemption, data: T, func: F) -> Callers<T>
    where
        F: Fn(&ConcurrentCaller<T>, ()) -> HostFuture<'_> + Send + Sync + 'static,
    {
        let engine = Engine::new(&config_with_shared_memory(source)).unwrap();
        let mut linker = Linker::<T>::new(&engine);
        linker.func_wrap_concurrent("host", "f", func).unwrap();
        let mut store = Store::new(&engine, data);
        store.wasm_threads().set_sharing_allowed(true).unwrap();
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        linker.define(&store, "host", "memory", memory).unwrap();
        let module = Module::new(&engine, CALLER).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Callers { store, instance }
    }

    fn spawn(&mut self, name: &str, params: &[Val]) -> ThreadId {
        spawn_in(&mut self.store, self.instance, name, params)
    }

    fn run(&mut self, time: Duration) -> RunSummary {
        self.store.run_wasm_threads_for(time).unwrap()
    }

    fn state(&self, id: ThreadId) -> ThreadState {
        id.info(&self.store).unwrap().state
    }
}
