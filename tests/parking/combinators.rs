//! Host functions may combine futures, each of which has a waker of its own.

use super::{Callers, HostFuture};
use crate::support::*;
use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;
use wasmtime::preempt::*;
use wasmtime::*;

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
async fn each_with_its_own_waker(
    parts: Vec<HostFuture<'_>>,
    enough: usize,
    counter: Counter,
) -> Vec<Result<()>> {
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    let mut wakers: Vec<Arc<PartWaker>> = Vec::new();
    let mut results = Vec::new();
    future::poll_fn(move |cx| {
        if wakers.is_empty() {
            wakers.extend(parts.iter().map(|_| {
                Arc::new(PartWaker {
                    whole: Mutex::new(cx.waker().clone()),
                    woken: AtomicBool::new(true),
                    _alive: counter.counted(),
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

for_each_preemption!(
    sleeping_and_joining_work_with_wakers_of_combinators,
    joins_that_were_given_up_leave_nothing_behind,
);

fn sleeping_and_joining_work_with_wakers_of_combinators(source: Preemption) {
    let mut guests = Callers::new(source, (), |accessor, ()| {
        Box::pin(async move {
            let first = ThreadId::from_u64(1);
            let me = accessor.current_thread()?.unwrap();
            if me == first {
                return accessor.sleep(ms(40)).await;
            }
            let start = Instant::now();
            let parts: Vec<HostFuture<'_>> = vec![
                Box::pin(accessor.sleep(ms(10))),
                Box::pin(accessor.sleep(ms(20))),
                Box::pin(accessor.join(first)),
                Box::pin(async {
                    accessor.yield_now().await;
                    Ok(())
                }),
            ];
            let all = each_with_its_own_waker(parts, 4, Counter::default()).await;
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
    let wakers = Counter::default();
    let count = wakers.clone();
    let mut guests = Callers::new(source, (), move |accessor, ()| {
        let count = count.clone();
        Box::pin(async move {
            let parts: Vec<HostFuture<'_>> = vec![
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
    let left = wakers.live();
    assert!(left < 20, "{source}: {left} wakers are still there");
}
