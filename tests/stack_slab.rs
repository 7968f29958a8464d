//! Guest threads on the stacks of a slab, under each source: as on any others, but many more.

use crate::support::*;
use preempt_stacks::{Guards, StackSlab, StackSlabOptions};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    twenty_thousand_threads_are_suspended_and_return,
    a_stack_overflow_is_a_trap,
    killed_and_dropped_threads_give_their_stacks_back,
    a_store_moves_between_os_threads,
    a_slab_serves_several_engines,
    a_panic_of_a_host_function_leaves_the_stack_usable,
    the_slab_may_run_out_of_stacks,
    thousands_sleep_and_wake,
);

/// 60 KiB for the guest, and 64 for the host.
const SIZE: usize = 124 << 10;

fn slab() -> StackSlab {
    StackSlab::new(SIZE).unwrap()
}

fn engine_on(slab: &StackSlab, preemption: Preemption) -> Engine {
    let mut config = config(preemption);
    slab.configure(&mut config);
    Engine::new(&config).unwrap()
}

fn store_on(slab: &StackSlab, preemption: Preemption) -> Store<()> {
    let engine = engine_on(slab, preemption);
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    store.wasm_threads().set_max_threads(2_000_000).unwrap();
    store
}

/// Yields once by a host function, and returns its argument.
const YIELDS: &str = r#"
(module
  (import "" "wait" (func $wait))
  (func (export "run") (param i32) (result i32) (call $wait) (local.get 0)))
"#;

/// `n` threads that are all suspended at the same time, and then return what they should.
fn suspended_together(preemption: Preemption, n: u32) {
    let slab = slab();
    let mut store = store_on(&slab, preemption);
    let module = Module::new(store.engine(), YIELDS).unwrap();
    let mut linker = Linker::new(store.engine());
    linker
        .func_wrap_concurrent("", "wait", |caller, ()| {
            Box::pin(async move { caller.yield_now().await })
        })
        .unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance
        .get_typed_func::<i32, i32>(&mut store, "run")
        .unwrap();
    let spawn = |i| ThreadOptions::new().spawn_typed(&mut store, &run, i);
    let ids: Vec<_> = (0..n as i32).map(spawn).collect::<Result<_>>().unwrap();
    // The last is dispatched for the first time before the first is for the second.
    let summary = run_all(&mut store);
    assert_eq!(summary.finished, u64::from(n));
    assert!(summary.dispatches >= 2 * u64::from(n));
    for (i, id) in (0..).zip(ids) {
        match id.take_exit(&mut store) {
            Some(TypedExit::Returned(returned)) => assert_eq!(returned, i),
            other => panic!("{other:?}"),
        }
    }
    drop((store, linker));
    assert_eq!(slab.usage().in_use, 0);
}

fn twenty_thousand_threads_are_suspended_and_return(preemption: Preemption) {
    suspended_together(preemption, 20_000);
}

fn a_stack_overflow_is_a_trap(preemption: Preemption) {
    for guards in [Guards::Markers, Guards::Protection] {
        let Ok(slab) = StackSlabOptions::new(SIZE).guards(guards).build() else {
            continue;
        };
        let mut store = store_on(&slab, preemption);
        let instance = stateless(&mut store);
        let ids = [(); 100].map(|()| {
            let fib = spawn_in(&mut store, instance, "fib", &[Val::I32(15)]);
            (fib, spawn_in(&mut store, instance, "overflow", &[]))
        });
        run_all(&mut store);
        for (fib, overflow) in ids {
            assert_eq!(bits(&returned(&mut store, fib)), [610]);
            let error = trapped(&mut store, overflow);
            assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        }
    }
}

fn killed_and_dropped_threads_give_their_stacks_back(preemption: Preemption) {
    let slab = slab();
    let mut store = store_on(&slab, preemption);
    let instance = stateless(&mut store);
    let spinners = [(); 100].map(|()| spawn_in(&mut store, instance, "spin", &[]));
    run_until(&mut store, |store| {
        spinners.iter().all(|id| stats(store, *id).preemptions > 0)
    });
    assert_eq!(slab.usage().in_use, 100);
    for id in &spinners[..50] {
        id.kill(&mut store).unwrap();
        assert_killed(&mut store, *id);
    }
    assert!(slab.usage().in_use <= 50 + 64 + 1);
    thread::spawn(move || drop(store)).join().unwrap();
    assert_eq!(slab.usage().in_use, 0);
}

fn a_store_moves_between_os_threads(preemption: Preemption) {
    let slab = slab();
    let mut store = store_on(&slab, preemption);
    let instance = stateless(&mut store);
    let sum = |store: &mut Store<()>| spawn_in(store, instance, "sum", &[Val::I64(200_000)]);
    let ids = [(); 20].map(|()| sum(&mut store));
    for _ in 0..5 {
        store = thread::spawn(move || {
            store.run_wasm_threads_for(ms(1)).unwrap();
            store
        })
        .join()
        .unwrap();
    }
    run_all(&mut store);
    for id in ids {
        assert_eq!(bits(&returned(&mut store, id)), [20_000_100_000]);
    }
}

fn a_slab_serves_several_engines(preemption: Preemption) {
    let slab = slab();
    let mut stores = [(); 3].map(|()| store_on(&slab, preemption));
    for store in &mut stores {
        let instance = stateless(store);
        for _ in 0..50 {
            spawn_in(store, instance, "spin", &[]);
        }
        store.run_wasm_threads_for(ms(5)).unwrap();
    }
    assert_eq!(slab.usage().in_use, 150);
    let [first, mut second, third] = stores;
    // The slab's handle goes before its stacks.
    let usage = slab.clone();
    drop((slab, first));
    second.run_wasm_threads_for(ms(5)).unwrap();
    drop(second);
    assert_eq!(usage.usage().in_use, 50);
    drop(third);
    assert_eq!(usage.usage().in_use, 0);
}

fn a_panic_of_a_host_function_leaves_the_stack_usable(preemption: Preemption) {
    let slab = slab();
    let mut store = store_on(&slab, preemption);
    let func = Func::wrap(&mut store, || -> () { panic!("as the test wants it") });
    store.spawn_wasm_thread(func, &[]).unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.run_wasm_threads_for(HANG)
    }));
    assert!(panic.is_err());
    let instance = stateless(&mut store);
    let answer = spawn_in(&mut store, instance, "answer", &[]);
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, answer)), [42]);
}

fn the_slab_may_run_out_of_stacks(preemption: Preemption) {
    let slab = StackSlabOptions::new(SIZE).max_stacks(70).build().unwrap();
    let mut store = store_on(&slab, preemption);
    let instance = stateless(&mut store);
    let nothing = instance.get_func(&mut store, "nothing").unwrap();
    for _ in 0..3 {
        let ids: Vec<_> = (0..70)
            .map(|_| store.spawn_wasm_thread(nothing, &[]).unwrap())
            .collect();
        let error = store.spawn_wasm_thread(nothing, &[]).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("all of the slab's 70 stacks"), "{error}");
        run_all(&mut store);
        for id in ids {
            returned(&mut store, id);
        }
    }
}

fn thousands_sleep_and_wake(preemption: Preemption) {
    let slab = slab();
    let mut store = asleep(&slab, preemption, 3_000, ms(100));
    assert_eq!(run_all(&mut store).finished, 3_000);
}

/// A store with so many threads that will sleep for this long.
fn asleep(slab: &StackSlab, preemption: Preemption, n: u64, time: Duration) -> Store<()> {
    let mut store = store_on(slab, preemption);
    let module = Module::new(store.engine(), YIELDS).unwrap();
    let mut linker = Linker::new(store.engine());
    linker
        .func_wrap_concurrent("", "wait", move |caller, ()| {
            Box::pin(async move { caller.sleep(time).await })
        })
        .unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    for _ in 0..n {
        let detached = ThreadOptions::new().detached(true);
        detached.spawn(&mut store, run, &[Val::I32(1)]).unwrap();
    }
    store
}

/// Recursion in a host function ends the process, as on upstream's own stacks.
#[test]
fn a_host_function_that_overflows_the_stack_aborts() {
    const ALONE: &str = "PREEMPT_TEST_OVERFLOWS";
    const NAME: &str = "stack_slab::a_host_function_that_overflows_the_stack_aborts";
    if std::env::var_os(ALONE).is_some() {
        let mut store = store_on(&slab(), Preemption::Fuel);
        let func = Func::wrap(&mut store, || fill(u64::MAX));
        store.spawn_wasm_thread(func, &[]).unwrap();
        run_all(&mut store);
        return;
    }
    let output = this_program()
        .args([NAME, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{error}");
    assert!(error.contains("has overflowed its stack"), "{error}");
}

fn fill(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    match depth {
        0 => 0,
        _ => fill(depth - 1) + frame[3],
    }
}

/// 5 GiB, in a process of its own.
fn a_million(preemption: Preemption, name: &str) {
    in_own_process(module_path!(), name, || {
        suspended_together(preemption, 1_000_000);
    });
}

/// The run sleeps while all of its threads do.
fn idle(preemption: Preemption, name: &str) {
    in_own_process(module_path!(), name, || {
        let slab = slab();
        let day = Duration::from_secs(86_400);
        let mut store = asleep(&slab, preemption, 100_000, day);
        let is_asleep = |thread: ThreadInfo<'_>| thread.state == ThreadState::Parked;
        while !store.wasm_threads().iter().all(is_asleep) {
            store.run_wasm_threads_for(ms(500)).unwrap();
        }
        let before = os_thread_cpu_time();
        let run = store.run_wasm_threads_for(ms(2_000)).unwrap();
        let took = os_thread_cpu_time() - before;
        assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0));
        assert!(took < ms(100), "{took:?}");
    });
}

macro_rules! long {
    ($($name:ident: $test:ident($preemption:expr);)*) => {
        $(
            #[test]
            #[ignore = "long: cargo xtask test --full"]
            fn $name() {
                $test($preemption, stringify!($name));
            }
        )*
    };
}

long! {
    under_fuel_a_million_threads_are_suspended_and_return: a_million(Preemption::Fuel);
    under_epochs_a_million_threads_are_suspended_and_return: a_million(Preemption::Epoch);
    under_fuel_a_hundred_thousand_sleep_without_the_cpu: idle(Preemption::Fuel);
    under_epochs_a_hundred_thousand_sleep_without_the_cpu: idle(Preemption::Epoch);
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
long! {
    under_signals_a_million_threads_are_suspended_and_return: a_million(Preemption::Signal);
    under_signals_a_hundred_thousand_sleep_without_the_cpu: idle(Preemption::Signal);
}
