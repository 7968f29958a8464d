//! Runs as futures: on tokio, beside its other tasks, and dropped halfway.

use crate::support::{
    GUESTS, HANG, after, config, for_each_preemption, ms, must_end, os_thread_cpu_time,
};
use std::future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use wasmtime::preempt::*;
use wasmtime::*;

fn one_worker() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// A store with one thread for each of `calls`, each in an instance of its own.
fn store(engine: &Engine, module: &Module, calls: &[(&str, &[Val])]) -> (Store<()>, Vec<ThreadId>) {
    let mut store = Store::new(engine, ());
    let ids = calls
        .iter()
        .map(|(name, params)| {
            let instance = Instance::new(&mut store, module, &[]).unwrap();
            let func = instance.get_func(&mut store, name).unwrap();
            store.spawn_wasm_thread(func, params).unwrap()
        })
        .collect();
    (store, ids)
}

fn is_send<T: Send>(value: T) -> T {
    value
}

for_each_preemption!(
    a_future_runs_all_threads_to_their_end,
    other_tasks_get_their_turn_beside_one_that_never_yields,
    a_future_that_is_dropped_between_two_polls_leaves_the_store_runnable,
    a_thread_that_keeps_the_store_is_ended_when_the_future_is_dropped,
    threads_sleep_without_an_executor_that_has_timers,
    stores_share_the_workers_of_a_runtime,
    each_poll_may_be_on_another_os_thread,
    a_store_goes_to_the_back_of_a_workers_queue,
    what_others_do_while_a_thread_keeps_the_store_is_not_its_cpu_time,
    an_executor_may_poll_where_it_is_woken,
    a_waker_that_panics_breaks_nothing_for_others,
    a_future_that_is_idle_is_woken_by_each_thing_that_it_waits_for,
    a_future_that_is_dropped_while_idle_is_woken_no_more,
    a_guest_may_run_another_store_to_its_end,
    stores_whose_threads_sleep_and_compute_move_between_workers,
);

fn a_future_runs_all_threads_to_their_end(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let calls: [(&str, &[Val]); 2] = [("answer", &[]), ("sum", &[Val::I64(5_000_000)])];
    let (mut store, ids) = store(&engine, &module, &calls);
    let run = one_worker()
        .block_on(is_send(store.run_wasm_threads_async(Duration::MAX)))
        .unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert_eq!(run.finished, 2);
    let exit = ids[1].take_exit(&mut store);
    let Some(Exit::Returned(values)) = exit else {
        panic!("{exit:?}");
    };
    assert_eq!(values[0].unwrap_i64(), 5_000_000 * 5_000_001 / 2);
}

fn other_tasks_get_their_turn_beside_one_that_never_yields(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, _) = store(&engine, &module, &[("spin", &[])]);
    let run = one_worker().block_on(async {
        let mut ticker = pin!(tokio::spawn(async {
            for _ in 0..10 {
                tokio::time::sleep(ms(1)).await;
            }
        }));
        {
            // The ticks come while this goes on.
            let mut run = pin!(store.run_wasm_threads_async(HANG));
            future::poll_fn(|cx| {
                assert!(run.as_mut().poll(cx).is_pending(), "{source}");
                ticker.as_mut().poll(cx)
            })
            .await
            .unwrap();
        }
        store.run_wasm_threads_async(ms(20)).await.unwrap()
    });
    assert_eq!(run.end, RunEnd::TimeUp, "{source}");
    assert!(run.elapsed >= ms(20), "{source}: {run:?}");
}

fn a_future_that_is_dropped_between_two_polls_leaves_the_store_runnable(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, ids) = store(&engine, &module, &[("spin", &[]), ("spin", &[])]);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        for _ in 0..4 {
            assert!(run.as_mut().poll(&mut cx).is_pending());
        }
    }
    for id in &ids {
        assert_eq!(
            id.info(&store).unwrap().state,
            ThreadState::Ready,
            "{source}"
        );
    }
    assert_eq!(
        store.run_wasm_threads_for(ms(5)).unwrap().end,
        RunEnd::TimeUp
    );
    assert_eq!(store.shutdown_wasm_threads(), 2);
}

/// Counts how many there are.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn a_thread_that_keeps_the_store_is_ended_when_the_future_is_dropped(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let alive = Arc::new(AtomicUsize::new(0));
    let mut linker = Linker::<u32>::new(&engine);
    let count = alive.clone();
    linker
        .func_wrap_async("host", "f", move |mut caller: Caller<'_, u32>, ()| {
            count.fetch_add(1, Ordering::SeqCst);
            let counted = Counted(count.clone());
            Box::new(async move {
                let _counted = counted;
                let data = caller.data_mut();
                future::pending::<()>().await;
                *data += 1;
            })
        })
        .unwrap();
    let wat = r#"(module
            (import "host" "f" (func $f))
            (func (export "f") (call $f))
            (func (export "nothing")))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, 0);
    let mut spawn = |name| {
        let instance = linker.instantiate_async(&mut store, &module);
        let instance = one_worker().block_on(instance).unwrap();
        let func = instance.get_func(&mut store, name).unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap()
    };
    let (keeper, other) = (spawn("f"), spawn("nothing"));
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        for _ in 0..3 {
            assert!(run.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(alive.load(Ordering::SeqCst), 1);
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0, "{source}");
    assert!(matches!(keeper.take_exit(&mut store), Some(Exit::Killed)));
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(matches!(
        other.take_exit(&mut store),
        Some(Exit::Returned(_))
    ));
    assert_eq!(*store.data(), 0);
}

#[test]
fn a_future_that_is_forgotten_leaks_the_thread_that_keeps_the_store_and_nothing_else() {
    let engine = Engine::new(&config(Preemption::Epoch)).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap_async("host", "f", |_: Caller<'_, ()>, ()| {
            Box::new(future::pending::<()>())
        })
        .unwrap();
    let wat = r#"(module
        (import "host" "f" (func $f))
        (func (export "f") (call $f))
        (func (export "spin") (loop (br 0))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    for name in ["spin", "f", "spin"] {
        let instance = linker.instantiate_async(&mut store, &module);
        let instance = one_worker().block_on(instance).unwrap();
        let func = instance.get_func(&mut store, name).unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap();
    }
    store.wasm_threads().set_slice(Slice::Time(ms(1))).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = Box::pin(store.run_wasm_threads_async(Duration::MAX));
    for _ in 0..3 {
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    std::mem::forget(run);
    // The thread that kept the store has no stack any more. The others go on.
    store.run_wasm_threads_for(ms(50)).unwrap();
    let states: Vec<_> = store
        .wasm_threads()
        .iter()
        .map(|thread| thread.state)
        .collect();
    use ThreadState::{Finished, Ready};
    assert_eq!(states, [Ready, Finished, Ready]);
    assert_eq!(store.shutdown_wasm_threads(), 2);
}

fn threads_sleep_without_an_executor_that_has_timers(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap_concurrent("host", "f", |accessor, ()| {
            Box::pin(async move { accessor.sleep(ms(30)).await })
        })
        .unwrap();
    let wat = r#"(module (import "host" "f" (func $f)) (func (export "f") (call $f)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    for _ in 0..10 {
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let func = instance.get_func(&mut store, "f").unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap();
    }
    let start = Instant::now();
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut polls = 0;
    let run = runtime.block_on(async {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        future::poll_fn(|cx| {
            polls += 1;
            run.as_mut().poll(cx)
        })
        .await
    });
    assert_eq!(run.unwrap().end, RunEnd::AllFinished, "{source}");
    assert!(start.elapsed() >= ms(30));
    assert!(polls < 40, "{polls}");
}

const WORK: [(&str, &[Val]); 2] = [
    ("sum", &[Val::I64(60_000_000)]),
    ("sum", &[Val::I64(90_000_000)]),
];

fn stores_share_the_workers_of_a_runtime(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks = (0..16).map(|_| {
            let (mut store, _) = store(&engine, &module, &WORK);
            tokio::spawn(async move { store.run_wasm_threads_async(Duration::MAX).await.unwrap() })
        });
        for task in tasks.collect::<Vec<_>>() {
            let run = task.await.unwrap();
            let end = (run.end, run.finished);
            assert_eq!(end, (RunEnd::AllFinished, 2), "{source}");
        }
    });
}

fn each_poll_may_be_on_another_os_thread(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, _) = store(&engine, &module, &WORK);
    let mut run = Box::pin(store.run_wasm_threads_async(Duration::MAX));
    let mut polls = 0;
    let run = loop {
        polls += 1;
        let poll = thread::scope(|scope| {
            let poll = || {
                let mut cx = Context::from_waker(Waker::noop());
                run.as_mut().poll(&mut cx)
            };
            scope.spawn(poll).join().unwrap()
        });
        if let Poll::Ready(run) = poll {
            break run.unwrap();
        }
    };
    let end = (run.end, run.finished);
    assert_eq!(end, (RunEnd::AllFinished, 2), "{source}");
    assert!(polls > 1, "{source}: {polls} polls");
}

#[test]
fn a_time_of_zero_runs_nothing() {
    let engine = Engine::new(&config(Preemption::Fuel)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, _) = store(&engine, &module, &[("spin", &[])]);
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = pin!(store.run_wasm_threads_async(Duration::ZERO));
    let Poll::Ready(Ok(run)) = run.as_mut().poll(&mut cx) else {
        panic!("it is over at once");
    };
    assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0));
}

/// Is pending once, having woken itself.
async fn go_to_the_back() {
    let mut gone = false;
    future::poll_fn(|cx| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn a_store_goes_to_the_back_of_a_workers_queue(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, _) = store(&engine, &module, &[("spin", &[])]);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let turns = Arc::new(AtomicUsize::new(0));
    let other = turns.clone();
    runtime.spawn(async move {
        loop {
            other.fetch_add(1, Ordering::Relaxed);
            go_to_the_back().await;
        }
    });
    let (polls, starved) = runtime.block_on(async {
        let store = tokio::spawn(async move {
            let mut run = pin!(store.run_wasm_threads_async(ms(300)));
            let (mut polls, mut starved, mut last) = (0, 0, usize::MAX);
            future::poll_fn(|cx| {
                let now = turns.load(Ordering::Relaxed);
                polls += 1;
                starved += usize::from(now == last);
                last = now;
                run.as_mut().poll(cx).map(|_| ())
            })
            .await;
            (polls, starved)
        });
        store.await.unwrap()
    });
    assert!(polls > 3, "{source}: {polls}");
    assert_eq!(starved, 0, "{source}: of {polls} polls");
    runtime.shutdown_background();
}

fn what_others_do_while_a_thread_keeps_the_store_is_not_its_cpu_time(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap_async("host", "f", |_: Caller<'_, ()>, ()| Box::new(after(ms(5))))
        .unwrap();
    let wat = r#"(module
            (import "host" "f" (func $f))
            (func (export "f") (local i32)
              (call $f)
              (local.set 0 (i32.const 5000000))
              (loop $again
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br_if $again (local.get 0)))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate_async(&mut store, &module);
    let instance = one_worker().block_on(instance).unwrap();
    let func = instance.get_func(&mut store, "f").unwrap();
    // What it takes when nobody else has this OS thread.
    let alone = store.spawn_wasm_thread(func, &[]).unwrap();
    one_worker()
        .block_on(store.run_wasm_threads_async(Duration::MAX))
        .unwrap();
    let limit = ms(100) + 4 * alone.info(&store).unwrap().stats.cpu_time;
    let options = ThreadOptions::new().cpu_limit(limit);
    let id = options.spawn(&mut store, func, &[]).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = Box::pin(store.run_wasm_threads_async(Duration::MAX));
    assert!(run.as_mut().poll(&mut cx).is_pending());
    // Other tasks have this OS thread.
    let start = os_thread_cpu_time();
    while os_thread_cpu_time() - start < limit {}
    let run = one_worker().block_on(run);
    assert_eq!(run.unwrap().end, RunEnd::AllFinished, "{source}");
    let exit = id.take_exit(&mut store);
    assert!(
        matches!(exit, Some(Exit::Returned(_))),
        "{source}: {exit:?}"
    );
}

/// Runs its future wherever it is woken, at once.
struct Inline {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        // It is being polled: this one wakes for nothing.
        let Ok(mut future) = self.future.try_lock() else {
            return;
        };
        if let Some(polled) = &mut *future
            && polled
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        {
            *future = None;
        }
    }
}

const WAITER: &str = r#"
(module
  (import "" "memory" (memory 1 1 shared))
  (func (export "wait") (result i32)
    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
"#;

/// A store with threads that wait for the first atomic of the memory.
fn waiters(source: Preemption, count: usize) -> (Store<()>, SharedMemory, Vec<ThreadId>) {
    let mut config = config(source);
    config.shared_memory(true);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, WAITER).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let mut store = Store::new(&engine, ());
    let spawn = |_| {
        let instance = Instance::new(&mut store, &module, &[memory.clone().into()]).unwrap();
        let func = instance.get_func(&mut store, "wait").unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap()
    };
    let ids = (0..count).map(spawn).collect();
    (store, memory, ids)
}

fn an_executor_may_poll_where_it_is_woken(source: Preemption) {
    must_end(move || {
        let (mut store, memory, _) = waiters(source, 2);
        let done = Arc::new(AtomicUsize::new(0));
        let finished = done.clone();
        let task = Arc::new(Inline {
            future: Mutex::new(Some(Box::pin(async move {
                let run = store.run_wasm_threads_async(Duration::MAX).await.unwrap();
                assert_eq!(run.end, RunEnd::AllFinished);
                finished.store(1, Ordering::SeqCst);
            }))),
        });
        task.clone().wake();
        // The OS thread that notifies is the one that runs the threads.
        assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
        assert_eq!(done.load(Ordering::SeqCst), 0);
        assert_eq!(memory.atomic_notify(0, 9).unwrap(), 1);
        assert_eq!(done.load(Ordering::SeqCst), 1, "{source}");
    });
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("of a waker");
    }
}

fn a_waker_that_panics_breaks_nothing_for_others(source: Preemption) {
    must_end(move || {
        let waker = Waker::from(Arc::new(Panics));
        let mut cx = Context::from_waker(&waker);
        let (mut store, memory, _) = waiters(source, 2);
        {
            let mut run = Box::pin(store.run_wasm_threads_async(ms(10)));
            assert!(run.as_mut().poll(&mut cx).is_pending());
            // Its alarm goes off meanwhile.
            thread::sleep(ms(40));
        }
        let runtime = Builder::new_current_thread().build().unwrap();
        let run = runtime.block_on(store.run_wasm_threads_async(ms(20)));
        assert_eq!(run.unwrap().end, RunEnd::TimeUp, "{source}");
        {
            let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
            assert!(run.as_mut().poll(&mut cx).is_pending());
            let notify = || memory.atomic_notify(0, 9);
            let notify = std::panic::AssertUnwindSafe(notify);
            let _ = std::panic::catch_unwind(notify);
        }
        let _ = memory.atomic_notify(0, 9);
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls `run` once it was woken, and not before, until it is ready.
fn finish<F: Future + Unpin>(mut run: F, polls: usize) -> F::Output {
    let woken = Arc::new(Woken(AtomicUsize::new(1)));
    let waker = Waker::from(woken.clone());
    let start = Instant::now();
    let mut polled = 0;
    loop {
        assert!(start.elapsed() < HANG, "nobody has woken it");
        if woken.0.swap(0, Ordering::SeqCst) == 0 {
            thread::sleep(ms(1));
            continue;
        }
        polled += 1;
        assert!(polled <= polls, "polled {polled} times");
        if let Poll::Ready(output) = Pin::new(&mut run).poll(&mut Context::from_waker(&waker)) {
            return output;
        }
    }
}

fn a_future_that_is_idle_is_woken_by_each_thing_that_it_waits_for(source: Preemption) {
    // A notification and a request from another OS thread.
    let (mut store, memory, ids) = waiters(source, 2);
    let handle = ids[1].remote(&mut store).unwrap();
    let other = thread::spawn(move || {
        thread::sleep(ms(20));
        assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
        thread::sleep(ms(20));
        handle.kill();
    });
    let run = finish(store.run_wasm_threads_async(Duration::MAX), 4).unwrap();
    other.join().unwrap();
    assert_eq!(
        (run.end, run.finished),
        (RunEnd::AllFinished, 2),
        "{source}"
    );
    assert!(matches!(ids[1].take_exit(&mut store), Some(Exit::Killed)));

    // The end of the run's time.
    let (mut store, _, ids) = waiters(source, 1);
    let run = finish(store.run_wasm_threads_async(ms(30)), 4).unwrap();
    assert_eq!(run.end, RunEnd::TimeUp, "{source}");
    assert!(run.elapsed >= ms(30), "{source}: {:?}", run.elapsed);

    // The end of a thread's time.
    let limits = ThreadLimits::new().wall_time(ms(30));
    ids[0].set_limits(&mut store, limits).unwrap();
    let run = finish(store.run_wasm_threads_async(Duration::MAX), 4).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    let exit = ids[0].take_exit(&mut store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
}

fn a_future_that_is_dropped_while_idle_is_woken_no_more(source: Preemption) {
    let (mut store, memory, _) = waiters(source, 1);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    {
        let mut run = Box::pin(store.run_wasm_threads_async(ms(20)));
        let mut cx = Context::from_waker(&waker);
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    thread::sleep(ms(40));
    assert_eq!(memory.atomic_notify(0, 9).unwrap(), 1);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0, "{source}");
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
}

fn a_guest_may_run_another_store_to_its_end(source: Preemption) {
    let engine = Engine::new(&config(source)).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    let inner = engine.clone();
    linker
        .func_wrap_concurrent("host", "f", move |accessor, ()| {
            let (mut store, _) = store(&inner, &guests, &[("sum", &[Val::I64(3_000_000)])]);
            Box::pin(async move {
                // The inner run is a part of the outer thread's future.
                let run = store.run_wasm_threads_async(Duration::MAX).await?;
                assert_eq!(run.end, RunEnd::AllFinished);
                // And one that takes no turns with anybody, with the outer store in use.
                accessor.with(|_| store.run_wasm_threads_for(Duration::MAX))??;
                Ok(())
            })
        })
        .unwrap();
    let wat = r#"(module (import "host" "f" (func $f)) (func (export "f") (call $f)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    for _ in 0..4 {
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let func = instance.get_func(&mut store, "f").unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap();
    }
    let run = one_worker()
        .block_on(store.run_wasm_threads_async(Duration::MAX))
        .unwrap();
    assert_eq!(
        (run.end, run.finished),
        (RunEnd::AllFinished, 4),
        "{source}"
    );
}

fn stores_whose_threads_sleep_and_compute_move_between_workers(source: Preemption) {
    let mut config = config(source);
    config.async_stack_size(1 << 20);
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::<u64>::new(&engine);
    linker
        .func_wrap_concurrent("host", "f", |accessor, (micros,): (u32,)| {
            Box::pin(async move {
                accessor.sleep(Duration::from_micros(micros.into())).await?;
                accessor.with(|mut caller| *caller.data_mut() += 1)
            })
        })
        .unwrap();
    let wat = r#"(module
            (import "host" "f" (func $f (param i32)))
            (func (export "f") (param i32)
              (local $turns i32) (local $burn i32)
              (local.set $turns (i32.const 20))
              (loop $again
                (call $f (local.get 0))
                (local.set $burn (i32.const 200000))
                (loop $more
                  (br_if $more (local.tee $burn (i32.sub (local.get $burn) (i32.const 1)))))
                (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let runtime = Builder::new_multi_thread()
        .worker_threads(3)
        .build()
        .unwrap();
    let tasks = (0..8).map(|_| {
        let mut store = Store::new(&engine, 0);
        for i in 0..5 {
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let func = instance.get_func(&mut store, "f").unwrap();
            store.spawn_wasm_thread(func, &[Val::I32(100 * i)]).unwrap();
        }
        runtime.spawn(async move {
            let run = store.run_wasm_threads_async(Duration::MAX).await.unwrap();
            (run.end, run.finished, *store.data())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        let run = runtime.block_on(task).unwrap();
        assert_eq!(run, (RunEnd::AllFinished, 5, 100), "{source}");
    }
}
