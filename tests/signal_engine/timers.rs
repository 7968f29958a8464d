//! The timer of an OS thread: when there is one, and when it sends signals.
//!
//! Whether a signal came is seen by a host function that waits for a socket with a
//! timeout: the kernel ends that wait when a handler has run, even one that was
//! installed with `SA_RESTART`.

use crate::signal::support::{engine, store};
use crate::support::{GUESTS, ms, run_all, spawn, spawn_linked, spawn_spinner, stats, tid};
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

/// How many timers of this process signal the OS thread `tid`.
fn timers_of(tid: u32) -> usize {
    let timers = std::fs::read_to_string("/proc/self/timers").unwrap();
    let notify = format!("notify: signal/tid.{tid}");
    timers.lines().filter(|line| *line == notify).count()
}

fn guests<T: 'static>(data: T) -> (Store<T>, Module) {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    (store(&engine, data), module)
}

#[test]
fn an_os_thread_has_one_from_its_first_run_to_its_end() {
    let tid = thread::spawn(|| {
        let tid = tid();
        let (mut first, module) = guests(());
        let (mut second, _) = guests(());
        spawn_spinner(&mut first, &module);
        spawn_spinner(&mut first, &module);
        assert_eq!(timers_of(tid), 0);
        for _ in 0..3 {
            first.run_wasm_threads_for(ms(2)).unwrap();
            second.run_wasm_threads_for(ms(2)).unwrap();
            assert_eq!(timers_of(tid), 1);
        }
        // On another OS thread it is another one.
        let first = thread::spawn(move || {
            let tid = crate::support::tid();
            assert_eq!(timers_of(tid), 0);
            first.run_wasm_threads_for(ms(2)).unwrap();
            assert_eq!(timers_of(tid), 1);
            (first, tid)
        });
        let (first, other) = first.join().unwrap();
        assert_eq!(timers_of(other), 0);
        // It is the OS thread's, not the store's.
        drop((first, second));
        assert_eq!(timers_of(tid), 1);
        tid
    });
    let tid = tid.join().unwrap();
    assert_eq!(timers_of(tid), 0);
}

#[test]
fn other_modes_have_none() {
    thread::spawn(|| {
        for preemption in [Preemption::Fuel, Preemption::Epoch] {
            let (mut store, module) = crate::support::guests(preemption);
            spawn(&mut store, &module, "nothing", &[]);
            run_all(&mut store);
            assert_eq!(timers_of(tid()), 0);
        }
    })
    .join()
    .unwrap();
}

/// How many signals come to this OS thread while it waits for `time`.
fn signals_during(time: Duration) -> u32 {
    let (socket, _other_end) = UnixStream::pair().unwrap();
    signals_at(&socket, time)
}

fn signals_at(mut socket: &UnixStream, time: Duration) -> u32 {
    let end = Instant::now() + time;
    let mut signals = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return signals;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        let error = socket.read(&mut [0]).unwrap_err();
        match error.kind() {
            ErrorKind::Interrupted => signals += 1,
            ErrorKind::WouldBlock => {}
            _ => panic!("{error}"),
        }
    }
}

/// Waits `times` times in a row, and returns.
const WAITER: &str = r#"
(module
  (import "" "wait" (func $wait))
  (func (export "run") (param $times i32)
    (loop $again
      (call $wait)
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
"#;

const WAIT: Duration = Duration::from_millis(100);

/// How many signals each wait saw.
type Signals = Vec<u32>;

/// What a wait saw.
struct Wait {
    /// How many siblings there were when it began.
    siblings: usize,
    ended: Instant,
    signals: u32,
}

/// A store with a thread that waits so often, and a module of spinners.
fn waiter(times: i32) -> (Store<Signals>, Module, ThreadId) {
    let (mut store, spinners) = guests(Vec::new());
    let id = spawn_waiter(&mut store, times, |caller| {
        let signals = signals_during(WAIT);
        caller.data_mut().push(signals);
    });
    (store, spinners, id)
}

fn spawn_waiter(
    store: &mut Store<Signals>,
    times: i32,
    wait: impl Fn(&mut Caller<'_, Signals>) + Send + Sync + 'static,
) -> ThreadId {
    let engine = store.engine().clone();
    let module = Module::new(&engine, WAITER).unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("", "wait", move |mut caller: Caller<'_, Signals>| {
            wait(&mut caller);
        })
        .unwrap();
    spawn_linked(store, &linker, &module, "run", &[Val::I32(times)])
}

/// Runs until `id` has finished, and ends the others then. All of it is one run, as
/// signals come at the end of each.
fn run_to_the_end_of(store: &mut Store<Signals>, id: ThreadId) {
    id.on_exit(&mut *store, |mut store, id| {
        let ids: Vec<_> = store
            .wasm_threads()
            .iter()
            .map(|thread| thread.id)
            .collect();
        for other in ids.into_iter().filter(|other| *other != id) {
            other.kill(&mut store).unwrap();
        }
    })
    .unwrap();
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
}

/// As [`spawn_waiter`], but the thread waits until `done` with what it has seen.
fn spawn_observer(
    store: &mut Store<Vec<Wait>>,
    done: impl Fn(&[Wait]) -> bool + Send + Sync + 'static,
) -> ThreadId {
    let engine = store.engine().clone();
    let wat = r#"(module
        (import "" "wait" (func $wait (result i32)))
        (func (export "run") (loop $again (br_if $again (i32.eqz (call $wait))))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut linker = Linker::new(&engine);
    let wait = move |mut caller: Caller<'_, Vec<Wait>>| {
        let unfinished = |thread: &ThreadInfo| thread.state != ThreadState::Finished;
        let siblings = caller.wasm_threads().iter().filter(unfinished).count() - 1;
        let signals = signals_during(WAIT);
        caller.data_mut().push(Wait {
            siblings,
            ended: Instant::now(),
            signals,
        });
        i32::from(done(caller.data()))
    };
    linker.func_wrap("", "wait", wait).unwrap();
    spawn_linked(store, &linker, &module, "run", &[])
}

/// One comes at the end of the slice, if that is not before the wait begins, and no other:
/// the end of the host function looks.
const AT_MOST_ONE: std::ops::RangeInclusive<u32> = 0..=1;

#[test]
fn none_comes_to_a_lone_thread_in_a_run_without_end() {
    let (mut store, ..) = waiter(2);
    store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(*store.data(), [0, 0]);
}

#[test]
fn none_comes_to_a_lone_thread_before_the_run_is_to_end() {
    let (mut store, _) = guests(Vec::new());
    spawn_observer(&mut store, |_| false);
    let time = WAIT * 5 / 2;
    let start = Instant::now();
    let run = store.run_wasm_threads_for(time).unwrap();
    assert_eq!(run.end, RunEnd::TimeUp);
    // Part of the last wait is after the end, and no other wait is.
    let (last, before) = store.data().split_last().unwrap();
    assert!(last.ended >= start + time);
    assert!(AT_MOST_ONE.contains(&last.signals), "{}", last.signals);
    for wait in before {
        assert_eq!(wait.signals, 0);
    }
}

#[test]
fn at_most_one_comes_while_a_sibling_waits_for_the_cpu() {
    let (mut store, spinners, id) = waiter(3);
    spawn_spinner(&mut store, &spinners);
    run_to_the_end_of(&mut store, id);
    for signals in store.data() {
        assert!(AT_MOST_ONE.contains(signals), "{:?}", store.data());
    }
}

#[test]
fn at_most_one_comes_once_a_sibling_was_spawned() {
    let (mut store, spinners) = guests(Vec::new());
    let spinner = Instance::new(&mut store, &spinners, &[]).unwrap();
    let spinner = spinner.get_func(&mut store, "spin").unwrap();
    let id = spawn_waiter(&mut store, 2, move |caller| {
        if caller.data().is_empty() {
            let alone = signals_during(WAIT);
            caller.data_mut().push(alone);
            caller.spawn_wasm_thread(spinner, &[]).unwrap();
        }
        let signals = signals_during(WAIT);
        caller.data_mut().push(signals);
    });
    run_to_the_end_of(&mut store, id);
    let signals = store.data();
    // At the end of the run, or of the slice that has one by then, whichever comes first.
    assert!(
        signals.iter().all(|n| AT_MOST_ONE.contains(n)),
        "{signals:?}"
    );
}

#[test]
fn none_comes_once_the_siblings_have_finished() {
    let (mut store, spinners) = guests(Vec::new());
    spawn_observer(&mut store, |waits| {
        let alone = waits.iter().filter(|wait| wait.siblings == 0);
        alone.count() == 3
    });
    for _ in 0..3 {
        // Done in a slice or two, however slow this machine is.
        spawn(&mut store, &spinners, "sum", &[Val::I64(1_000)]);
    }
    store.run_wasm_threads_for(Duration::MAX).unwrap();
    let (alone, beside): (Vec<_>, Vec<_>) =
        store.data().iter().partition(|wait| wait.siblings == 0);
    assert_eq!(beside[0].siblings, 3);
    for wait in beside {
        assert!(AT_MOST_ONE.contains(&wait.signals), "{}", wait.signals);
    }
    // The one that was asked for while there still was a sibling may be on its way.
    let signals: Vec<_> = alone.iter().map(|wait| wait.signals).collect();
    assert!(signals[0] <= 1, "{signals:?}");
    assert_eq!(signals[1..], [0, 0]);
}

#[test]
fn none_comes_after_a_run() {
    let (mut store, spinners) = guests(());
    spawn_spinner(&mut store, &spinners);
    spawn_spinner(&mut store, &spinners);
    for _ in 0..3 {
        let mut preemptions = 0;
        while preemptions < 2 {
            preemptions += store.run_wasm_threads_for(ms(10)).unwrap().preemptions;
        }
        assert_eq!(signals_during(ms(50)), 0);
    }
}

#[test]
fn none_comes_after_a_shutdown() {
    let (mut store, spinners) = guests(());
    let (socket, _other_end) = UnixStream::pair().unwrap();
    for _ in 0..20 {
        for _ in 0..5 {
            spawn_spinner(&mut store, &spinners);
        }
        store.run_wasm_threads_for(ms(1)).unwrap();
        assert_eq!(signals_at(&socket, ms(1)), 0);
        store.shutdown_wasm_threads();
        assert_eq!(signals_at(&socket, ms(1)), 0);
    }
}

#[test]
fn none_comes_to_other_os_threads() {
    let (mut store, spinners) = guests(());
    spawn_spinner(&mut store, &spinners);
    spawn_spinner(&mut store, &spinners);
    // This one has a timer too.
    store.run_wasm_threads_for(ms(5)).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let runs = thread::spawn({
        let enough = enough.clone();
        move || {
            let mut preemptions = 0;
            while preemptions < 10 || !enough.load(Ordering::Relaxed) {
                preemptions += store.run_wasm_threads_for(ms(10)).unwrap().preemptions;
            }
        }
    });
    while !runs.is_finished() {
        assert_eq!(signals_during(ms(100)), 0);
        enough.store(true, Ordering::Relaxed);
    }
    runs.join().unwrap();
}

#[test]
fn they_go_on_after_a_run_in_a_host_function() {
    let (mut store, spinners) = guests(Vec::new());
    let waiter = spawn_waiter(&mut store, 2, |caller| {
        let (mut inner, spinners) = guests(());
        // Long ones, as the handler looks at the outer slice after each.
        inner.wasm_threads().set_slice(Slice::Time(ms(5))).unwrap();
        spawn_spinner(&mut inner, &spinners);
        spawn_spinner(&mut inner, &spinners);
        while inner.run_wasm_threads_for(ms(5)).unwrap().preemptions == 0 {}
        let signals = signals_during(WAIT);
        caller.data_mut().push(signals);
    });
    spawn_spinner(&mut store, &spinners);
    run_to_the_end_of(&mut store, waiter);
    let signals = store.data();
    assert!(
        signals.iter().all(|n| AT_MOST_ONE.contains(n)),
        "{signals:?}"
    );
    assert!(stats(&store, waiter).preemptions >= 2);
}
