//! Runs as futures: on tokio, beside its other tasks, and dropped halfway.

use crate::support::{GUESTS, config, ms};
use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use wasmtime::*;

const ALL: [Preemption; 3] = [Preemption::Fuel, Preemption::Epoch, Preemption::Signal];

fn sources() -> impl Iterator<Item = Preemption> {
    let works = |source: &Preemption| Engine::new(&config(*source)).is_ok();
    ALL.into_iter().filter(works)
}

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

#[test]
fn a_future_runs_all_threads_to_their_end() {
    for source in sources() {
        let engine = Engine::new(&config(source)).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let calls: [(&str, &[Val]); 2] = [("answer", &[]), ("sum", &[Val::I64(5_000_000)])];
        let (mut store, ids) = store(&engine, &module, &calls);
        let run = one_worker()
            .block_on(is_send(store.run_wasm_threads()))
            .unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert_eq!(run.finished, 2);
        let exit = store.take_wasm_thread_exit(ids[1]);
        let Some(Exit::Returned(values)) = exit else {
            panic!("{exit:?}");
        };
        assert_eq!(values[0].unwrap_i64(), 5_000_000 * 5_000_001 / 2);
    }
}

#[test]
fn other_tasks_get_their_turn_beside_one_that_never_yields() {
    for source in sources() {
        let engine = Engine::new(&config(source)).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let (mut store, _) = store(&engine, &module, &[("spin", &[])]);
        let (run, ticks) = one_worker().block_on(async {
            let ticker = tokio::spawn(async {
                let mut ticks = 0;
                loop {
                    tokio::time::sleep(ms(1)).await;
                    ticks += 1;
                    if ticks == 10 {
                        return ticks;
                    }
                }
            });
            let run = store
                .run_wasm_threads_for_async(Duration::from_secs(2))
                .await;
            (run.unwrap(), ticker.await.unwrap())
        });
        assert_eq!(run.end, RunEnd::TimeUp, "{source}");
        assert!(run.elapsed >= Duration::from_secs(2) && run.elapsed < Duration::from_secs(4));
        assert_eq!(ticks, 10);
    }
}

#[test]
fn a_future_that_is_dropped_between_two_polls_leaves_the_store_runnable() {
    for source in sources() {
        let engine = Engine::new(&config(source)).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let (mut store, ids) = store(&engine, &module, &[("spin", &[]), ("spin", &[])]);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut run = pin!(store.run_wasm_threads());
            for _ in 0..4 {
                assert!(run.as_mut().poll(&mut cx).is_pending());
            }
        }
        for id in &ids {
            assert_eq!(
                store.wasm_thread(*id).unwrap().state,
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
}

/// Counts how many there are.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_thread_that_keeps_the_store_is_ended_when_the_future_is_dropped() {
    for source in sources() {
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
            let mut run = pin!(store.run_wasm_threads());
            for _ in 0..3 {
                assert!(run.as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(alive.load(Ordering::SeqCst), 1);
        }
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{source}");
        assert!(matches!(
            store.take_wasm_thread_exit(keeper),
            Some(Exit::Killed)
        ));
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(matches!(
            store.take_wasm_thread_exit(other),
            Some(Exit::Returned(_))
        ));
        assert_eq!(*store.data(), 0);
    }
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
    store.wasm_thread_slice(Slice::Time(ms(1))).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = Box::pin(store.run_wasm_threads());
    for _ in 0..3 {
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    std::mem::forget(run);
    let error = store.run_wasm_threads_for(ms(1)).unwrap_err().to_string();
    assert!(error.contains("are being run already"), "{error}");
    assert_eq!(store.wasm_threads().count(), 3);
}

#[test]
fn threads_sleep_without_an_executor_that_has_timers() {
    for source in sources() {
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
            let mut run = pin!(store.run_wasm_threads());
            future::poll_fn(|cx| {
                polls += 1;
                run.as_mut().poll(cx)
            })
            .await
        });
        assert_eq!(run.unwrap().end, RunEnd::AllFinished, "{source}");
        assert!(start.elapsed() >= ms(30) && start.elapsed() < ms(1_000));
        assert!(polls < 40, "{polls}");
    }
}

#[test]
fn stores_move_between_workers() {
    for source in sources() {
        let engine = Engine::new(&config(source)).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(4)
            .build()
            .unwrap();
        let moved = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let tasks = (0..16).map(|_| {
                let calls: [(&str, &[Val]); 2] = [
                    ("sum", &[Val::I64(20_000_000)]),
                    ("sum", &[Val::I64(10_000_000)]),
                ];
                let (mut store, _) = store(&engine, &module, &calls);
                let moved = moved.clone();
                tokio::spawn(async move {
                    let mut run = pin!(store.run_wasm_threads());
                    let mut last = None;
                    let run = future::poll_fn(|cx| {
                        let this = Some(std::thread::current().id());
                        if last.is_some() && last != this {
                            moved.fetch_add(1, Ordering::Relaxed);
                        }
                        last = this;
                        run.as_mut().poll(cx)
                    });
                    run.await.unwrap()
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                let run = task.await.unwrap();
                assert_eq!(
                    (run.end, run.finished),
                    (RunEnd::AllFinished, 2),
                    "{source}"
                );
            }
        });
        assert!(
            moved.load(Ordering::Relaxed) > 0,
            "{source}: no store has moved"
        );
    }
}

#[test]
fn a_time_of_zero_runs_nothing() {
    let engine = Engine::new(&config(Preemption::Fuel)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, _) = store(&engine, &module, &[("spin", &[])]);
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = pin!(store.run_wasm_threads_for_async(Duration::ZERO));
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

#[test]
fn a_store_goes_to_the_back_of_a_workers_queue() {
    for source in sources() {
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
                let mut run = pin!(store.run_wasm_threads_for_async(ms(300)));
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
}
