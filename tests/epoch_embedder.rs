//! An embedder's own epochs keep their meaning beside slices of time: only
//! `Engine::increment_epoch` brings a deadline nearer.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::*;

/// Guests that advance the embedder's epoch themselves.
const BUMPERS: &str = r#"
(module
  (import "" "bump" (func $bump))
  (import "" "log" (func $log (param i32)))
  ;; Bumps n times, and returns how many turns that took.
  (func (export "bump") (param $n i32) (result i32)
    (local $i i32)
    (loop $again
      (call $log (local.get $n))
      (call $bump)
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $i))
  (func (export "spin") (loop br 0))
  (func (export "answer") (result i32) (i32.const 42)))
"#;

/// A store whose data is what was logged, with a slice that never ends.
fn bumpers(config: &Config) -> (Store<Vec<i32>>, Linker<Vec<i32>>, Module) {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, BUMPERS).unwrap();
    let mut linker = Linker::new(&engine);
    let bumped = engine.clone();
    linker
        .func_wrap("", "bump", move || bumped.increment_epoch())
        .unwrap();
    linker
        .func_wrap("", "log", |mut caller: Caller<'_, Vec<i32>>, n: i32| {
            caller.data_mut().push(n);
        })
        .unwrap();
    let mut store = Store::new(&engine, Vec::new());
    store.set_epoch_deadline(1 << 40);
    // Not for engines without preemption.
    let _ = store
        .wasm_threads()
        .set_slice(Slice::Time(Duration::from_secs(100)));
    (store, linker, module)
}

fn assert_interrupted(error: &Error) {
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{error:?}");
}

/// Runs two spinners on `engine` until they were preempted `n` times.
fn make_ticks(engine: &Engine, n: u64) {
    let module = Module::new(engine, GUESTS).unwrap();
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(u64::MAX);
    store
        .wasm_threads()
        .set_slice(Slice::Time(Duration::from_micros(100)))
        .unwrap();
    spawn_spinner(&mut store, &module);
    spawn_spinner(&mut store, &module);
    let mut ticks = 0;
    while ticks < n {
        ticks += store.run_wasm_threads_for(ms(20)).unwrap().preemptions;
    }
}

/// A plain call which spins with a deadline of one tick, on another OS thread.
fn spin_elsewhere(engine: &Engine) -> thread::JoinHandle<Error> {
    let module = Module::new(engine, GUESTS).unwrap();
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1);
    let spin = Instance::new(&mut store, &module, &[])
        .unwrap()
        .get_typed_func::<(), ()>(&mut store, "spin")
        .unwrap();
    let thread = thread::spawn(move || spin.call(&mut store, ()).unwrap_err());
    thread::sleep(ms(20));
    thread
}

#[test]
fn slices_do_not_bring_the_deadline_of_another_store_nearer() {
    let engine = engine(Preemption::Epoch);
    let elsewhere = spin_elsewhere(&engine);
    make_ticks(&engine, 200);
    assert!(!elsewhere.is_finished());
    engine.increment_epoch();
    assert_interrupted(&must_end(|| elsewhere.join().unwrap()));
}

#[test]
fn a_deadline_counts_increments_after_slices_have_ended() {
    let mut config = config(Preemption::Epoch);
    config.epoch_interruption(true);
    let mut stock = Config::new();
    stock.epoch_interruption(true);
    for deadline in [1, 2, 7] {
        let turns = [&config, &stock].map(|config| {
            let (mut store, linker, module) = bumpers(config);
            let preempts = store.wasm_threads().set_slice(Slice::Time(ms(1))).is_ok();
            if preempts {
                make_ticks(store.engine(), 20);
            }
            store.set_epoch_deadline(deadline);
            if preempts {
                make_ticks(store.engine(), 20);
            }
            let bump = linker.instantiate(&mut store, &module).unwrap();
            let bump = bump.get_typed_func::<i32, i32>(&mut store, "bump").unwrap();
            assert_interrupted(&bump.call(&mut store, 100).unwrap_err());
            store.data().len() as u64
        });
        assert_eq!(turns, [deadline, deadline]);
    }
}

#[test]
fn guest_threads_are_not_interrupted_by_their_own_slices() {
    let (mut store, module) = guests(Preemption::Epoch);
    store.set_epoch_deadline(1);
    let ids = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    run_until(&mut store, |store| {
        ids.iter().all(|id| stats(store, *id).preemptions > 10)
    });
    assert!(!ids.iter().any(|id| finished(&store, *id)));

    store.engine().increment_epoch();
    run_all(&mut store);
    for id in ids {
        assert_interrupted(&trapped(&mut store, id));
    }
}

/// Spawns a thread that counts its turns, without end.
fn spawn_counter(store: &mut Store<()>, turns: Arc<AtomicU64>) -> ThreadId {
    let wat = r#"(module
        (import "" "turn" (func $turn))
        (func (export "run") (loop $again (call $turn) (br $again))))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    let turn = Func::wrap(&mut *store, move || {
        turns.fetch_add(1, Ordering::Relaxed);
    });
    let instance = Instance::new(&mut *store, &module, &[turn.into()]).unwrap();
    spawn_in(store, instance, "run", &[])
}

#[test]
fn guest_threads_are_interrupted_in_the_middle_of_a_run() {
    let (mut store, module) = guests(Preemption::Epoch);
    store.set_epoch_deadline(3);
    let (spinner, _) = spawn_spinner(&mut store, &module);
    let turns = Arc::new(AtomicU64::new(0));
    let counter = spawn_counter(&mut store, turns.clone());
    let engine = store.engine().clone();
    let embedder = thread::spawn(move || {
        for _ in 0..3 {
            // It runs on.
            let start = Instant::now();
            let before = turns.load(Ordering::Relaxed);
            while turns.load(Ordering::Relaxed) < before + 100 {
                assert!(start.elapsed() < HANG);
                thread::yield_now();
            }
            engine.increment_epoch();
        }
    });
    run_all(&mut store);
    embedder.join().unwrap();
    for id in [spinner, counter] {
        assert_interrupted(&trapped(&mut store, id));
    }
}

#[test]
fn a_thread_that_is_alone_is_interrupted_too() {
    let (mut store, module) = guests(Preemption::Epoch);
    store.set_epoch_deadline(1);
    let (id, _) = spawn_spinner(&mut store, &module);
    let engine = store.engine().clone();
    let embedder = thread::spawn(move || {
        thread::sleep(ms(20));
        engine.increment_epoch();
    });
    run_all(&mut store);
    embedder.join().unwrap();
    assert_interrupted(&trapped(&mut store, id));
}

#[test]
fn the_farthest_deadline_does_not_overflow() {
    let (mut store, module) = guests(Preemption::Epoch);
    store.engine().increment_epoch();
    store.set_epoch_deadline(u64::MAX);
    let id = spawn(&mut store, &module, "fib", &[Val::I32(20)]);
    spawn_spinner(&mut store, &module);
    run_until(&mut store, |store| finished(store, id));
    store.set_epoch_deadline(u64::MAX);
    store.engine().increment_epoch();
    assert_eq!(bits(&returned(&mut store, id)), [6_765]);
    let plain = Instance::new(&mut store, &module, &[]).unwrap();
    let plain = plain.get_typed_func::<i32, i32>(&mut store, "fib").unwrap();
    assert_eq!(plain.call(&mut store, 20).unwrap(), 6_765);
}

#[test]
fn a_deadline_that_nobody_set_has_passed_only_if_epochs_were_asked_for() {
    let mut config = config(Preemption::Epoch);
    for asked_for in [false, true] {
        if asked_for {
            config.epoch_interruption(true);
        }
        let engine = Engine::new(&config).unwrap();
        engine.increment_epoch();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, ());
        let id = spawn(&mut store, &module, "answer", &[]);
        run_all(&mut store);
        if asked_for {
            assert_interrupted(&trapped(&mut store, id));
        } else {
            assert_eq!(bits(&returned(&mut store, id)), [42]);
        }
    }
}

#[test]
fn continue_lets_the_thread_go_on_with_a_new_deadline() {
    let (mut store, linker, module) = bumpers(&config(Preemption::Epoch));
    let calls = Arc::new(AtomicU64::new(0));
    let called = calls.clone();
    store.epoch_deadline_callback(move |_| {
        called.fetch_add(1, Ordering::SeqCst);
        Ok(UpdateDeadline::Continue(2))
    });
    store.set_epoch_deadline(2);
    let id = spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(100)]);
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, id)), [100]);
    assert!((49..=50).contains(&calls.load(Ordering::SeqCst)));
}

#[test]
fn interrupt_ends_that_thread_only() {
    let (mut store, linker, module) = bumpers(&config(Preemption::Epoch));
    let mut first = true;
    store.epoch_deadline_callback(move |_| {
        Ok(match std::mem::replace(&mut first, false) {
            true => UpdateDeadline::Interrupt,
            false => UpdateDeadline::Continue(1),
        })
    });
    store.set_epoch_deadline(1);
    let a = spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(10)]);
    let b = spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(20)]);
    run_all(&mut store);
    assert_interrupted(&trapped(&mut store, a));
    assert_eq!(bits(&returned(&mut store, b)), [20]);
}

#[test]
fn an_error_of_the_callback_ends_that_thread_only() {
    let (mut store, linker, module) = bumpers(&config(Preemption::Epoch));
    let mut first = true;
    store.epoch_deadline_callback(move |mut store| {
        if std::mem::replace(&mut first, false) {
            return Err(Error::msg(format!(
                "not {:?}",
                store.wasm_threads().current()
            )));
        }
        Ok(UpdateDeadline::Continue(1))
    });
    store.set_epoch_deadline(1);
    let a = spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(10)]);
    let b = spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(20)]);
    run_all(&mut store);
    let error = format!("{:?}", trapped(&mut store, a));
    assert!(error.contains(&format!("not {:?}", Some(a))), "{error}");
    assert_eq!(bits(&returned(&mut store, b)), [20]);
}

#[test]
fn yield_gives_the_turn_to_siblings() {
    let (mut store, linker, module) = bumpers(&config(Preemption::Epoch));
    let ids = [50, 51].map(|n| spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(n)]));
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    let run = run_all(&mut store);
    assert_eq!(run.preemptions, 0);
    assert!(run.dispatches >= 100, "{run:?}");
    for (id, n) in ids.into_iter().zip([50, 51]) {
        assert_eq!(bits(&returned(&mut store, id)), [n]);
    }
    // In turns, from the first to the last that both had.
    let log = store.data();
    let same = log.windows(2).filter(|turns| turns[0] == turns[1]).count();
    assert!(same <= 4, "{log:?}");
}

#[test]
fn yield_sets_the_new_deadline_before_siblings_run() {
    let (mut store, linker, module) = bumpers(&config(Preemption::Epoch));
    let calls = Arc::new(AtomicU64::new(0));
    let called = calls.clone();
    store.epoch_deadline_callback(move |_| {
        called.fetch_add(1, Ordering::SeqCst);
        Ok(UpdateDeadline::Yield(1_000_000))
    });
    store.set_epoch_deadline(1);
    spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(1)]);
    spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(2)]);
    // Reaches the deadline once, for all.
    store.engine().increment_epoch();
    run_all(&mut store);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn yield_custom_waits_for_its_future_and_keeps_the_store() {
    let (mut store, linker, module) = bumpers(&config(Preemption::Epoch));
    let pending = Arc::new(AtomicBool::new(false));
    store.epoch_deadline_callback({
        let pending = pending.clone();
        move |_| {
            let pending = pending.clone();
            let mut done = None;
            let future = std::future::poll_fn(move |cx| {
                let done = done.get_or_insert_with(|| {
                    pending.store(true, Ordering::SeqCst);
                    wake_after(ms(30), cx.waker().clone())
                });
                if !done.load(Ordering::SeqCst) {
                    return Poll::Pending;
                }
                pending.store(false, Ordering::SeqCst);
                Poll::Ready(())
            });
            Ok(UpdateDeadline::YieldCustom(1 << 40, Box::pin(future)))
        }
    });
    store.set_epoch_deadline(1);
    let watched = pending.clone();
    let watcher = Func::wrap(&mut store, move || {
        assert!(
            !watched.load(Ordering::SeqCst),
            "ran while the store was kept"
        );
    });
    let a = spawn_linked(&mut store, &linker, &module, "bump", &[Val::I32(3)]);
    store.spawn_wasm_thread(watcher, &[]).unwrap();
    let run = run_all(&mut store);
    assert!(run.elapsed >= ms(30), "{run:?}");
    assert_eq!(bits(&returned(&mut store, a)), [3]);
}

/// Is `true` after `time`, when `waker` is woken.
fn wake_after(time: Duration, waker: Waker) -> Arc<AtomicBool> {
    let done = Arc::new(AtomicBool::new(false));
    let set = done.clone();
    thread::spawn(move || {
        thread::sleep(time);
        set.store(true, Ordering::SeqCst);
        waker.wake();
    });
    done
}

/// Runs two spinners of `store`, which has to end by itself after 300 ms.
fn assert_slices_and_run_end(mut store: Store<()>, spinners: [ThreadId; 2]) {
    let (mut store, run) = must_end(move || {
        let run = store.run_wasm_threads_for(ms(300)).unwrap();
        (store, run)
    });
    assert_eq!(run.end, RunEnd::TimeUp);
    run_until(&mut store, |store| {
        let taken_turns = |id| stats(store, id).dispatches > 2;
        spinners.into_iter().all(taken_turns)
    });
}

#[test]
fn a_slice_that_is_over_ends_although_the_deadline_was_reached_too() {
    let (mut store, module) = guests(Preemption::Epoch);
    // Takes longer than the slice, so both are over when it returns.
    store.epoch_deadline_callback(|_| {
        thread::sleep(ms(5));
        Ok(UpdateDeadline::Continue(1))
    });
    store.set_epoch_deadline(1);
    store.engine().increment_epoch();
    let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    assert_slices_and_run_end(store, spinners);
}

#[test]
fn a_slice_that_is_over_ends_although_a_deadline_was_set_since() {
    let (mut store, guests) = guests(Preemption::Epoch);
    let module = Module::new(
        store.engine(),
        r#"(module
            (import "" "host" (func $host))
            (func (export "run") (call $host) (loop br 0)))"#,
    )
    .unwrap();
    let mut linker = Linker::new(store.engine());
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, ()>| {
            // Until the slice is over.
            thread::sleep(ms(5));
            caller.as_context_mut().set_epoch_deadline(1 << 40);
        })
        .unwrap();
    let spinners = [
        spawn_linked(&mut store, &linker, &module, "run", &[]),
        spawn_spinner(&mut store, &guests).0,
    ];
    assert_slices_and_run_end(store, spinners);
}

#[test]
fn slices_end_beside_an_embedder_who_ticks_all_the_time() {
    let (mut store, module) = guests(Preemption::Epoch);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    store.set_epoch_deadline(1);
    let engine = store.engine().clone();
    let done = Arc::new(AtomicBool::new(false));
    let embedder = thread::spawn({
        let done = done.clone();
        move || {
            let start = Instant::now();
            while !done.load(Ordering::SeqCst) && start.elapsed() < HANG {
                engine.increment_epoch();
            }
        }
    });
    let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    assert_slices_and_run_end(store, spinners);
    done.store(true, Ordering::SeqCst);
    embedder.join().unwrap();
}
