//! Runs as futures: on tokio, beside its other tasks, and dropped halfway.

mod dropped_runs;
mod shares;
mod traces;
mod wakers;

use crate::support::*;
use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
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
    threads_sleep_without_an_executor_that_has_timers,
    stores_share_the_workers_of_a_runtime,
    each_poll_may_be_on_another_os_thread,
    a_store_goes_to_the_back_of_a_workers_queue,
    what_others_do_while_a_thread_keeps_the_store_is_not_its_cpu_time,
    a_guest_may_run_another_store_to_its_end,
    stores_whose_threads_sleep_and_compute_move_between_workers,
);

fn a_future_runs_all_threads_to_their_end(source: Preemption) {
    let engine = engine(source);
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
    let engine = engine(source);
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

fn threads_sleep_without_an_executor_that_has_timers(source: Preemption) {
    let engine = engine(source);
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
    let engine = engine(source);
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
    let engine = engine(source);
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
    let engine = engine(Preemption::Fuel);
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
    let engine = engine(source);
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
    let engine = engine(source);
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

fn a_guest_may_run_another_store_to_its_end(source: Preemption) {
    let engine = engine(source);
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
