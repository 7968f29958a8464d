//! The future of a run wakes its executor when there is something to run, and only then.

use crate::support::*;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use wasmtime::preempt::*;
use wasmtime::*;

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
    let engine = Engine::new(&config_with_shared_memory(source)).unwrap();
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

for_each_preemption!(
    an_executor_may_poll_where_it_is_woken,
    a_waker_that_panics_breaks_nothing_for_others,
    a_future_that_is_idle_is_woken_by_each_thing_that_it_waits_for,
    a_future_that_is_dropped_while_idle_is_woken_no_more,
);

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
