//! Coming back from the host is a safe point: what has ended there, or is to end somebody, is
//! honoured, in code without checks too.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

/// Guests without loops, which no check of theirs ends: `calls` calls the host a thousand
/// times, and `copies` fills a memory as often.
fn straight(engine: &Engine) -> Module {
    let calls = "(call $host)".repeat(1_000);
    let copies = "(memory.fill (i32.const 0) (i32.const 1) (local.get 0))".repeat(1_000);
    let wat = format!(
        r#"(module
            (import "" "host" (func $host))
            (memory 64)
            (func (export "calls") (param i32) {calls})
            (func (export "copies") (param i32) {copies} (loop br 0))
            (func (export "spin") (param i32) (loop br 0)))"#
    );
    Module::new(engine, wat).unwrap()
}

/// Them, with slices that no run of these tests gets to the end of where they are fuel.
fn straight_in_long_slices(preemption: Preemption) -> (Store<u32>, Module) {
    let engine = engine(preemption);
    let module = straight(&engine);
    let mut store = Store::new(&engine, 0);
    if preemption == Preemption::Fuel {
        let slice = Slice::Fuel(i64::MAX as u64);
        store.wasm_threads().set_slice(slice).unwrap();
    }
    (store, module)
}

/// Counts the calls of a host function that takes as long as a slice.
fn linker(engine: &Engine) -> Linker<u32> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, u32>| {
            *caller.data_mut() += 1;
            thread::sleep(ms(2));
        })
        .unwrap();
    linker
}

fn spawn_with(
    store: &mut Store<u32>,
    module: &Module,
    export: &str,
    options: ThreadOptions,
) -> ThreadId {
    let linker = linker(store.engine());
    let instance = linker.instantiate(&mut *store, module).unwrap();
    let func = instance.get_func(&mut *store, export).unwrap();
    let params = [Val::I32(1 << 20)];
    options.spawn(&mut *store, func, &params).unwrap()
}

fn a_limit_that_has_passed_in_the_host_ends_the_thread(preemption: Preemption) {
    let engine = engine(preemption);
    let module = straight(&engine);
    for siblings in [0, 2] {
        let mut store = Store::new(&engine, 0);
        let timeout = ThreadOptions::new().timeout(ms(1));
        let id = spawn_with(&mut store, &module, "calls", timeout);
        for _ in 0..siblings {
            spawn_with(&mut store, &module, "spin", ThreadOptions::new());
        }
        run_until(&mut store, |store| finished(store, id));
        let exit = id.take_exit(&mut store);
        assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
        // Each call takes longer than it had. That is noticed by an OS thread, which has to
        // get a CPU.
        assert!(*store.data() < 500, "{}", store.data());
    }
}

fn a_run_ends_when_a_host_function_returns(preemption: Preemption) {
    let engine = engine(preemption);
    let module = straight(&engine);
    let mut store = Store::new(&engine, 0);
    let id = spawn_with(&mut store, &module, "calls", ThreadOptions::new());
    for _ in 0..20 {
        let run = store.run_wasm_threads_for(ms(1)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
    }
    // Each call takes longer than a run.
    assert!(*store.data() < 500, "{}", store.data());
    assert_eq!(id.info(&store).unwrap().state, ThreadState::Ready);
    assert_eq!(store.shutdown_wasm_threads(), 1);
    assert_killed(&mut store, id);
}

fn a_run_ends_when_a_libcall_returns(preemption: Preemption) {
    let (mut store, module) = straight_in_long_slices(preemption);
    let id = spawn_with(&mut store, &module, "copies", ThreadOptions::new());
    // All of the fills take a second or so, and then it spins: that no slice of this length
    // would end.
    let run = store.run_wasm_threads_for(ms(5)).unwrap();
    assert_eq!(run.end, RunEnd::TimeUp);
    store.shutdown_wasm_threads();
    assert_killed(&mut store, id);
}

fn a_kill_from_outside_ends_one_that_calls_the_host(preemption: Preemption) {
    let (mut store, module) = straight_in_long_slices(preemption);
    let id = spawn_with(&mut store, &module, "calls", ThreadOptions::new());
    let handle = id.remote(&mut store).unwrap();
    let killer = kill_later(handle);
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    killer.join().unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    assert!(*store.data() < 1_000);
    assert_killed(&mut store, id);
}

fn siblings_run_while_one_calls_the_host_in_a_row(preemption: Preemption) {
    let engine = engine(preemption);
    let module = straight(&engine);
    let mut store = Store::new(&engine, 0);
    let slice = match preemption {
        Preemption::Fuel => Slice::Fuel(100),
        _ => Slice::Time(ms(1)),
    };
    store.wasm_threads().set_slice(slice).unwrap();
    let ids = [(); 2].map(|()| spawn_with(&mut store, &module, "calls", ThreadOptions::new()));
    run_until(&mut store, |store| *store.data() >= 900);
    for id in ids {
        let stats = stats(&store, id);
        assert!(stats.preemptions >= 3, "{stats:?}");
    }
    store.shutdown_wasm_threads();
}

/// Whether it holds is up to the clock alone, so it is looked at many times.
#[test]
fn pauses_do_not_change_a_schedule_of_fuel() {
    let engine = engine(Preemption::Fuel);
    let wat = r#"(module
        (import "" "turn" (func $turn (param i32)))
        (func (export "run") (param i32) (local i32)
            (local.set 1 (i32.const 60))
            (loop
                (call $turn (local.get 0))
                (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut linker = Linker::<Vec<i32>>::new(&engine);
    linker
        .func_wrap("", "turn", |mut caller: Caller<'_, Vec<i32>>, n: i32| {
            caller.data_mut().push(n);
            let now = Instant::now();
            while now.elapsed() < Duration::from_micros(30) {
                std::hint::spin_loop();
            }
        })
        .unwrap();
    let run = |time: Duration| {
        let mut store = store_with_slice(&engine, Vec::new(), Slice::Fuel(100));
        for n in 0..5 {
            spawn_linked(&mut store, &linker, &module, "run", &[Val::I32(n)]);
        }
        let mut runs = 0;
        while store.run_wasm_threads_for(time).unwrap().end != RunEnd::AllFinished {
            runs += 1;
        }
        (store.into_data(), runs)
    };
    let (whole, _) = run(Duration::MAX);
    let (cut, runs) = run(Duration::from_micros(40));
    assert!(runs > 5, "{runs}");
    assert_eq!(whole, cut);
}

/// What a host function returns is nobody's root while its caller is suspended before it
/// has that.
fn results_of_a_host_function_survive_a_suspension(preemption: Preemption) {
    for collector in [Collector::DeferredReferenceCounting, Collector::Copying] {
        let mut config = config(preemption);
        config.wasm_gc(true).collector(collector);
        let engine = Engine::new(&config).unwrap();
        let wat = r#"(module
            (import "" "make" (func $make (param i32) (result externref i32 externref)))
            (import "" "number" (func $number (param externref) (result i32)))
            (import "" "collect" (func $collect))
            (func (export "run") (result i32) (local externref i32 externref i32)
                (loop
                    (call $make (local.get 3))
                    (local.set 2) (local.set 1) (local.set 0)
                    (if (i32.ne (call $number (local.get 0)) (local.get 3)) (then unreachable))
                    (if (i32.ne (local.get 1) (local.get 3)) (then unreachable))
                    (if (i32.ne (call $number (local.get 2)) (i32.const -1)) (then unreachable))
                    (br_if 0 (i32.lt_u
                        (local.tee 3 (i32.add (local.get 3) (i32.const 1)))
                        (i32.const 40))))
                (local.get 3))
            (func (export "collects") (loop (call $collect) (br 0))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap("", "make", |mut caller: Caller<'_, ()>, n: i32| {
                // A slice is over by then, where it is time.
                thread::sleep(ms(1));
                let first = ExternRef::new(&mut caller, n)?;
                let last = ExternRef::new(&mut caller, -1)?;
                Result::<_>::Ok((Some(first), n, Some(last)))
            })
            .unwrap();
        linker
            .func_wrap(
                "",
                "number",
                |caller: Caller<'_, ()>, of: Option<Rooted<ExternRef>>| -> Result<i32> {
                    let data = of.unwrap().data(&caller)?.unwrap();
                    Ok(*data.downcast_ref::<i32>().unwrap())
                },
            )
            .unwrap();
        linker
            .func_wrap("", "collect", |mut caller: Caller<'_, ()>| {
                caller.as_context_mut().gc(None).unwrap();
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let slice = match preemption {
            Preemption::Fuel => Slice::Fuel(1),
            _ => Slice::Time(Duration::from_micros(50)),
        };
        store.wasm_threads().set_slice(slice).unwrap();
        let ids = [(); 2].map(|()| spawn_linked(&mut store, &linker, &module, "run", &[]));
        spawn_linked(&mut store, &linker, &module, "collects", &[]);
        run_until(&mut store, |store| {
            ids.iter().all(|id| finished(store, *id))
        });
        for id in ids {
            assert_eq!(bits(&returned(&mut store, id)), [40]);
        }
        store.shutdown_wasm_threads();
    }
}

mod results_of_a_host_function_survive {
    use super::*;

    // Signals take no references.
    #[test]
    fn fuel() {
        results_of_a_host_function_survive_a_suspension(Preemption::Fuel);
    }

    #[test]
    fn epoch() {
        results_of_a_host_function_survive_a_suspension(Preemption::Epoch);
    }
}

/// A slice that is over in a guest which a host function has called is over when that returns.
fn a_slice_that_is_over_in_a_nested_guest_ends_with_the_host_function(preemption: Preemption) {
    let engine = engine(preemption);
    let wat = r#"(module
        (import "" "nest" (func $nest))
        (func (export "run") (loop (call $nest) (br 0)))
        (func (export "inner") (local i64)
            (local.set 0 (i64.const 3000000))
            (loop (br_if 0 (i32.wrap_i64 (local.tee 0 (i64.sub (local.get 0) (i64.const 1))))))))"#;
    assert_both_are_preempted(preemption, &engine, wat);
}

/// A host function that does not come back is not the scheduler's to end, but what is asked for
/// meanwhile is done as soon as it does.
fn a_kill_while_the_host_works_is_honoured_when_it_returns(preemption: Preemption) {
    let engine = engine(preemption);
    let wat = r#"(module (import "" "work" (func $work)) (import "" "after" (func $after))
        (func (export "run") (call $work) (call $after)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let working = Arc::new(AtomicBool::new(false));
    let killed = Arc::new(AtomicBool::new(false));
    let mut linker = Linker::<()>::new(&engine);
    let (is_working, was_killed) = (working.clone(), killed.clone());
    linker
        .func_wrap("", "work", move || {
            is_working.store(true, Ordering::SeqCst);
            spin_until(|| was_killed.load(Ordering::SeqCst));
        })
        .unwrap();
    linker
        .func_wrap("", "after", || -> Result<()> {
            bail!("it was killed before that")
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
    let handle = id.remote(&mut store).unwrap();
    let killer = thread::spawn(move || {
        spin_until(|| working.load(Ordering::SeqCst));
        handle.kill();
        killed.store(true, Ordering::SeqCst);
    });
    run_all(&mut store);
    killer.join().unwrap();
    assert_killed(&mut store, id);
}

/// One whose future is ready at once does not park its caller.
fn the_end_of_a_concurrent_host_function_is_one_too(preemption: Preemption) {
    let engine = engine(preemption);
    let module = straight(&engine);
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap_concurrent("", "host", |accessor, ()| {
            Box::pin(async move {
                accessor.with(|mut caller: Caller<'_, u32>| *caller.data_mut() += 1)?;
                thread::sleep(ms(2));
                Result::<_>::Ok(())
            })
        })
        .unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let calls = instance.get_func(&mut store, "calls").unwrap();
    let timeout = ThreadOptions::new().timeout(ms(1));
    let id = timeout.spawn(&mut store, calls, &[Val::I32(0)]).unwrap();
    run_all(&mut store);
    let exit = id.take_exit(&mut store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
    assert!(*store.data() < 500, "{}", store.data());
}

/// A host function whose error is an exception that its caller catches does not return, and
/// its end is no way around the end of a slice.
fn a_caught_exception_does_not_keep_a_slice_from_ending(preemption: Preemption) {
    let mut config = config(preemption);
    config.wasm_exceptions(true);
    let engine = Engine::new(&config).unwrap();
    let wat = r#"(module
        (import "" "nest" (func $nest))
        (tag $e)
        (func (export "run")
            (block $caught (try_table (catch_all $caught) (call $nest)))
            (loop br 0))
        (func (export "inner") (local i64)
            (local.set 0 (i64.const 3000000))
            (loop (br_if 0 (i32.wrap_i64 (local.tee 0 (i64.sub (local.get 0) (i64.const 1))))))
            (throw $e)))"#;
    assert_both_are_preempted(preemption, &engine, wat);
}

mod a_caught_exception {
    use super::*;

    // Signals take no exceptions.
    #[test]
    fn fuel() {
        a_caught_exception_does_not_keep_a_slice_from_ending(Preemption::Fuel);
    }

    #[test]
    fn epoch() {
        a_caught_exception_does_not_keep_a_slice_from_ending(Preemption::Epoch);
    }
}

for_each_preemption!(
    the_end_of_a_concurrent_host_function_is_one_too,
    a_limit_that_has_passed_in_the_host_ends_the_thread,
    a_run_ends_when_a_host_function_returns,
    a_run_ends_when_a_libcall_returns,
    a_kill_from_outside_ends_one_that_calls_the_host,
    siblings_run_while_one_calls_the_host_in_a_row,
    a_slice_that_is_over_in_a_nested_guest_ends_with_the_host_function,
    a_kill_while_the_host_works_is_honoured_when_it_returns,
);

/// Runs two threads of a guest that nests until each was preempted several times.
fn assert_both_are_preempted(preemption: Preemption, engine: &Engine, wat: &str) {
    let module = Module::new(engine, wat).unwrap();
    let linker = nests(engine, &module);
    let mut store = store_with_slice(engine, (), short_slice(preemption));
    let ids = [(); 2].map(|()| spawn_linked(&mut store, &linker, &module, "run", &[]));
    run_until(&mut store, |store| {
        ids.iter().all(|id| stats(store, *id).preemptions > 3)
    });
    assert_eq!(store.shutdown_wasm_threads(), 2);
}

/// A host function that calls `inner` of another instance of `module`.
fn nests(engine: &Engine, module: &Module) -> Linker<()> {
    let mut linker = Linker::new(engine);
    let nested = module.clone();
    linker
        .func_wrap(
            "",
            "nest",
            move |mut caller: Caller<'_, ()>| -> Result<()> {
                let none = Func::wrap(&mut caller, || {});
                let inner = Instance::new(&mut caller, &nested, &[none.into()])?;
                let inner = inner.get_typed_func::<(), ()>(&mut caller, "inner")?;
                inner.call(&mut caller, ())
            },
        )
        .unwrap();
    linker
}
