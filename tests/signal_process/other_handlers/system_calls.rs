//! System calls and programs of host functions go on as if there were no timers.

use super::*;
use std::io::Write;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use wasmtime::preempt::ThreadState;

/// A program that does nothing, started by `posix_spawn` or by `fork`.
fn start_a_program(fork: bool) {
    let mut command = Command::new("true");
    if fork {
        // SAFETY: nothing happens between `fork` and `exec`.
        unsafe { command.pre_exec(|| Ok(())) };
    }
    assert!(command.status().unwrap().success());
}

#[test]
fn programs_start_beside_runs_and_in_their_host_functions() {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let others = [false, true].map(|fork| {
            let stop = &stop;
            scope.spawn(move || {
                let mut programs = 0;
                while !stop.load(SeqCst) {
                    start_a_program(fork);
                    programs += 1;
                }
                programs
            })
        });
        let engine = engine();
        let mut store = store(&engine, ());
        let mut jobs = jobs(&mut store);
        let func = Func::wrap(&mut store, |fork: i32| start_a_program(fork != 0));
        jobs.extend([0, 1].map(|fork| Job {
            func,
            params: vec![Val::I32(fork)],
            outcome: Outcome::Returned(vec![]),
        }));
        run_until(&mut store, &jobs, 400);
        stop.store(true, SeqCst);
        for other in others {
            assert!(other.join().unwrap() > 0);
        }
    });
}

/// Sets this OS thread's mask, and returns what it was.
fn set_mask(mask: Option<libc::sigset_t>) -> libc::sigset_t {
    // SAFETY: the pointers are to locals.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigfillset(&mut set);
        let mut previous = mem::zeroed();
        let set = mask.unwrap_or(set);
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_SETMASK, &set, &mut previous),
            0
        );
        previous
    }
}

#[test]
fn an_os_thread_that_blocks_signals_gets_an_error_and_loses_nothing() {
    let engine = engine();
    let mut store = store(&engine, ());
    let jobs = jobs(&mut store);
    let ids: Vec<_> = jobs
        .iter()
        .map(|job| store.spawn_wasm_thread(job.func, &job.params).unwrap())
        .collect();
    // Both before they have started, and when they are under way.
    for _ in 0..2 {
        let mask = set_mask(None);
        let error = store.run_wasm_threads_for(ms(10)).unwrap_err();
        set_mask(Some(mask));
        let text = error.to_string();
        assert!(text.contains("SIGURG is blocked"), "{text}");
        assert!(
            text.contains("`pthread_sigmask`") && text.contains("`Preemption::Epoch`"),
            "{text}"
        );
        assert_eq!(store.wasm_threads().iter().count(), jobs.len());
        store.run_wasm_threads_for(us(100)).unwrap();
    }
    run_all(&mut store);
    for (id, job) in ids.into_iter().zip(&jobs) {
        assert_eq!(Outcome::of_thread(&mut store, id), job.outcome);
    }
}

#[test]
fn system_calls_of_host_functions_are_not_interrupted() {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine, ());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reads = Arc::new(AtomicBool::new(false));
    let begins = reads.clone();
    let host = Func::wrap(&mut store, move || {
        let mut byte = 0u8;
        begins.store(true, SeqCst);
        // SAFETY: the pointer is to a local of that size.
        let result = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
        (result as i32, i32::from(byte))
    });
    let (_, turns) = spawn_spinner(&mut store, &module);
    Flood::here(|flood| {
        for n in 1..=5 {
            let id = store.spawn_wasm_thread(host, &[]).unwrap();
            reads.store(false, SeqCst);
            thread::scope(|scope| {
                scope.spawn(|| {
                    spin_until(|| reads.load(SeqCst));
                    // Most of them come while it reads.
                    let before = flood.sent();
                    spin_until(|| flood.sent() > before + 20);
                    writer.write_all(&[n]).unwrap();
                });
                while id.info(&store).unwrap().state != ThreadState::Finished {
                    store.run_wasm_threads_for(ms(1)).unwrap();
                }
            });
            assert_eq!(bits(&returned(&mut store, id)), [1, u128::from(n)]);
        }
    });
    assert!(turns.get(&mut store).unwrap_i64() > 0);
}

extern "C" fn clobber_errno(_: i32) {
    // SAFETY: errno is this OS thread's own.
    unsafe { *libc::__errno_location() = libc::ENOTTY };
    CALLS.fetch_add(1, SeqCst);
}

#[test]
fn errno_stays_as_a_host_function_has_set_it() {
    let name = "errno_stays_as_a_host_function_has_set_it";
    in_own_process(module_path!(), name, || {
        install_plain(clobber_errno);
        let engine = engine();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = store(&engine, ());
        let host = Func::wrap(&mut store, || {
            let (mut changed, mut n) = (0, 1_000);
            while CALLS.load(SeqCst) < 300 {
                // SAFETY: errno is this OS thread's own.
                unsafe { libc::__errno_location().write_volatile(n) };
                busy_for(us(200));
                // SAFETY: as above.
                changed += i32::from(unsafe { libc::__errno_location().read_volatile() } != n);
                n += 1;
            }
            changed
        });
        let id = store.spawn_wasm_thread(host, &[]).unwrap();
        spawn_spinner(&mut store, &module);
        Flood::here(|_| {
            while id.info(&store).unwrap().state != ThreadState::Finished {
                store.run_wasm_threads_for(ms(1)).unwrap();
            }
        });
        assert_eq!(bits(&returned(&mut store, id)), [0]);
    });
}
