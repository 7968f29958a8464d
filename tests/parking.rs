//! Guest threads that wait in concurrent host functions: their siblings run on.

use crate::support::{config, ms};
use std::future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::*;

const ALL: [Preemption; 3] = [Preemption::Fuel, Preemption::Epoch, Preemption::Signal];

fn sources() -> impl Iterator<Item = Preemption> {
    let works = |source: &Preemption| Engine::new(&config(*source)).is_ok();
    ALL.into_iter().filter(works)
}

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
  (global $turns (export "turns") (mut i64) (i64.const 0))
  (func (export "sleep") (param i32) (call $sleep (local.get 0)))
  (func (export "pass") (call $pass))
  (func (export "join") (param i64) (call $join (local.get 0)))
  (func (export "yield") (param i32)
    (loop $again
      (call $yield)
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0))))
  (func (export "spin")
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again)))
  (func (export "count") (param i64)
    (loop $again
      (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
      (br_if $again (i64.ne (local.get 0) (i64.const 0))))))
"#;

struct Guests {
    linker: Linker<Data>,
    module: Module,
    store: Store<Data>,
}

impl Guests {
    fn new(source: Preemption) -> Guests {
        let engine = Engine::new(&config(source)).unwrap();
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
                        let id = caller.current_wasm_thread().unwrap();
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
        let instance = self
            .linker
            .instantiate(&mut self.store, &self.module)
            .unwrap();
        let func = instance.get_func(&mut self.store, name).unwrap();
        self.store.spawn_wasm_thread(func, params).unwrap()
    }

    fn run(&mut self, time: Duration) -> RunSummary {
        self.store.run_wasm_threads_for(time).unwrap()
    }

    fn state(&self, id: ThreadId) -> ThreadState {
        self.store.wasm_thread(id).unwrap().state
    }
}

#[test]
fn sleepers_sleep_at_the_same_time_and_cost_no_cpu() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let ids: Vec<ThreadId> = (0..50)
            .map(|_| guests.spawn("sleep", &[Val::I32(60)]))
            .collect();
        let run = guests.run(Duration::MAX);
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(run.elapsed >= ms(60), "{source}: {:?}", run.elapsed);
        assert!(run.elapsed < ms(1_000), "{source}: {:?}", run.elapsed);
        // Once until it sleeps, and once after that, or a few times more.
        assert!(run.dispatches <= 120, "{source}: {}", run.dispatches);
        for id in ids {
            let exit = guests.store.take_wasm_thread_exit(id);
            assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
        }
    }
}

#[test]
fn a_sleeper_is_woken_beside_one_that_never_yields() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let spin = guests.spawn("spin", &[]);
        let sleeper = guests.spawn("sleep", &[Val::I32(30)]);
        let run = guests.run(ms(300));
        assert_eq!(run.end, RunEnd::TimeUp, "{source}");
        assert_eq!(guests.state(sleeper), ThreadState::Finished, "{source}");
        assert_eq!(guests.state(spin), ThreadState::Ready, "{source}");
    }
}

#[test]
fn a_run_ends_in_time_while_all_sleep_and_the_next_goes_on() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let sleeper = guests.spawn("sleep", &[Val::I32(100)]);
        let run = guests.run(ms(20));
        assert_eq!(run.end, RunEnd::TimeUp, "{source}");
        assert!(
            run.elapsed >= ms(20) && run.elapsed < ms(90),
            "{:?}",
            run.elapsed
        );
        let info = guests.store.wasm_thread(sleeper).unwrap();
        assert_eq!(info.state, ThreadState::Parked);
        assert!(matches!(info.waits_for, Some(WaitFor::Time(_))), "{info:?}");
        assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
    }
}

#[test]
fn a_thread_is_woken_from_another_os_thread() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let gate = guests.store.data().gate.clone();
        let ids = [(); 3].map(|()| guests.spawn("pass", &[]));
        let opener = thread::spawn(move || {
            while gate.waiting() < 3 {
                thread::yield_now();
            }
            thread::sleep(ms(20));
            gate.open();
        });
        let run = guests.run(Duration::MAX);
        opener.join().unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        let log = ids.map(|id| format!("{id} passed"));
        assert_eq!(
            guests.store.data().log,
            log,
            "in the order in which they were woken"
        );
    }
}

#[test]
fn a_wake_interrupts_a_sibling_that_has_the_cpu_to_itself() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let gate = guests.store.data().gate.clone();
        guests.spawn("pass", &[]);
        guests.spawn("spin", &[]);
        let opener = thread::spawn(move || {
            while gate.waiting() < 1 {
                thread::yield_now();
            }
            thread::sleep(ms(50));
            gate.open();
        });
        guests.run(ms(400));
        opener.join().unwrap();
        assert_eq!(guests.store.data().log.len(), 1, "{source}");
    }
}

#[test]
fn join_waits_for_the_end_whichever_way_it_comes() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let sleeper = guests.spawn("sleep", &[Val::I32(30)]);
        let spin = guests.spawn("spin", &[]);
        let joins = [sleeper, spin].map(|id| guests.spawn("join", &[Val::I64(id.as_u64() as i64)]));
        let run = guests.run(ms(100));
        assert_eq!(run.end, RunEnd::TimeUp, "{source}");
        assert_eq!(guests.state(joins[0]), ThreadState::Finished, "{source}");
        let waits_for = guests.store.wasm_thread(joins[1]).unwrap().waits_for;
        assert_eq!(waits_for, Some(WaitFor::Thread(spin)));
        guests.store.kill_wasm_thread(spin).unwrap();
        assert_eq!(
            guests.run(Duration::MAX).end,
            RunEnd::AllFinished,
            "{source}"
        );
    }
}

#[test]
fn threads_that_wait_for_each_other_are_reported() {
    for source in sources() {
        let mut guests = Guests::new(source);
        // The first waits for the second, and that for the first.
        let first = guests.spawn("join", &[Val::I64(2)]);
        let second = guests.spawn("join", &[Val::I64(1)]);
        let start = Instant::now();
        let run = guests.run(Duration::from_secs(20));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(run.end, RunEnd::Deadlock, "{source}");
        let expected = [
            (first, WaitFor::Thread(second)),
            (second, WaitFor::Thread(first)),
        ];
        assert_eq!(run.deadlocked, expected);
        // Nothing is lost: one of them can be ended.
        guests.store.kill_wasm_thread(first).unwrap();
        assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
    }
}

#[test]
fn a_thread_whose_wakers_are_all_gone_is_reported() {
    for source in sources() {
        let mut guests = Guests::new(source);
        let id = guests.spawn("pass", &[]);
        assert_eq!(
            guests.run(ms(10)).end,
            RunEnd::TimeUp,
            "somebody has its waker"
        );
        guests.store.data().gate.0.lock().unwrap().1.clear();
        let run = guests.run(Duration::MAX);
        assert_eq!(run.end, RunEnd::Deadlock, "{source}");
        assert_eq!(run.deadlocked, [(id, WaitFor::Future)]);
    }
}

#[test]
fn yielding_lets_the_others_go_first() {
    for source in sources() {
        let mut guests = Guests::new(source);
        guests.spawn("yield", &[Val::I32(1_000)]);
        guests.spawn("yield", &[Val::I32(1_000)]);
        let run = guests.run(Duration::MAX);
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(run.dispatches >= 2_000, "{}", run.dispatches);
    }
}

/// Counts how many there are.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn the_future_of_a_thread_that_is_killed_or_shut_down_is_dropped_at_once() {
    for source in sources() {
        let engine = Engine::new(&config(source)).unwrap();
        let alive = Arc::new(AtomicUsize::new(0));
        let mut linker = Linker::<()>::new(&engine);
        let count = alive.clone();
        linker
            .func_wrap_concurrent("host", "never", move |_, ()| {
                count.fetch_add(1, Ordering::SeqCst);
                let counted = Counted(count.clone());
                Box::pin(async move {
                    let _counted = counted;
                    future::pending::<()>().await
                })
            })
            .unwrap();
        let wat =
            r#"(module (import "host" "never" (func $never)) (func (export "run") (call $never)))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        let ids = [(); 3].map(|()| {
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            store.spawn_wasm_thread(run, &[]).unwrap()
        });
        assert_eq!(
            store.run_wasm_threads_for(Duration::MAX).unwrap().end,
            RunEnd::Deadlock
        );
        assert_eq!(alive.load(Ordering::SeqCst), 3, "{source}");
        store.kill_wasm_thread(ids[0]).unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 2, "{source}");
        assert_eq!(store.shutdown_wasm_threads(), 2);
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{source}");
    }
}

#[test]
fn a_plain_asynchronous_call_waits_and_a_synchronous_one_fails() {
    let mut guests = Guests::new(Preemption::Epoch);
    let instance = guests
        .linker
        .instantiate(&mut guests.store, &guests.module)
        .unwrap();
    let sleep = instance
        .get_typed_func::<u32, ()>(&mut guests.store, "sleep")
        .unwrap();
    let error = sleep.call(&mut guests.store, 10).unwrap_err();
    let error = error.root_cause().to_string();
    assert!(
        error.contains("spawn a guest thread, or use `call_async`"),
        "{error}"
    );

    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(sleep.call_async(&mut guests.store, 30))
        .unwrap();
    assert!(start.elapsed() >= ms(30));
}

#[test]
fn an_accessor_works_only_while_its_future_is_polled() {
    let engine = Engine::new(&config(Preemption::Fuel)).unwrap();
    let nested = Arc::new(AtomicBool::new(false));
    let mut linker = Linker::<u32>::new(&engine);
    let found = nested.clone();
    linker
        .func_wrap_concurrent("host", "f", move |accessor, ()| {
            let found = found.clone();
            Box::pin(async move {
                accessor.with(|_| {
                    let inner = accessor.with(|mut caller| *caller.data_mut() += 1);
                    let error = inner.unwrap_err().to_string();
                    found.store(error.contains("not within"), Ordering::SeqCst);
                })?;
                thread::scope(|scope| {
                    let elsewhere = scope.spawn(|| accessor.with(|_| ()).is_err());
                    assert!(elsewhere.join().unwrap());
                });
                accessor.with(|mut caller| *caller.data_mut() += 1)
            })
        })
        .unwrap();
    let wat = r#"(module (import "host" "f" (func $f)) (func (export "run") (call $f)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    store.spawn_wasm_thread(run, &[]).unwrap();
    store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert!(nested.load(Ordering::SeqCst));
    assert_eq!(*store.data(), 1);
}

#[test]
fn gc_references_are_refused_when_the_function_is_defined() {
    let engine = Engine::new(&config(Preemption::Fuel)).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    let defined =
        linker.func_wrap_concurrent("host", "f", |_, (_,): (Option<Rooted<ExternRef>>,)| {
            Box::pin(async {})
        });
    let error = defined.unwrap_err().to_string();
    assert!(
        error.contains("neither take nor return GC references"),
        "{error}"
    );
}
