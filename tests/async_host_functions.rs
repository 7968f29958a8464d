//! Async host functions of guest threads. One that is pending has borrowed the
//! store, so its thread keeps it: the run sleeps until it is woken.

use crate::support::*;
use std::future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use wasmtime::preempt::*;
use wasmtime::*;

/// A guest that calls `host` n times, and another that spins then.
const WAITERS: &str = r#"
(module
  (import "" "host" (func $host (param i32) (result i32)))
  (func $sum (export "sum") (param $n i32) (result i32)
    (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $host (local.get $n))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func (export "then_spin") (param $n i32) (drop (call $sum (local.get $n))) (loop br 0))
  (memory 1 10)
  (func (export "grow") (result i32) (memory.grow (i32.const 2))))
"#;

type HostFuture<'a> = Box<dyn Future<Output = i32> + Send + 'a>;

/// A store of an engine with an async host function.
fn waiters<T: Send + 'static>(
    preemption: Preemption,
    data: T,
    host: impl for<'a> Fn(Caller<'a, T>, (i32,)) -> HostFuture<'a> + Send + Sync + 'static,
) -> (Store<T>, Linker<T>, Module) {
    let engine = engine(preemption);
    let module = Module::new(&engine, WAITERS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap_async("", "host", host).unwrap();
    let store = store_with_slice(&engine, data, short_slice(preemption));
    (store, linker, module)
}

fn spawn_waiter<T: Send + 'static>(
    (store, linker, module): &mut (Store<T>, Linker<T>, Module),
    export: &str,
    params: &[Val],
) -> ThreadId {
    let instance = linker.instantiate_async(&mut *store, module);
    let instance = now(instance).unwrap();
    spawn_in(store, instance, export, params)
}

/// Is pending once, and wakes itself at once.
fn yield_now() -> impl Future<Output = ()> + Send {
    let mut yielded = false;
    future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

for_each_preemption!(
    a_future_that_is_ready_costs_no_turn,
    a_pending_future_keeps_the_store_and_siblings_run_afterwards,
    the_run_sleeps_while_a_future_is_pending,
    a_future_may_wake_itself_at_once,
    a_future_may_be_woken_before_its_poll_returns,
    wakes_that_nobody_waits_for_are_harmless,
    a_run_ends_late_by_what_a_host_function_waits_for,
    a_future_is_dropped_once,
    an_async_host_function_is_a_thread_by_itself,
    an_error_of_a_future_ends_its_thread_only,
    tokio_wakes_the_run,
    async_calls_of_the_store_work_between_runs,
    a_run_works_inside_an_async_host_function,
    an_async_limiter_may_wait_for_a_guest_thread,
);

fn a_future_that_is_ready_costs_no_turn(preemption: Preemption) {
    let mut waiters = waiters(preemption, (), |_, (n,)| Box::new(async move { n }));
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(10)]);
    let (store, ..) = &mut waiters;
    assert_eq!(run_all(store).dispatches, 1);
    assert_eq!(bits(&returned(store, id)), [55]);
}

fn a_pending_future_keeps_the_store_and_siblings_run_afterwards(preemption: Preemption) {
    let mut waiters = waiters(
        preemption,
        None,
        |mut caller: Caller<'_, Option<Global>>, _| {
            Box::new(async move {
                let turns = caller.data().unwrap();
                let before = turns.get(&mut caller).unwrap_i64();
                after(ms(20)).await;
                assert_eq!(turns.get(&mut caller).unwrap_i64(), before);
                0
            })
        },
    );
    let guests = Module::new(waiters.0.engine(), GUESTS).unwrap();
    let (_, turns) = spawn_spinner(&mut waiters.0, &guests);
    *waiters.0.data_mut() = Some(turns);
    let id = spawn_waiter(&mut waiters, "then_spin", &[Val::I32(3)]);
    let (store, ..) = &mut waiters;
    // Both go on in the end.
    run_until(store, |store| {
        let stats = stats(store, id);
        stats.preemptions > 1 && stats.cpu_time >= ms(60)
    });
    assert!(turns.get(&mut *store).unwrap_i64() > 0);
}

fn the_run_sleeps_while_a_future_is_pending(preemption: Preemption) {
    let mut waiters = waiters(preemption, (), |_, (n,)| {
        Box::new(async move {
            after(ms(300)).await;
            n
        })
    });
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(1)]);
    let (store, ..) = &mut waiters;
    let before = os_thread_cpu_time();
    let run = run_all(store);
    let used = os_thread_cpu_time() - before;
    assert!(run.elapsed >= ms(300));
    assert!(used < ms(100), "{used:?} on the CPU");
    assert_eq!(bits(&returned(store, id)), [1]);
}

fn a_future_may_wake_itself_at_once(preemption: Preemption) {
    let mut waiters = waiters(preemption, (), |_, (n,)| {
        Box::new(async move {
            for _ in 0..n {
                yield_now().await;
            }
            n
        })
    });
    let ids = [100, 101].map(|n| spawn_waiter(&mut waiters, "sum", &[Val::I32(n)]));
    let (store, ..) = &mut waiters;
    run_all(store);
    for (id, n) in ids.into_iter().zip([100, 101]) {
        assert_eq!(bits(&returned(store, id)), [n * (n + 1) / 2]);
    }
}

fn a_future_may_be_woken_before_its_poll_returns(preemption: Preemption) {
    let mut waiters = waiters(preemption, (), |_, (n,)| {
        let mut woken = false;
        Box::new(future::poll_fn(move |cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(n);
            }
            let waker = cx.waker().clone();
            thread::spawn(|| waker.wake()).join().unwrap();
            Poll::Pending
        }))
    });
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(20)]);
    let (store, ..) = &mut waiters;
    run_all(store);
    assert_eq!(bits(&returned(store, id)), [210]);
}

fn wakes_that_nobody_waits_for_are_harmless(preemption: Preemption) {
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    let kept = wakers.clone();
    let mut waiters = waiters(preemption, (), move |_, (n,)| {
        let kept = kept.clone();
        Box::new(async move {
            let mut waiting = pin!(after(ms(5)));
            future::poll_fn(|cx| {
                // Too often, and for futures that are long done.
                cx.waker().wake_by_ref();
                let mut kept = kept.lock().unwrap();
                kept.iter().for_each(Waker::wake_by_ref);
                kept.push(cx.waker().clone());
                kept.truncate(10);
                waiting.as_mut().poll(cx)
            })
            .await;
            n
        })
    });
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(3)]);
    let (store, ..) = &mut waiters;
    run_all(store);
    assert_eq!(bits(&returned(store, id)), [6]);

    // After the run, and after the store.
    let wake_all = || wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    wake_all();
    thread::scope(|scope| scope.spawn(wake_all).join().unwrap());
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(2)]);
    let (mut store, linker, module) = waiters;
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, id)), [3]);
    drop((store, linker, module));
    wake_all();
}

fn a_run_ends_late_by_what_a_host_function_waits_for(preemption: Preemption) {
    let mut waiters = waiters(preemption, 0, |mut caller, (n,)| {
        *caller.data_mut() += 1;
        Box::new(async move {
            after(ms(60)).await;
            n
        })
    });
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(2)]);
    let (store, ..) = &mut waiters;
    while id.info(&store).unwrap().state != ThreadState::Finished {
        let waits = *store.data();
        let run = store.run_wasm_threads_for(ms(1)).unwrap();
        // On a busy machine its time may be up before the guest gets there.
        let waits = *store.data() - waits;
        assert!(run.elapsed >= ms(60) * waits, "{waits} waits: {run:?}");
    }
    assert_eq!(*store.data(), 2);
    assert_eq!(bits(&returned(store, id)), [3]);
}

fn a_future_is_dropped_once(preemption: Preemption) {
    let futures = Counter::default();
    let count = futures.clone();
    let mut waiters = waiters(preemption, (), move |_, (n,)| {
        let (count, counted) = (count.clone(), count.counted());
        Box::new(async move {
            let _counted = counted;
            yield_now().await;
            assert_eq!(count.dropped() as i32, 10 - n);
            n
        })
    });
    let id = spawn_waiter(&mut waiters, "sum", &[Val::I32(10)]);
    run_all(&mut waiters.0);
    returned(&mut waiters.0, id);
    assert_eq!(futures.dropped(), 10);
    drop(waiters.0);
    assert_eq!(futures.dropped(), 10);
}

fn an_async_host_function_is_a_thread_by_itself(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (spinner, _) = spawn_spinner(&mut store, &module);
    let host = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (n,): (i32,)| {
        Box::new(async move {
            after(ms(10)).await;
            n + 1
        })
    });
    let ids = [1, 2].map(|n| store.spawn_wasm_thread(host, &[Val::I32(n)]).unwrap());
    run_until(&mut store, |store| {
        ids.iter().all(|id| finished(store, *id))
    });
    for (id, n) in ids.into_iter().zip([1, 2]) {
        assert_eq!(bits(&returned(&mut store, id)), [n + 1]);
    }
    run_until(&mut store, |store| stats(store, spinner).dispatches > 1);
}

fn an_error_of_a_future_ends_its_thread_only(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let sum = spawn(&mut store, &module, "sum", &[Val::I64(10_000)]);
    let host = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (): ()| {
        Box::new(async move {
            yield_now().await;
            Err::<(), _>(Error::msg("too late"))
        })
    });
    let id = store.spawn_wasm_thread(host, &[]).unwrap();
    run_all(&mut store);
    assert_eq!(trapped(&mut store, id).to_string(), "too late");
    assert_eq!(bits(&returned(&mut store, sum)), [50_005_000]);
}

fn tokio_wakes_the_run(preemption: Preemption) {
    // Its own threads drive the timer while this one is in the run.
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let _entered = tokio.enter();
    let mut waiters = waiters(preemption, (), |_, (n,)| {
        Box::new(async move {
            tokio::time::sleep(ms(10)).await;
            let task = tokio::spawn(async move {
                tokio::time::sleep(ms(5)).await;
                n
            });
            task.await.unwrap()
        })
    });
    let ids = [2, 3].map(|n| spawn_waiter(&mut waiters, "sum", &[Val::I32(n)]));
    let (store, ..) = &mut waiters;
    let run = run_all(store);
    assert!(run.elapsed >= 5 * ms(15), "{run:?}");
    assert_eq!(bits(&returned(store, ids[0])), [3]);
    assert_eq!(bits(&returned(store, ids[1])), [6]);
}

fn async_calls_of_the_store_work_between_runs(preemption: Preemption) {
    let mut waiters = waiters(preemption, (), |_, (n,)| {
        Box::new(async move {
            yield_now().await;
            n
        })
    });
    let id = spawn_waiter(&mut waiters, "then_spin", &[Val::I32(4)]);
    let (store, linker, module) = &mut waiters;
    let instance = now(linker.instantiate_async(&mut *store, module)).unwrap();
    let sum = instance
        .get_typed_func::<i32, i32>(&mut *store, "sum")
        .unwrap();
    for _ in 0..5 {
        store.run_wasm_threads_for(ms(5)).unwrap();
        let mut call: Pin<Box<dyn Future<Output = _> + '_>> =
            Box::pin(sum.call_async(&mut *store, 6));
        let mut polls = 1;
        let mut cx = Context::from_waker(Waker::noop());
        let result = loop {
            match call.as_mut().poll(&mut cx) {
                Poll::Ready(result) => break result,
                Poll::Pending => polls += 1,
            }
        };
        assert_eq!((result.unwrap(), polls), (21, 7));
    }
    assert!(stats(store, id).dispatches >= 5);
}

fn a_run_works_inside_an_async_host_function(preemption: Preemption) {
    let mut waiters = waiters(preemption, (), |mut caller, (n,)| {
        Box::new(async move {
            if caller.wasm_threads().current().is_some() {
                yield_now().await;
                return n;
            }
            let run = caller
                .as_context_mut()
                .run_wasm_threads_for(ms(30))
                .unwrap();
            yield_now().await;
            run.finished as i32
        })
    });
    let inner = spawn_waiter(&mut waiters, "sum", &[Val::I32(4)]);
    let spinner = spawn_waiter(&mut waiters, "then_spin", &[Val::I32(1)]);
    let (store, linker, module) = &mut waiters;
    let instance = now(linker.instantiate_async(&mut *store, module)).unwrap();
    let sum = instance
        .get_typed_func::<i32, i32>(&mut *store, "sum")
        .unwrap();
    let result = {
        let mut call = pin!(sum.call_async(&mut *store, 1));
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(result) = call.as_mut().poll(&mut cx) {
                break result;
            }
        }
    };
    assert_eq!(result.unwrap(), 1);
    assert_eq!(bits(&returned(store, inner)), [10]);
    assert!(stats(store, spinner).dispatches >= 1);
    assert_eq!(store.shutdown_wasm_threads(), 1);
}

/// Waits before it lets a memory grow.
struct Patient(usize);

#[async_trait::async_trait]
impl ResourceLimiterAsync for Patient {
    async fn memory_growing(
        &mut self,
        current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        if current > 0 {
            after(ms(10)).await;
            self.0 += 1;
        }
        Ok(true)
    }

    async fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(true)
    }
}

fn an_async_limiter_may_wait_for_a_guest_thread(preemption: Preemption) {
    let mut waiters = waiters(preemption, Patient(0), |_, (n,)| Box::new(async move { n }));
    waiters.0.limiter_async(|patient| patient);
    let ids = [(); 2].map(|()| spawn_waiter(&mut waiters, "grow", &[]));
    let (store, ..) = &mut waiters;
    run_all(store);
    for id in ids {
        assert_eq!(bits(&returned(store, id)), [1]);
    }
    assert_eq!(store.data().0, 2);
}
