//! The OS thread that ends slices of time: when there is one, and when it sleeps.
//!
//! Each test has a process of its own, as the OS threads of another would be
//! counted too.

use crate::support::*;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::*;

/// The ids of the timer threads of this process.
fn timers() -> Vec<u32> {
    let mut timers = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap();
        // A thread may have gone meanwhile.
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        // Names end after 15 bytes.
        if name.trim_end() == "wasmtime-epoch-" {
            timers.push(task.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    timers
}

/// Fails unless there are `n` timer threads.
fn assert_timers(n: usize) {
    // A new OS thread gives itself its name.
    let patience = Instant::now() + ms(5_000);
    while timers().len() != n && Instant::now() < patience {
        thread::yield_now();
    }
    assert_eq!(timers().len(), n);
}

/// The only timer thread.
fn timer() -> u32 {
    assert_timers(1);
    timers()[0]
}

/// How often an OS thread has gone to sleep.
fn sleeps(tid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt_switches:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn there_is_none_before_the_first_run() {
    in_own_process(module_path!(), "there_is_none_before_the_first_run", || {
        let (mut store, module) = guests(Preemption::Epoch);
        store.set_epoch_deadline(1);
        spawn_spinner(&mut store, &module);
        spawn_spinner(&mut store, &module);
        store.shutdown_wasm_threads();
        assert_eq!(timers(), [0; 0]);
        spawn(&mut store, &module, "answer", &[]);
        run_all(&mut store);
        assert_timers(1);
    });
}

#[test]
fn there_is_none_under_fuel_unless_time_is_looked_at() {
    in_own_process(
        module_path!(),
        "there_is_none_under_fuel_unless_time_is_looked_at",
        || {
            let (mut store, module) = guests(Preemption::Fuel);
            for _ in 0..2 {
                spawn(&mut store, &module, "sum", &[Val::I64(10_000)]);
            }
            let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
            assert!(run.preemptions > 2);
            assert_eq!(timers(), [0; 0]);
            // A run that is to end has one.
            spawn(&mut store, &module, "answer", &[]);
            run_all(&mut store);
            assert_timers(1);
        },
    );
}

#[test]
fn an_engine_has_one_however_many_stores_it_runs() {
    in_own_process(
        module_path!(),
        "an_engine_has_one_however_many_stores_it_runs",
        || {
            let engine = engine(Preemption::Epoch);
            let module = Module::new(&engine, GUESTS).unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut store = Store::new(&engine, ());
                        spawn_spinner(&mut store, &module);
                        spawn_spinner(&mut store, &module);
                        for _ in 0..10 {
                            store.run_wasm_threads_for(ms(5)).unwrap();
                            assert!(timers().len() <= 1);
                        }
                    });
                }
            });
            assert_timers(1);
        },
    );
}

#[test]
fn it_is_joined_when_the_engine_goes() {
    in_own_process(module_path!(), "it_is_joined_when_the_engine_goes", || {
        let stores = [(); 3].map(|()| {
            let (mut store, module) = guests(Preemption::Epoch);
            spawn_spinner(&mut store, &module);
            spawn_spinner(&mut store, &module);
            store.run_wasm_threads_for(ms(5)).unwrap();
            store
        });
        assert_timers(3);
        let [a, b, c] = stores;
        drop(a);
        assert_timers(2);
        // From another OS thread than the one that ran it.
        thread::spawn(|| drop((b, c))).join().unwrap();
        assert_eq!(timers(), [0; 0]);
    });
}

#[test]
fn it_sleeps_while_one_thread_is_alone() {
    in_own_process(
        module_path!(),
        "it_sleeps_while_one_thread_is_alone",
        || {
            let (mut store, module) = guests(Preemption::Epoch);
            spawn_spinner(&mut store, &module);
            store.run_wasm_threads_for(ms(5)).unwrap();
            let tid = timer();
            let before = sleeps(tid);
            store.run_wasm_threads_for(ms(300)).unwrap();
            // For the end of this run, and once more for the end of the one before.
            let alone = sleeps(tid) - before;
            assert!(alone <= 4, "{alone}");

            spawn_spinner(&mut store, &module);
            let before = sleeps(tid);
            let mut preemptions = 0;
            while preemptions < 20 * alone.max(1) {
                preemptions += store.run_wasm_threads_for(ms(300)).unwrap().preemptions;
            }
            let beside = sleeps(tid) - before;
            assert!(beside > preemptions / 2, "{beside} of {preemptions}");
        },
    );
}

#[test]
fn it_sleeps_for_good_in_a_run_without_end() {
    in_own_process(
        module_path!(),
        "it_sleeps_for_good_in_a_run_without_end",
        || {
            let (mut store, module) = guests(Preemption::Epoch);
            spawn(&mut store, &module, "answer", &[]);
            run_all(&mut store);
            let tid = timer();
            // Takes some time.
            let id = spawn(&mut store, &module, "sum", &[Val::I64(300_000_000)]);
            thread::sleep(ms(20));
            let before = sleeps(tid);
            store.run_wasm_threads_for(Duration::MAX).unwrap();
            assert!(sleeps(tid) - before <= 1);
            returned(&mut store, id);
        },
    );
}

#[test]
fn it_sleeps_while_no_run_is_on() {
    in_own_process(module_path!(), "it_sleeps_while_no_run_is_on", || {
        let (mut store, module) = guests(Preemption::Epoch);
        spawn_spinner(&mut store, &module);
        spawn_spinner(&mut store, &module);
        store.run_wasm_threads_for(ms(20)).unwrap();
        let tid = timer();
        // For what the last slice had asked for.
        thread::sleep(ms(50));
        let before = sleeps(tid);
        thread::sleep(ms(200));
        assert_eq!(sleeps(tid), before);
        // And in spite of an embedder who ticks.
        for _ in 0..100 {
            store.engine().increment_epoch();
        }
        store.set_epoch_deadline(10);
        thread::sleep(ms(50));
        assert_eq!(sleeps(tid), before);
    });
}

#[test]
fn it_sleeps_while_a_nested_call_outlasts_the_run() {
    in_own_process(
        module_path!(),
        "it_sleeps_while_a_nested_call_outlasts_the_run",
        || {
            let (mut store, module) = guests(Preemption::Epoch);
            // A host function that is in a guest when the run is over.
            let plain = Instance::new(&mut store, &module, &[]).unwrap();
            let sum = plain.get_typed_func::<i64, i64>(&mut store, "sum").unwrap();
            let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
                let start = Instant::now();
                while start.elapsed() < ms(300) {
                    sum.call(&mut caller, 100_000).unwrap();
                }
            });
            store
                .wasm_threads()
                .set_slice(Slice::Time(ms(100)))
                .unwrap();
            store.spawn_wasm_thread(host, &[]).unwrap();
            spawn(&mut store, &module, "answer", &[]);
            run_all(&mut store);
            let tid = timer();
            store.spawn_wasm_thread(host, &[]).unwrap();
            let before = sleeps(tid);
            let run = store.run_wasm_threads_for(ms(10)).unwrap();
            assert!(run.elapsed >= ms(300), "{run:?}");
            // At the end of the run, and after each slice.
            let ticks = sleeps(tid) - before;
            assert!(ticks <= 20, "{ticks}");
        },
    );
}
