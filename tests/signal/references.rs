//! Functions that may hold references to the garbage-collected heap are preempted where they
//! poll, and all others anywhere.

use super::support::*;
use wasmtime::preempt::ThreadState;

const COLLECTORS: [Collector; 3] = [
    Collector::DeferredReferenceCounting,
    Collector::Copying,
    Collector::Null,
];

fn engine_with(collector: Collector) -> Engine {
    let mut config = config();
    config.collector(collector).wasm_exceptions(true);
    Engine::new(&config).unwrap()
}

/// Neither calls, nor loops of other functions, nor returns may be what preempts them: for each,
/// a sibling has to get its turns.
#[test]
fn a_function_with_references_is_preempted_wherever_it_spends_its_time() {
    let endless = [
        // In a loop, with a reference in a local, on the operand stack, or neither at the time.
        "(func (export \"run\") (local externref) (loop br 0))",
        "(func (export \"run\") (ref.i31 (i32.const 1)) (loop br 0) drop)",
        "(func (export \"run\") (drop (struct.new $s (i32.const 1))) (loop br 0))",
        // In calls.
        "(func $f (param i32) (result (ref $s))
           (if (local.get 0) (then
             (drop (call $f (i32.sub (local.get 0) (i32.const 1))))
             (drop (call $f (i32.sub (local.get 0) (i32.const 1))))))
           (struct.new $s (i32.const 1)))
         (func (export \"run\") (drop (call $f (i32.const 50))))",
        // In tail calls.
        "(func $f (export \"run\") (local externref) (return_call $f))",
        // In one without references that it calls, or that calls it.
        "(func $spin (loop br 0))
         (func (export \"run\") (local externref) (call $spin))",
        "(func $f (result (ref $s)) (struct.new $s (i32.const 1)))
         (func $g (drop (call $f)))
         (func (export \"run\") (loop (call $g) br 0))",
        "(func $f (local externref))
         (func (export \"run\") (call $f) (loop br 0))",
        // In exceptions.
        "(tag $t)
         (func (export \"run\")
           (loop (block (try_table (catch $t 0) (throw $t))) br 0))",
        "(tag $t)
         (func $throw (throw $t))
         (func (export \"run\")
           (loop $l (block (try_table (catch $t 0) (call $throw))) (br $l)))",
        // In allocations, and in what they return to.
        "(type $a (array (mut i64)))
         (func (export \"run\") (loop (drop (array.new_default $a (i32.const 100))) br 0))",
    ];
    let inlining = [Inlining::No, Inlining::Yes];
    for (collector, inlining) in COLLECTORS.into_iter().zip(inlining.into_iter().cycle()) {
        let mut config = config();
        config.collector(collector).wasm_exceptions(true);
        config.compiler_inlining(inlining);
        let engine = Engine::new(&config).unwrap();
        let guests = Module::new(&engine, GUESTS).unwrap();
        for endless in endless {
            if collector == Collector::Null && endless.contains("new") {
                // It is out of memory soon.
                continue;
            }
            let wat = format!("(module (type $s (struct (field i32))) {endless})");
            let module = Module::new(&engine, &wat).unwrap();
            let mut store = store(&engine, ());
            let id = spawn(&mut store, &module, "run", &[]);
            let (spinner, turns) = spawn_spinner(&mut store, &guests);
            let start = Instant::now();
            while stats(&store, id).preemptions < 20 || stats(&store, spinner).preemptions < 20 {
                store
                    .run_wasm_threads_for(Duration::from_millis(5))
                    .unwrap();
                assert!(start.elapsed() < HANG, "{collector:?}: {wat}");
            }
            assert!(turns.get(&mut store).unwrap_i64() > 0);
            assert_eq!(store.shutdown_wasm_threads(), 2);
            store.gc(None).unwrap();
        }
    }
}

/// Where the signal comes in a libcall, nothing else is due before the endless loop.
#[test]
fn a_slice_that_ends_in_a_libcall_of_a_function_with_references_is_not_lost() {
    struct Slow;
    impl ResourceLimiter for Slow {
        fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
            Ok(true)
        }
        fn table_growing(&mut self, from: usize, _: usize, _: Option<usize>) -> Result<bool> {
            if from > 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
            Ok(true)
        }
    }
    let engine = engine_with(Collector::Copying);
    let module = r#"(module
        (table $t 1 externref)
        (func $grow (drop (table.grow $t (ref.null extern) (i32.const 1))))
        (func (export "run") (call $grow) (loop br 0)))"#;
    let module = Module::new(&engine, module).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine, Slow);
    store.limiter(|slow| slow);
    for _ in 0..5 {
        let id = spawn(&mut store, &module, "run", &[]);
        let other = spawn(&mut store, &guests, "nothing", &[]);
        crate::support::run_until(&mut store, |store| {
            other.info(store).unwrap().state == ThreadState::Finished
        });
        // Nor is the end of a run in which it is alone.
        let run = store
            .run_wasm_threads_for(Duration::from_millis(2))
            .unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        id.kill(&mut store).unwrap();
    }
}

/// A comparison that a host function calls back, say.
#[test]
fn a_guest_with_references_that_the_host_calls_is_not_slowed_down_by_an_overdue_slice() {
    let engine = engine_with(Collector::Copying);
    let module = r#"(module
        (import "" "call_back" (func $call_back))
        (func (export "compare") (param externref) (result i64) (local i64)
          (loop $again
            (br_if $again (i64.lt_u
              (local.tee 1 (i64.add (local.get 1) (i64.const 1))) (i64.const 20000000))))
          (local.get 1))
        (func (export "run") (call $call_back)))"#;
    let module = Module::new(&engine, module).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut linker = Linker::new(&engine);
    let call_back = |mut caller: Caller<'_, Option<TypedFunc<Option<Rooted<ExternRef>>, i64>>>| {
        let compare = caller.data().clone().unwrap();
        assert_eq!(compare.call(&mut caller, None)?, 20_000_000);
        Ok(())
    };
    linker.func_wrap("", "call_back", call_back).unwrap();
    let mut store = store(&engine, None);
    spawn_spinner(&mut store, &guests);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let compare = instance.get_typed_func(&mut store, "compare").unwrap();
    let start = Instant::now();
    compare.call(&mut store, None).unwrap();
    let plain = start.elapsed();
    *store.data_mut() = Some(compare);
    let id = spawn_in(&mut store, instance, "run", &[]);
    crate::support::run_until(&mut store, |store| {
        id.info(store).unwrap().state == ThreadState::Finished
    });
    let stats = stats(&store, id);
    returned(&mut store, id);
    // With a call of the host in each turn it would take some twenty times as long.
    let limit = plain * 10 + Duration::from_millis(200);
    assert!(stats.cpu_time < limit, "{:?} and {plain:?}", stats.cpu_time);
}

#[test]
fn invalid_functions_are_errors() {
    let engine = engine_with(Collector::Copying);
    for body in [
        "call 9999",
        "return_call 9999",
        "global.get 9999 drop",
        "global.set 9999",
        "table.get 9999 drop",
        "table.fill 9999",
        "table.copy 9999 9998",
        "call_indirect (type 9999)",
        "call_indirect 9999 (type 0)",
        "call_ref 9999",
        "call_ref $struct",
        "return_call_ref $struct",
        "(local (ref null 9999))",
        "struct.new 9999",
        "throw 9999",
        "i32.add",
    ] {
        let wat = format!("(module (type (func)) (type $struct (struct)) (func {body}))");
        let error = Module::new(&engine, &wat).unwrap_err();
        assert!(format!("{error:?}").contains("offset"), "{body}: {error:?}");
    }
}

/// Makes a list, and takes it apart while a sibling collects: each reference is in a register or
/// on the stack of a function that polls, or of its caller.
#[cfg(debug_assertions)]
const STEPS: &str = r#"
(module
  (import "" "start" (func $start))
  (import "" "stop" (func $stop))
  (import "" "collect" (func $collect))
  (type $node (struct (field i64) (field (mut (ref null $node)))))
  (func $add (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
  (func (export "run") (result i64)
    (local $list (ref null $node)) (local $n i64) (local $sum i64)
    (call $start)
    (local.set $n (i64.const 4))
    (loop $make
      (local.set $list (struct.new $node (local.get $n) (local.get $list)))
      (br_if $make (i32.wrap_i64
        (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
    (loop $take
      (local.set $sum (call $add (local.get $sum) (struct.get $node 0 (local.get $list))))
      (local.set $list (struct.get $node 1 (local.get $list)))
      (br_if $take (i32.eqz (ref.is_null (local.get $list)))))
    (call $stop)
    (local.get $sum))
  (func (export "sibling")
    (local $garbage (ref null $node))
    (local.set $garbage (struct.new $node (i64.const 99) (ref.null $node)))
    (call $collect)
    (drop (struct.new $node (i64.const 98) (local.get $garbage)))))
"#;

/// Has a signal come before each instruction, or before some.
#[cfg(debug_assertions)]
fn step_through(some: usize) {
    use super::stepping::{self, Plan};
    for collector in COLLECTORS {
        let engine = engine_with(collector);
        let module = Module::new(&engine, STEPS).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "start", stepping::start).unwrap();
        linker.func_wrap("", "stop", stepping::stop).unwrap();
        let collect = |mut caller: Caller<'_, ()>| caller.gc(None);
        linker.func_wrap("", "collect", collect).unwrap();
        let (mut stopped, mut at_polls) = (0, 0);
        for n in (0..).step_by(some) {
            let mut store = Store::new(&engine, ());
            let slice = Slice::Time(Duration::from_secs(1_000));
            store.wasm_threads().set_slice(slice).unwrap();
            let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
            spawn_linked(&mut store, &linker, &module, "sibling", &[]);
            stepping::prepare(Plan::At(n), &[&module], None);
            let run = run_all(&mut store);
            let seen = stepping::seen();
            assert_eq!(seen.mistake, None, "{collector:?} at {n}");
            assert_eq!(
                bits(&returned(&mut store, id)),
                [10],
                "{collector:?} at {n}"
            );
            stopped += seen.preempted;
            at_polls += run.preemptions - seen.preempted;
            if seen.instructions <= n {
                break;
            }
        }
        // In `$add`, and in the others.
        assert!(stopped > 0 && at_polls > 5, "{stopped}, {at_polls}");
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_signal_at_some_instructions_of_functions_with_references_is_harmless() {
    // On x86-64, all of the host is stepped through as well. Elsewhere, they are fewer than `$add`
    // has.
    step_through(if cfg!(target_arch = "x86_64") { 31 } else { 5 });
}

#[test]
#[cfg(debug_assertions)]
#[ignore = "long: cargo xtask test --full"]
fn a_signal_at_any_instruction_of_functions_with_references_is_harmless() {
    step_through(1);
}

/// Lists that threads make, keep across each other's collections, and add up.
const LISTS: &str = r#"
(module
  (type $node (struct (field i64) (field (mut (ref null $node)))))
  (global $kept (mut (ref null $node)) (ref.null $node))
  (table $table 4 (ref null $node))
  (func $mix (param $x i64) (param $n i32) (result i64)
    (loop $again
      (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 5)) (i64.const 77)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $make (param $n i32) (result (ref null $node))
    (local $list (ref null $node))
    (loop $again
      (local.set $list (struct.new $node (i64.extend_i32_u (local.get $n)) (local.get $list)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $list))
  (func $sum (param $list (ref null $node)) (result i64)
    (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (struct.get $node 0 (local.get $list))))
      (br_if $again (i32.eqz (ref.is_null
        (local.tee $list (struct.get $node 1 (local.get $list)))))))
    (local.get $sum))
  (func (export "run") (param $turns i32) (result i64)
    (local $x i64) (local $list (ref null $node))
    (loop $again
      (local.set $list (call $make (i32.const 100)))
      ;; Held by this frame alone, while others may collect.
      (local.set $x (call $mix (local.get $x) (i32.const 200)))
      (local.set $x (i64.add (local.get $x) (call $sum (local.get $list))))
      (global.set $kept (local.get $list))
      (table.set $table (i32.const 2) (call $make (i32.const 10)))
      (local.set $x (call $mix (local.get $x) (i32.const 200)))
      (local.set $x (i64.add (local.get $x) (call $sum (global.get $kept))))
      (local.set $x (i64.add (local.get $x) (call $sum (table.get $table (i32.const 2)))))
      (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
    (local.get $x)))
"#;

fn lists(turns: i32, preemptions: u64) {
    for collector in COLLECTORS {
        // Nothing is ever freed.
        let turns = match collector {
            Collector::Null => turns.min(3_000),
            _ => turns,
        };
        let engine = engine_with(collector);
        let module = Module::new(&engine, LISTS).unwrap();
        let mut plain = Store::new(&engine, ());
        let instance = Instance::new(&mut plain, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i64>(&mut plain, "run");
        let expected = run.unwrap().call(&mut plain, turns).unwrap();
        let mut done = 0;
        while done < preemptions {
            let mut store = store(&engine, ());
            let ids = [(); 6].map(|()| spawn(&mut store, &module, "run", &[Val::I32(turns)]));
            done += run_all(&mut store).preemptions;
            for id in ids {
                let result = returned(&mut store, id);
                assert_eq!(result[0].unwrap_i64(), expected, "{collector:?}");
            }
        }
    }
}

#[test]
fn objects_stay_alive_and_whole_while_siblings_collect() {
    lists(2_000, 200);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn objects_stay_alive_and_whole_while_siblings_collect_for_long() {
    lists(20_000, 40_000);
}

/// Compares random modules as guest threads with plain calls, until threads have been preempted
/// this often.
fn compare(collector: Collector, preemptions: u64) {
    let engine = engine_with(collector);
    let spinner = Module::new(&engine, GUESTS).unwrap();
    let mut random = Random::new(7);
    let (mut done, mut calls, mut returned) = (0, 0, 0);
    while done < preemptions {
        let Some(wasm) = module_with_references(&mut random) else {
            continue;
        };
        let module = Module::new(&engine, &wasm).unwrap();
        if Instance::new(&mut limited_store(&engine), &module, &[]).is_err() {
            continue;
        }
        for export in module.exports() {
            let ExternType::Func(ty) = export.ty() else {
                continue;
            };
            let Some(arguments) = arguments(&ty, &mut random) else {
                continue;
            };
            let mut store = limited_store(&engine);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let func = instance.get_func(&mut store, export.name()).unwrap();
            let mut results = vec![Val::I32(0); ty.results().len()];
            let result = func.call(&mut store, &arguments, &mut results);
            let expected = match result {
                Ok(()) => Ok(bits(&results)),
                Err(error) => Err(error.downcast_ref::<Trap>().copied()),
            };
            let expected = (expected, state(&mut store, instance));
            for _ in 0..3 {
                let mut store = limited_store(&engine);
                let slice = shortest_slice(Preemption::Signal);
                store.wasm_threads().set_slice(slice).unwrap();
                spawn_spinner(&mut store, &spinner);
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let id = spawn_in(&mut store, instance, export.name(), &arguments);
                crate::support::run_until(&mut store, |store| {
                    id.info(store).unwrap().state == ThreadState::Finished
                });
                done += stats(&store, id).preemptions;
                let found = match id.take_exit(&mut store) {
                    Some(Exit::Returned(values)) => Ok(bits(&values)),
                    Some(Exit::Trapped(error)) => Err(error.downcast_ref::<Trap>().copied()),
                    other => panic!("{other:?}"),
                };
                let found = (found, state(&mut store, instance));
                assert_eq!(found, expected, "{collector:?}: {}", export.name());
            }
            calls += 1;
            returned += usize::from(expected.0.is_ok());
        }
    }
    println!("- {collector:?}: {calls} different calls, of which {returned} returned");
    assert!(returned * 4 > calls, "{returned} of {calls}");
}

#[test]
fn random_modules_with_references_do_the_same_in_slices() {
    for collector in COLLECTORS {
        compare(collector, 100);
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn random_modules_with_references_do_the_same_in_100_000_slices() {
    for collector in COLLECTORS {
        compare(collector, 34_000);
    }
}
