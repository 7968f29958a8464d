//! Guest threads that wait in concurrent host functions: their siblings run on.

use crate::support::{
    HANG, config, finished, for_each_preemption, in_own_process, ms, run_until, run_until_parked,
};
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
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
        id.info(&self.store).unwrap().state
    }
}

for_each_preemption!(
    sleepers_sleep_at_the_same_time_and_cost_no_cpu,
    a_sleeper_is_woken_beside_one_that_never_yields,
    a_run_ends_in_time_while_all_sleep_and_the_next_goes_on,
    a_thread_is_woken_from_another_os_thread,
    a_wake_interrupts_a_sibling_that_has_the_cpu_to_itself,
    join_waits_for_the_end_whichever_way_it_comes,
    threads_that_wait_for_each_other_are_reported,
    a_thread_whose_wakers_are_all_gone_is_reported,
    yielding_lets_the_others_go_first,
    the_future_of_a_thread_that_is_killed_or_shut_down_is_dropped_at_once,
    a_wake_within_a_poll_is_not_lost_by_what_a_nested_guest_does,
    threads_that_are_suspended_while_they_sleep_keep_no_run_from_ending,
    one_that_waits_for_a_thread_with_a_wall_time_limit_is_not_deadlocked,
    a_future_that_panics_while_it_is_dropped_loses_no_request,
    a_future_that_panics_in_a_poll_ends_its_thread_only,
    sleeping_and_joining_work_with_wakers_of_combinators,
    joins_that_were_given_up_leave_nothing_behind,
    a_run_that_sleeps_is_woken_by_requests_and_limits,
    wakers_outlive_the_thread_and_the_store,
    a_thread_that_is_woken_while_suspended_goes_on_when_it_is_resumed,
);

fn sleepers_sleep_at_the_same_time_and_cost_no_cpu(source: Preemption) {
    let mut guests = Guests::new(source);
    let ids: Vec<ThreadId> = (0..50)
        .map(|_| guests.spawn("sleep", &[Val::I32(500)]))
        .collect();
    let run = guests.run(Duration::MAX);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.elapsed >= ms(500), "{source}: {:?}", run.elapsed);
    // One after the other they take longer on any machine.
    assert!(run.elapsed < 50 * ms(500), "{source}: {:?}", run.elapsed);
    // Once until it sleeps, and once after that, or a few times more.
    assert!(run.dispatches <= 120, "{source}: {}", run.dispatches);
    for id in ids {
        let exit = id.take_exit(&mut guests.store);
        assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
    }
}

fn a_sleeper_is_woken_beside_one_that_never_yields(source: Preemption) {
    let mut guests = Guests::new(source);
    let spin = guests.spawn("spin", &[]);
    let sleeper = guests.spawn("sleep", &[Val::I32(30)]);
    run_until(&mut guests.store, |store| finished(store, sleeper));
    assert_eq!(guests.state(spin), ThreadState::Ready, "{source}");
}

fn a_run_ends_in_time_while_all_sleep_and_the_next_goes_on(source: Preemption) {
    let mut guests = Guests::new(source);
    let sleeper = guests.spawn("sleep", &[Val::I32(2_000)]);
    let before = Instant::now();
    let run = guests.run(ms(20));
    let after = Instant::now();
    assert_eq!(run.end, RunEnd::TimeUp, "{source}");
    assert!(run.elapsed >= ms(20), "{:?}", run.elapsed);
    let info = sleeper.info(&guests.store).unwrap();
    assert_eq!(info.state, ThreadState::Parked);
    let Some(WaitFor::Time(until)) = info.waits_for else {
        panic!("{info:?}");
    };
    assert!(until >= before + ms(2_000) && until < after + ms(2_000));
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
}

fn a_thread_is_woken_from_another_os_thread(source: Preemption) {
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

fn a_wake_interrupts_a_sibling_that_has_the_cpu_to_itself(source: Preemption) {
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
    run_until(&mut guests.store, |store| store.data().log.len() == 1);
    opener.join().unwrap();
}

fn join_waits_for_the_end_whichever_way_it_comes(source: Preemption) {
    let mut guests = Guests::new(source);
    let sleeper = guests.spawn("sleep", &[Val::I32(30)]);
    let spin = guests.spawn("spin", &[]);
    let joins = [sleeper, spin].map(|id| guests.spawn("join", &[Val::I64(id.as_u64() as i64)]));
    run_until(&mut guests.store, |store| finished(store, joins[0]));
    run_until_parked(&mut guests.store, &joins[1..]);
    let waits_for = joins[1].info(&guests.store).unwrap().waits_for;
    assert_eq!(waits_for, Some(WaitFor::Thread(spin)));
    spin.kill(&mut guests.store).unwrap();
    assert_eq!(
        guests.run(Duration::MAX).end,
        RunEnd::AllFinished,
        "{source}"
    );
}

fn threads_that_wait_for_each_other_are_reported(source: Preemption) {
    let mut guests = Guests::new(source);
    // The first waits for the second, and that for the first.
    let first = guests.spawn("join", &[Val::I64(2)]);
    let second = guests.spawn("join", &[Val::I64(1)]);
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::Deadlock, "{source}");
    let expected = [
        (first, WaitFor::Thread(second)),
        (second, WaitFor::Thread(first)),
    ];
    assert_eq!(run.deadlocked, expected);
    // Nothing is lost: one of them can be ended.
    first.kill(&mut guests.store).unwrap();
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
}

fn a_thread_whose_wakers_are_all_gone_is_reported(source: Preemption) {
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

fn yielding_lets_the_others_go_first(source: Preemption) {
    let mut guests = Guests::new(source);
    guests.spawn("yield", &[Val::I32(1_000)]);
    guests.spawn("yield", &[Val::I32(1_000)]);
    let run = guests.run(Duration::MAX);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.dispatches >= 2_000, "{}", run.dispatches);
}

/// Counts how many there are.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn the_future_of_a_thread_that_is_killed_or_shut_down_is_dropped_at_once(source: Preemption) {
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
    ids[0].kill(&mut store).unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 2, "{source}");
    assert_eq!(store.shutdown_wasm_threads(), 2);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "{source}");
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

/// A store whose `run` calls the concurrent host function `func`, and how to spawn one.
struct Caller1<T: 'static> {
    store: Store<T>,
    instance: Instance,
}

const CALLER: &str = r#"
(module
  (import "host" "f" (func $f))
  (import "host" "memory" (memory 1 1 shared))
  (global $turns (export "turns") (mut i64) (i64.const 0))
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
    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 1) (i64.const -1))))
  (func (export "spin")
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again))))
"#;

impl<T: 'static> Caller1<T> {
    fn new<F>(source: Preemption, data: T, func: F) -> Caller1<T>
    where
        F: Fn(&ConcurrentCaller<T>, ()) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>
            + Send
            + Sync
            + 'static,
    {
        let mut config = config(source);
        config.shared_memory(true);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::<T>::new(&engine);
        linker.func_wrap_concurrent("host", "f", func).unwrap();
        let mut store = Store::new(&engine, data);
        store.wasm_threads().set_sharing_allowed(true).unwrap();
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        linker.define(&store, "host", "memory", memory).unwrap();
        let module = Module::new(&engine, CALLER).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Caller1 { store, instance }
    }

    fn spawn(&mut self, name: &str, params: &[Val]) -> ThreadId {
        self.spawn_with(name, params, ThreadOptions::new())
    }

    fn spawn_with(&mut self, name: &str, params: &[Val], options: ThreadOptions) -> ThreadId {
        let func = self.instance.get_func(&mut self.store, name).unwrap();
        options.spawn(&mut self.store, func, params).unwrap()
    }

    fn run(&mut self, time: Duration) -> RunSummary {
        self.store.run_wasm_threads_for(time).unwrap()
    }

    fn state(&self, id: ThreadId) -> ThreadState {
        id.info(&self.store).unwrap().state
    }
}

fn a_wake_within_a_poll_is_not_lost_by_what_a_nested_guest_does(source: Preemption) {
    let mut guests = Caller1::new(source, None, |accessor, ()| {
        let mut polls = 0;
        Box::pin(future::poll_fn(move |cx| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            let nested = accessor.with(|mut caller| {
                let nested: Option<TypedFunc<(), ()>> = caller.data().clone();
                nested.unwrap().call(&mut caller, ())
            });
            nested.flatten().unwrap();
            Poll::Pending
        }))
    });
    let nested = guests
        .instance
        .get_typed_func(&mut guests.store, "notify_and_mismatch")
        .unwrap();
    *guests.store.data_mut() = Some(nested);
    guests.spawn("wait", &[Val::I64(-1)]);
    let caller = guests.spawn("run", &[]);
    let run = guests.run(HANG);
    assert_eq!(guests.state(caller), ThreadState::Finished, "{source}");
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
}

fn threads_that_are_suspended_while_they_sleep_keep_no_run_from_ending(source: Preemption) {
    let mut guests = Guests::new(source);
    let sleeper = guests.spawn("sleep", &[Val::I32(3_600_000)]);
    let passer = guests.spawn("pass", &[]);
    let joiner = guests.spawn("join", &[Val::I64(sleeper.as_u64() as i64)]);
    run_until_parked(&mut guests.store, &[sleeper, passer, joiner]);
    for id in [sleeper, passer] {
        id.suspend(&mut guests.store).unwrap();
        assert_eq!(guests.state(id), ThreadState::Suspended);
    }
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllSuspended, "{source}");
    assert_eq!(guests.state(joiner), ThreadState::Parked);
    passer.resume(&mut guests.store).unwrap();
    assert_eq!(guests.state(passer), ThreadState::Parked);
    assert_eq!(guests.run(ms(10)).end, RunEnd::TimeUp, "{source}");
}

fn one_that_waits_for_a_thread_with_a_wall_time_limit_is_not_deadlocked(source: Preemption) {
    let mut guests = Guests::new(source);
    // Nobody opens the gate any more.
    let stuck = guests.spawn("pass", &[]);
    run_until_parked(&mut guests.store, &[stuck]);
    guests.store.data().gate.0.lock().unwrap().1.clear();
    let limits = ThreadLimits::new().wall_time(ms(50));
    stuck.set_limits(&mut guests.store, limits).unwrap();
    let joiner = guests.spawn("join", &[Val::I64(stuck.as_u64() as i64)]);
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    let exit = joiner.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("of a destructor");
        }
    }
}

fn a_future_that_panics_while_it_is_dropped_loses_no_request(source: Preemption) {
    let mut guests = Caller1::new(source, (), |_, ()| {
        let panics = PanicsOnDrop;
        Box::pin(async move {
            let _panics = panics;
            future::pending().await
        })
    });
    let ids = [(); 3].map(|()| guests.spawn("run", &[]));
    assert_eq!(guests.run(HANG).end, RunEnd::Deadlock, "{source}");
    for id in ids {
        id.remote(&mut guests.store).unwrap().kill();
    }
    for left in (0..3).rev() {
        let run = || guests.store.run_wasm_threads_for(HANG);
        assert!(
            panic::catch_unwind(AssertUnwindSafe(run)).is_err(),
            "{source}: {left} left"
        );
    }
    assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
}

fn a_future_that_panics_in_a_poll_ends_its_thread_only(source: Preemption) {
    let mut guests = Caller1::new(source, (), |accessor, ()| {
        Box::pin(async move {
            accessor.sleep(ms(5)).await?;
            panic!("of a future")
        })
    });
    let ids = [(); 2].map(|()| guests.spawn("run", &[]));
    for id in ids {
        let run = || guests.store.run_wasm_threads_for(Duration::MAX);
        assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(guests.state(id), ThreadState::Finished, "{source}");
    }
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
}

/// The waker of a part of a future, as a combinator makes them.
struct PartWaker {
    whole: Mutex<Waker>,
    woken: AtomicBool,
    _alive: Counted,
}

impl Wake for PartWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.whole.lock().unwrap().wake_by_ref();
    }
}

/// Polls each of `parts` only when its own waker was woken, until `enough` are ready.
async fn each_with_its_own_waker<'a, R>(
    parts: Vec<Pin<Box<dyn Future<Output = R> + Send + 'a>>>,
    enough: usize,
    alive: Arc<AtomicUsize>,
) -> Vec<R> {
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    let mut wakers: Vec<Arc<PartWaker>> = Vec::new();
    let mut results = Vec::new();
    future::poll_fn(move |cx| {
        if wakers.is_empty() {
            wakers.extend(parts.iter().map(|_| {
                alive.fetch_add(1, Ordering::SeqCst);
                Arc::new(PartWaker {
                    whole: Mutex::new(cx.waker().clone()),
                    woken: AtomicBool::new(true),
                    _alive: Counted(alive.clone()),
                })
            }));
        }
        for (part, waker) in parts.iter_mut().zip(&wakers) {
            *waker.whole.lock().unwrap() = cx.waker().clone();
            if let Some(future) = part
                && waker.woken.swap(false, Ordering::SeqCst)
            {
                let waker = Waker::from(waker.clone());
                if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    results.push(result);
                    *part = None;
                }
            }
        }
        match results.len() >= enough {
            true => Poll::Ready(std::mem::take(&mut results)),
            false => Poll::Pending,
        }
    })
    .await
}

fn sleeping_and_joining_work_with_wakers_of_combinators(source: Preemption) {
    let mut guests = Caller1::new(source, (), |accessor, ()| {
        Box::pin(async move {
            let first = ThreadId::from_u64(1);
            let me = accessor.current_thread()?.unwrap();
            if me == first {
                return accessor.sleep(ms(40)).await;
            }
            let start = Instant::now();
            let parts: Vec<Pin<Box<dyn Future<Output = Result<()>> + Send>>> = vec![
                Box::pin(accessor.sleep(ms(10))),
                Box::pin(accessor.sleep(ms(20))),
                Box::pin(accessor.join(first)),
                Box::pin(async {
                    accessor.yield_now().await;
                    Ok(())
                }),
            ];
            let all = each_with_its_own_waker(parts, 4, Arc::default()).await;
            assert!(start.elapsed() >= ms(20));
            all.into_iter().collect()
        })
    });
    let ids = [(); 3].map(|()| guests.spawn("run", &[]));
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.elapsed >= ms(40));
    assert!(run.dispatches < 60, "{source}: {}", run.dispatches);
    for id in ids {
        let exit = id.take_exit(&mut guests.store);
        assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
    }
}

fn joins_that_were_given_up_leave_nothing_behind(source: Preemption) {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = alive.clone();
    let mut guests = Caller1::new(source, (), move |accessor, ()| {
        let count = count.clone();
        Box::pin(async move {
            let parts: Vec<Pin<Box<dyn Future<Output = Result<()>> + Send>>> = vec![
                Box::pin(accessor.join(ThreadId::from_u64(1))),
                Box::pin(async { Ok(()) }),
            ];
            let first = each_with_its_own_waker(parts, 1, count).await;
            first.into_iter().collect()
        })
    });
    guests.spawn("wait", &[Val::I64(-1)]);
    let caller = guests.spawn("run_times", &[Val::I32(2_000)]);
    run_until(&mut guests.store, |store| finished(store, caller));
    let left = alive.load(Ordering::SeqCst);
    assert!(left < 20, "{source}: {left} wakers are still there");
}

/// The most that this process ever had in memory, in KiB.
fn most_resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

#[test]
fn a_thread_that_wakes_itself_for_ever_takes_no_memory() {
    let name = "a_thread_that_wakes_itself_for_ever_takes_no_memory";
    in_own_process(module_path!(), name, || {
        let mut guests = Caller1::new(Preemption::Epoch, (), |_, ()| {
            Box::pin(future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(()))
            }))
        });
        guests.spawn("run_for_ever", &[]);
        guests.run(ms(10));
        let before = most_resident_kib();
        guests.run(ms(600));
        let grown = most_resident_kib() - before;
        assert!(grown < 2_000, "{grown} KiB");
    });
}

fn a_run_that_sleeps_is_woken_by_requests_and_limits(source: Preemption) {
    let mut guests = Guests::new(source);
    let killed = guests.spawn("sleep", &[Val::I32(3_600_000)]);
    let limited = guests.spawn("pass", &[]);
    let limits = ThreadLimits::new().wall_time(ms(60));
    limited.set_limits(&mut guests.store, limits).unwrap();
    let handle = killed.remote(&mut guests.store).unwrap();
    let killer = thread::spawn(move || {
        thread::sleep(ms(20));
        handle.kill();
    });
    let run = guests.run(HANG);
    killer.join().unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.elapsed >= ms(60));
    assert!(run.dispatches <= 4, "{source}: {}", run.dispatches);
    let exit = killed.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(Exit::Killed)), "{exit:?}");
    let exit = limited.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
    // Who had its waker may wake it all the same.
    guests.store.data().gate.open();
}

fn wakers_outlive_the_thread_and_the_store(source: Preemption) {
    let mut guests = Guests::new(source);
    let gate = guests.store.data().gate.clone();
    let killed = guests.spawn("pass", &[]);
    let other = guests.spawn("pass", &[]);
    run_until_parked(&mut guests.store, &[killed, other]);
    killed.kill(&mut guests.store).unwrap();
    drop(guests);
    assert_eq!(gate.waiting(), 2, "{source}");
    thread::spawn(move || gate.open()).join().unwrap();
}

fn a_thread_that_is_woken_while_suspended_goes_on_when_it_is_resumed(source: Preemption) {
    let mut guests = Guests::new(source);
    let ids = [(); 2].map(|()| guests.spawn("pass", &[]));
    run_until_parked(&mut guests.store, &ids);
    for id in ids {
        id.suspend(&mut guests.store).unwrap();
    }
    // One is resumed before it is woken, and one after that.
    ids[0].resume(&mut guests.store).unwrap();
    guests.store.data().gate.open();
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllSuspended, "{source}");
    assert_eq!(guests.state(ids[0]), ThreadState::Finished);
    ids[1].resume(&mut guests.store).unwrap();
    assert_eq!(guests.state(ids[1]), ThreadState::Ready);
    assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
}

#[test]
fn what_a_parked_thread_holds_is_not_collected() {
    for source in [Preemption::Fuel, Preemption::Epoch] {
        let mut config = config(source);
        config.wasm_gc(true).wasm_function_references(true);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap_concurrent("host", "f", |accessor, ()| {
                Box::pin(async move {
                    accessor.sleep(ms(5)).await?;
                    accessor.with(|mut caller| caller.gc(None))?
                })
            })
            .unwrap();
        let wat = r#"(module
            (import "host" "f" (func $f))
            (type $box (struct (field i32)))
            (func (export "f") (param i32) (result i32)
              (local $box (ref null $box))
              (local.set $box (struct.new $box (local.get 0)))
              (call $f)
              (drop (struct.new $box (i32.const -1)))
              (call $f)
              (struct.get $box 0 (local.get $box))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        let ids = [1, 2, 3, 4].map(|n| {
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let func = instance.get_func(&mut store, "f").unwrap();
            (n, store.spawn_wasm_thread(func, &[Val::I32(n)]).unwrap())
        });
        while store.run_wasm_threads_for(ms(1)).unwrap().end == RunEnd::TimeUp {
            store.gc(None).unwrap();
        }
        for (n, id) in ids {
            let exit = id.take_exit(&mut store);
            let Some(Exit::Returned(values)) = exit else {
                panic!("{exit:?}");
            };
            assert_eq!(values[0].unwrap_i32(), n, "{source}");
        }
    }
}
