//! A SIGURG that no timer of ours has sent changes nothing, wherever it comes, and
//! neither does one that comes late.

use super::flood::{FORGED, Flood, Target};
use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use wasmtime::preempt::ThreadState;

/// What the handler that was there before has received, of all kinds.
static RECEIVED: AtomicU64 = AtomicU64::new(0);
/// Those that look like a timer's.
static LOOKED_LIKE_A_TIMERS: AtomicU64 = AtomicU64::new(0);
/// Those which were not a stray one's.
static WRONG: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: this is what the kernel gave to a handler with `SA_SIGINFO`.
    let (code, value) = unsafe { ((*info).si_code, (*info).si_value().sival_ptr.addr()) };
    RECEIVED.fetch_add(1, SeqCst);
    if code == libc::SI_TIMER {
        LOOKED_LIKE_A_TIMERS.fetch_add(1, SeqCst);
        if value != FORGED {
            WRONG.fetch_add(1, SeqCst);
        }
    }
    if signal != libc::SIGURG {
        WRONG.fetch_add(1, SeqCst);
    }
}

/// To be called before the first run of this process.
fn count_stray_signals() {
    super::other_handlers::install_with_info(count);
}

fn receive(signals: u64) {
    count_stray_signals();
    let engine = engine();
    let mut store = store(&engine, ());
    let jobs = jobs(&mut store);
    let mut preemptions = 0;
    let sent = Flood::here(|flood| {
        // How many of each kind come through is up to the kernel: pending ones merge.
        let enough_forged = || LOOKED_LIKE_A_TIMERS.load(SeqCst) > signals / 100;
        while RECEIVED.load(SeqCst) < signals || !enough_forged() {
            preemptions += run_until(&mut store, &jobs, 1);
        }
        flood.sent()
    });
    assert_eq!(WRONG.load(SeqCst), 0);
    let forged = LOOKED_LIKE_A_TIMERS.load(SeqCst);
    let received = RECEIVED.load(SeqCst);
    println!(
        "- {received} stray signals received ({forged} forged) of {sent}, \
         beside {preemptions} preemptions"
    );
}

#[test]
fn stray_signals_change_no_result() {
    in_own_process(module_path!(), "stray_signals_change_no_result", || {
        receive(5_000)
    });
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_million_stray_signals_change_no_result() {
    in_own_process(
        module_path!(),
        "a_million_stray_signals_change_no_result",
        || {
            receive(1_000_000);
        },
    );
}

#[test]
fn stray_signals_end_no_slice() {
    let engine = engine();
    let mut store = store(&engine, ());
    let jobs = jobs(&mut store);
    run_until(&mut store, &jobs, 1);
    store
        .wasm_threads()
        .set_slice(Slice::Time(Duration::from_secs(100)))
        .unwrap();
    Flood::here(|flood| {
        let start = flood.sent();
        while flood.sent() < start + 5_000 {
            for job in &jobs {
                store.spawn_wasm_thread(job.func, &job.params).unwrap();
            }
            let run = run_all(&mut store);
            assert_eq!((run.preemptions, run.dispatches), (0, jobs.len() as u64));
            let ids: Vec<_> = store
                .wasm_threads()
                .iter()
                .map(|thread| thread.id)
                .collect();
            for (id, job) in ids.into_iter().zip(&jobs) {
                assert_eq!(Outcome::of_thread(&mut store, id), job.outcome);
            }
        }
    });
}

#[test]
fn slices_end_in_spite_of_stray_signals() {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine, ());
    store.wasm_threads().set_slice(Slice::Time(ms(1))).unwrap();
    let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    Flood::here_with_pauses(|| assert_slices_end(&mut store, ms(1), &spinners));
}

#[test]
fn stray_signals_may_come_at_any_moment_of_a_stores_life() {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    let linker = Linker::new(&engine);
    let mut random = Random::new(1);
    Flood::here(|_| {
        for round in 0..60 {
            let mut store = store(&engine, ());
            let sum = Job::new(&mut store, &linker, &module, "sum", &[Val::I64(20_000)]);
            for _ in 0..4 {
                spawn_spinner(&mut store, &module);
            }
            let id = store.spawn_wasm_thread(sum.func, &sum.params).unwrap();
            store.run_wasm_threads_for(us(random.below(2_000))).unwrap();
            match round % 3 {
                0 => assert!(store.shutdown_wasm_threads() >= 4),
                1 => drop(store),
                _ => {
                    while id.info(&store).unwrap().state != ThreadState::Finished {
                        store.run_wasm_threads_for(ms(2)).unwrap();
                    }
                    assert_eq!(Outcome::of_thread(&mut store, id), sum.outcome);
                }
            }
        }
    });
}

#[test]
fn an_os_thread_that_runs_no_guest_threads_is_not_disturbed() {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        // Plain calls: on an OS thread that has never run guest threads, and on
        // one that has, and so has a timer.
        for has_run in [false, true] {
            let (stop, sender) = (&stop, sender.clone());
            let (engine, module) = (&engine, &module);
            scope.spawn(move || {
                let mut store = store(engine, ());
                if has_run {
                    let jobs = jobs(&mut store);
                    run_until(&mut store, &jobs, 1);
                    // As it was when the run was over.
                    spawn_spinner(&mut store, module);
                    spawn_spinner(&mut store, module);
                    store.run_wasm_threads_for(ms(1)).unwrap();
                }
                let instance = Instance::new(&mut store, module, &[]).unwrap();
                let fib = instance
                    .get_typed_func::<i32, i32>(&mut store, "fib")
                    .unwrap();
                sender.send(Target::current()).unwrap();
                while !stop.load(SeqCst) {
                    assert_eq!(fib.call(&mut store, 18).unwrap(), 2584);
                }
            });
        }
        // And one that sleeps.
        let (release, released) = mpsc::channel::<()>();
        let sleeper = sender.clone();
        scope.spawn(move || {
            sleeper.send(Target::current()).unwrap();
            assert!(released.recv().is_err());
        });

        let targets: Vec<_> = receiver.iter().take(3).collect();
        // SAFETY: they end after `stop` is set and `release` is dropped.
        let flood = unsafe { Flood::start(&targets) };
        let mut store = store(&engine, ());
        let jobs = jobs(&mut store);
        while flood.sent() < 5_000 {
            run_until(&mut store, &jobs, 100);
        }
        drop(flood);
        stop.store(true, SeqCst);
        drop(release);
    });
}

#[test]
fn forged_signals_are_not_taken_for_a_timers() {
    in_own_process(
        module_path!(),
        "forged_signals_are_not_taken_for_a_timers",
        || {
            count_stray_signals();
            let engine = engine();
            let mut store = store(&engine, ());
            store
                .wasm_threads()
                .set_slice(Slice::Time(Duration::from_secs(100)))
                .unwrap();
            let mut linker = Linker::new(&engine);
            linker
                .func_wrap("", "forge", || Target::current().forge())
                .unwrap();
            let module = Module::new(
                &engine,
                r#"(module
                (import "" "forge" (func $forge))
                (func (export "run") (param i32)
                  (loop $again
                    (call $forge)
                    (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#,
            )
            .unwrap();
            let ids = [(); 2]
                .map(|()| spawn_linked(&mut store, &linker, &module, "run", &[Val::I32(1_000)]));
            let run = run_all(&mut store);
            assert_eq!((run.preemptions, run.dispatches), (0, 2));
            for id in ids {
                returned(&mut store, id);
            }
            // Each was received before the system call that has sent it returned.
            assert_eq!(LOOKED_LIKE_A_TIMERS.load(SeqCst), 2_000);
            assert_eq!(WRONG.load(SeqCst), 0);
        },
    );
}
