//! Processes that fork, as servers do that load modules once: the child runs guest threads too.
//!
//! Each test has a process of its own, as a child has only the OS thread that has forked, and
//! must not need what another one had locked.

use crate::support::*;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// Longer than anything takes, in seconds.
const HANG: u32 = 200;

/// Forks, and returns the child's process id, or 0 in the child. That must not hang.
fn fork() -> libc::pid_t {
    // SAFETY: the child uses only what this OS thread has, and this process has no other that
    // holds a lock, but for those that a fork has to get along with.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(HANG) };
    }
    child
}

/// Ends the child, in which `body` must not panic.
fn end_child(body: impl FnOnce()) -> ! {
    let passed = catch_unwind(AssertUnwindSafe(body)).is_ok();
    // SAFETY: no preconditions.
    unsafe { libc::_exit(i32::from(!passed)) }
}

#[track_caller]
fn assert_passes(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the pointer is to a local.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child's status, 14 if it hangs");
}

#[track_caller]
fn in_child(body: impl FnOnce()) {
    match fork() {
        0 => end_child(body),
        child => assert_passes(child),
    }
}

/// Runs until a slice has ended; each run must end in time.
fn run_some(store: &mut Store<()>) {
    let mut preemptions = 0;
    while preemptions == 0 {
        let run = store.run_wasm_threads_for(ms(20)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        preemptions += run.preemptions;
    }
}

fn spinners(preemption: Preemption) -> (Store<()>, Module) {
    let (mut store, module) = guests(preemption);
    spawn_spinner(&mut store, &module);
    spawn_spinner(&mut store, &module);
    (store, module)
}

#[test]
fn a_process_forked_between_runs_runs_guest_threads() {
    in_own_process(
        module_path!(),
        "a_process_forked_between_runs_runs_guest_threads",
        || {
            for preemption in sources() {
                let (mut store, module) = spinners(preemption);
                run_some(&mut store);
                // With the child, and a child of that.
                in_child(|| {
                    run_some(&mut store);
                    in_child(|| {
                        run_some(&mut store);
                        let mut other = Store::new(store.engine(), ());
                        spawn_spinner(&mut other, &module);
                        spawn_spinner(&mut other, &module);
                        run_some(&mut other);
                    });
                    run_some(&mut store);
                });
                run_some(&mut store);
            }
        },
    );
}

#[test]
fn a_process_forked_before_the_first_run_runs_guest_threads() {
    in_own_process(
        module_path!(),
        "a_process_forked_before_the_first_run_runs_guest_threads",
        || {
            for preemption in sources() {
                let (mut store, _module) = spinners(preemption);
                in_child(|| run_some(&mut store));
                run_some(&mut store);
            }
        },
    );
}

#[test]
fn a_forked_process_drops_its_engine() {
    in_own_process(module_path!(), "a_forked_process_drops_its_engine", || {
        for preemption in sources() {
            let (mut store, module) = spinners(preemption);
            run_some(&mut store);
            match fork() {
                0 => end_child(move || drop((store, module))),
                child => assert_passes(child),
            }
        }
    });
}

#[test]
fn a_process_forked_beside_runs_of_other_os_threads_runs_guest_threads() {
    in_own_process(
        module_path!(),
        "a_process_forked_beside_runs_of_other_os_threads_runs_guest_threads",
        || {
            for preemption in sources() {
                let (mut store, module) = spinners(preemption);
                let engine = store.engine().clone();
                let stop = std::sync::atomic::AtomicBool::new(false);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut other = Store::new(&engine, ());
                        spawn_spinner(&mut other, &module);
                        spawn_spinner(&mut other, &module);
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            other.run_wasm_threads_for(ms(1)).unwrap();
                        }
                    });
                    // The timer is busy at any of these.
                    for _ in 0..20 {
                        run_some(&mut store);
                        in_child(|| run_some(&mut store));
                    }
                    stop.store(true, std::sync::atomic::Ordering::Relaxed);
                });
            }
        },
    );
}

const FORKS_AND_SPINS: &str = r#"
(module
  (import "" "fork" (func $fork))
  (func (export "run") (call $fork) (loop br 0)))
"#;

/// A guest that calls a host function that forks, and then spins, beside another. Both processes
/// end the run in time.
fn fork_in_a_run(preemption: Preemption, spawn: impl FnOnce(&mut Store<libc::pid_t>)) {
    let engine = engine(preemption);
    let mut store = Store::new(&engine, -1);
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    spawn(&mut store);
    spawn_spinner(&mut store, &module);
    spawn_spinner(&mut store, &module);
    let run = store.run_wasm_threads_for(ms(50)).unwrap();
    let child = *store.data();
    let mut check = || {
        assert_eq!(run.end, RunEnd::TimeUp);
        let mut preemptions = 0;
        while preemptions < 3 {
            preemptions += store.run_wasm_threads_for(ms(20)).unwrap().preemptions;
        }
    };
    match child {
        0 => end_child(check),
        child => {
            check();
            assert_passes(child);
        }
    }
}

#[test]
fn a_run_in_whose_host_function_the_process_forks_ends_in_both() {
    in_own_process(
        module_path!(),
        "a_run_in_whose_host_function_the_process_forks_ends_in_both",
        || {
            for preemption in sources() {
                fork_in_a_run(preemption, |store| {
                    let mut linker = Linker::new(store.engine());
                    linker
                        .func_wrap("", "fork", |mut caller: Caller<'_, libc::pid_t>| {
                            *caller.data_mut() = fork();
                        })
                        .unwrap();
                    let module = Module::new(store.engine(), FORKS_AND_SPINS).unwrap();
                    spawn_linked(store, &linker, &module, "run", &[]);
                });
            }
        },
    );
}

#[test]
fn a_run_in_whose_thread_of_the_host_the_process_forks_ends_in_both() {
    in_own_process(
        module_path!(),
        "a_run_in_whose_thread_of_the_host_the_process_forks_ends_in_both",
        || {
            for preemption in sources() {
                fork_in_a_run(preemption, |store| {
                    let func = Func::wrap(&mut *store, |mut caller: Caller<'_, libc::pid_t>| {
                        *caller.data_mut() = fork();
                    });
                    store.spawn_wasm_thread(func, &[]).unwrap();
                });
            }
        },
    );
}

/// A guest that calls a host function that forks, and then spins. Both processes end it from
/// another OS thread.
#[test]
fn a_run_that_goes_on_in_a_forked_process_is_interrupted_by_its_os_threads() {
    in_own_process(
        module_path!(),
        "a_run_that_goes_on_in_a_forked_process_is_interrupted_by_its_os_threads",
        || {
            for preemption in sources() {
                let engine = engine(preemption);
                let mut store = Store::new(&engine, -1);
                let mut linker = Linker::new(&engine);
                linker
                    .func_wrap("", "fork", |mut caller: Caller<'_, libc::pid_t>| {
                        let id = caller.wasm_threads().current().unwrap();
                        let thread = id.remote(&mut caller).unwrap();
                        *caller.data_mut() = fork();
                        kill_later(thread);
                    })
                    .unwrap();
                let module = Module::new(&engine, FORKS_AND_SPINS).unwrap();
                let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
                let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
                let child = *store.data();
                let mut check = || {
                    assert_eq!(run.end, RunEnd::AllFinished);
                    assert_killed(&mut store, id);
                };
                match child {
                    0 => end_child(check),
                    child => {
                        check();
                        assert_passes(child);
                    }
                }
            }
        },
    );
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn sleepers_of_an_asynchronous_run_are_woken_in_a_forked_process() {
    in_own_process(
        module_path!(),
        "sleepers_of_an_asynchronous_run_are_woken_in_a_forked_process",
        || {
            for preemption in sources() {
                let mut store = Store::new(&engine(preemption), ());
                let sleep =
                    Func::wrap_concurrent(&mut store, |caller: &ConcurrentCaller<()>, ()| {
                        Box::pin(async move { caller.sleep(ms(5)).await })
                    })
                    .unwrap();
                let run = |store: &mut Store<()>| {
                    let id = store.spawn_wasm_thread(sleep, &[]).unwrap();
                    let run = store.run_wasm_threads_async(Duration::MAX);
                    assert_eq!(block_on(run).unwrap().end, RunEnd::AllFinished);
                    returned(store, id);
                };
                run(&mut store);
                in_child(|| run(&mut store));
                run(&mut store);
            }
        },
    );
}
