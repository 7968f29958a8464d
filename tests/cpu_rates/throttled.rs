//! A throttled thread can be ended, suspended and released as any parked one.

use super::*;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tokio::runtime::Builder;

for_each_preemption!(
    it_can_be_killed_from_another_os_thread,
    it_can_be_killed_between_runs_and_shut_down,
    its_wall_time_limit_ends_it,
    a_suspended_one_waits_for_both,
    another_rate_releases_it,
    another_rate_of_its_group_releases_it,
    what_it_owes_outlasts_a_change_of_its_rate,
    an_executor_goes_on_meanwhile,
    a_wake_does_not_end_the_wait,
    a_scheduler_is_told,
);

fn it_can_be_killed_from_another_os_thread(source: Preemption) {
    let (mut store, module) = guests(source);
    let id = spin(&mut store, &module, once());
    run_until_throttled(&mut store, id);
    let killer = kill_later(id.remote(&mut store).unwrap());
    run_all(&mut store);
    killer.join().unwrap();
    assert_killed(&mut store, id);
}

fn it_can_be_killed_between_runs_and_shut_down(source: Preemption) {
    let (mut store, module) = guests(source);
    let ids = [(); 3].map(|()| spin(&mut store, &module, once()));
    ids.iter()
        .for_each(|id| run_until_throttled(&mut store, *id));
    ids[0].kill(&mut store).unwrap();
    assert_killed(&mut store, ids[0]);
    assert_eq!(store.shutdown_wasm_threads(), 2);
    ids[1..]
        .iter()
        .for_each(|id| assert_killed(&mut store, *id));
    // And a store can be dropped with one.
    let id = spin(&mut store, &module, once());
    run_until_throttled(&mut store, id);
}

fn its_wall_time_limit_ends_it(source: Preemption) {
    let (mut store, module) = guests(source);
    let limits = ThreadLimits::new().cpu_rate(ONCE.0, ONCE.1);
    let options = ThreadOptions::new().limits(limits.wall_time(ms(50)));
    let id = spin(&mut store, &module, options);
    run_all(&mut store);
    let exit = id.take_exit(&mut store);
    let is_late = matches!(exit, Some(Exit::OverLimit(OverLimit::WallTime { .. })));
    assert!(is_late, "{exit:?}");
}

fn a_suspended_one_waits_for_both(source: Preemption) {
    let (mut store, module) = guests(source);
    let id = spin(&mut store, &module, once());
    run_until_throttled(&mut store, id);
    id.suspend(&mut store).unwrap();
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllSuspended);
    id.resume(&mut store).unwrap();
    assert_eq!(state(&store, id), ThreadState::Parked);
    id.suspend(&mut store).unwrap();
    id.set_limits(&mut store, ThreadLimits::new()).unwrap();
    assert_eq!(state(&store, id), ThreadState::Suspended);
    id.resume(&mut store).unwrap();
    assert_eq!(state(&store, id), ThreadState::Ready);
}

fn another_rate_releases_it(source: Preemption) {
    let (mut store, module) = guests(source);
    let id = spin(&mut store, &module, once());
    run_until_throttled(&mut store, id);
    let dispatches = stats(&store, id).dispatches;
    let faster = ThreadLimits::new().cpu_rate(ms(1), ms(1));
    id.set_limits(&mut store, faster).unwrap();
    assert_eq!(id.info(&store).unwrap().limits, faster);
    run_until(&mut store, |store| stats(store, id).dispatches > dispatches);
}

fn another_rate_of_its_group_releases_it(source: Preemption) {
    let (mut store, module) = guests(source);
    let limits = ThreadLimits::new().cpu_rate(ONCE.0, ONCE.1);
    store.wasm_threads().set_group_limits(3, limits).unwrap();
    let ids = [(); 2].map(|()| spin(&mut store, &module, ThreadOptions::new().group(3)));
    ids.iter()
        .for_each(|id| run_until_throttled(&mut store, *id));
    let none = ThreadLimits::new();
    store.wasm_threads().set_group_limits(3, none).unwrap();
    for id in ids {
        assert_eq!(state(&store, id), ThreadState::Ready);
        let dispatches = stats(&store, id).dispatches;
        run_until(&mut store, |store| stats(store, id).dispatches > dispatches);
    }
}

fn what_it_owes_outlasts_a_change_of_its_rate(source: Preemption) {
    let (mut store, module) = guests(source);
    let id = spin(&mut store, &module, once());
    run_until_throttled(&mut store, id);
    let dispatches = stats(&store, id).dispatches;
    // Nothing is left of as little at another rate.
    let limits = ThreadLimits::new().cpu_rate(ONCE.0, ONCE.1 / 2);
    id.set_limits(&mut store, limits).unwrap();
    let run = store.run_wasm_threads_for(ms(20)).unwrap();
    assert_eq!((run.dispatches, run.throttles), (0, 1));
    assert_eq!(stats(&store, id).dispatches, dispatches);
}

fn an_executor_goes_on_meanwhile(source: Preemption) {
    let (mut store, module) = guests(source);
    let options = ThreadOptions::new().cpu_rate(ms(1), ms(20));
    let params = [Val::I64(50_000_000)];
    let id = spawn_with(&mut store, &module, "sum", &params, options);
    let runtime = Builder::new_current_thread().build().unwrap();
    let (mut polls, mut pending) = (0, 0);
    let run = runtime.block_on(async {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        poll_fn(|cx| {
            polls += 1;
            let poll = run.as_mut().poll(cx);
            pending += usize::from(poll.is_pending());
            poll
        })
        .await
    });
    let run = run.unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    // It is not polled while it waits.
    assert!(run.throttles > 0 && pending > 0, "{run:?}");
    let most = 10 * (run.throttles + run.dispatches) + 100;
    assert!(polls < most, "{polls} polls: {run:?}");
    assert_eq!(stats(&store, id).throttles, run.throttles);
    returned(&mut store, id);
}

fn a_wake_does_not_end_the_wait(source: Preemption) {
    let engine = engine(source);
    let mut linker = Linker::<Option<std::task::Waker>>::new(&engine);
    linker
        .func_wrap_concurrent("", "host", |caller, ()| {
            Box::pin(async move {
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                caller.with(|mut caller| *caller.data_mut() = Some(waker))
            })
        })
        .unwrap();
    let module = Module::new(&engine, CALLS_THEN_SPINS).unwrap();
    let mut store = store_with_slice(&engine, None, short_slice(source));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let id = once().spawn(&mut store, run, &[]).unwrap();
    run_until(&mut store, |store| {
        id.info(&*store).unwrap().state == ThreadState::Parked
    });
    let dispatches = stats(&store, id).dispatches;
    store.data().as_ref().unwrap().wake_by_ref();
    let run = store.run_wasm_threads_for(ms(20)).unwrap();
    assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0));
    assert_eq!(stats(&store, id).dispatches, dispatches);
    assert_eq!(stats(&store, id).throttles, 1);
}

fn a_scheduler_is_told(source: Preemption) {
    use wasmtime_preempt::policies::{Priority, WeightedFair};
    let ticks = match short_slice(source) {
        Slice::Fuel(units) => units,
        Slice::Time(time) => time.as_nanos() as u64,
        slice => panic!("{slice}"),
    };
    for fair in [false, true] {
        let (mut store, module) = guests(source);
        let mut threads = store.wasm_threads();
        match fair {
            true => threads.set_scheduler(WeightedFair::new(ticks)).unwrap(),
            false => threads.set_scheduler(Priority::new(u64::MAX)).unwrap(),
        }
        let throttled = spin(&mut store, &module, once().priority(1));
        let (other, _) = spawn_spinner(&mut store, &module);
        run_until_throttled(&mut store, throttled);
        let dispatches = stats(&store, other).dispatches;
        run_until(&mut store, |store| {
            stats(store, other).dispatches > dispatches
        });
        assert_eq!(state(&store, throttled), ThreadState::Parked);
        let free = ThreadLimits::new();
        throttled.set_limits(&mut store, free).unwrap();
        let dispatches = stats(&store, throttled).dispatches;
        run_until(&mut store, |store| {
            stats(store, throttled).dispatches > dispatches
        });
    }
}
