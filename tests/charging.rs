//! Who pays for what a guest, and the host for it, has done: whichever way it ends.

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

fn metered(preemption: Preemption) -> Engine {
    Engine::new(&config_with_fuel(preemption)).unwrap()
}

fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    store.set_fuel(1 << 40).unwrap();
    store
}

/// How a guest can trap, after so many turns of a loop.
const TRAPS: &[&str] = &[
    "(drop (i32.div_s (i32.const 1) (i32.eqz (i32.const 1))))",
    "(drop (i32.load (i32.const -4)))",
    "(i32.store (i32.const -4) (i32.const 1))",
    "(drop (table.get $t (i32.const 9)))",
    "(call_indirect $t (type $f) (i32.const 0))",
    "(drop (i32.trunc_f32_s (f32.const nan)))",
    "(memory.fill (i32.const -1) (i32.const 0) (local.get 0))",
    "unreachable",
];

/// Each turn takes 5 units or more.
fn that_traps(engine: &Engine, trap: &str) -> Module {
    let wat = format!(
        r#"(module
            (type $f (func)) (table $t 1 1 funcref) (memory 1)
            (func $loops (param i32)
                (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "loops") (param i32)
                (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                {trap})
            (func (export "calls") (param i32) (call $loops (local.get 0)) {trap}))"#
    );
    Module::new(engine, wat).unwrap()
}

fn a_trap_of_any_kind_is_charged_for_what_was_done(preemption: Preemption) {
    let engine = metered(preemption);
    for trap in TRAPS {
        let module = that_traps(&engine, trap);
        for export in ["loops", "calls"] {
            let mut store = store(&engine);
            let before = store.get_fuel().unwrap();
            let id = spawn(&mut store, &module, export, &[Val::I32(1_000_000)]);
            run_all(&mut store);
            let counted = stats(&store, id).fuel_consumed;
            assert!(counted >= 4_999_000, "{export}, {trap}: {counted}");
            assert_eq!(before - store.get_fuel().unwrap(), counted, "{trap}");
            assert!(trapped(&mut store, id).is::<Trap>());
        }
    }
}

fn straight_code_before_a_trap_is_charged(preemption: Preemption) {
    // No loops and no calls, but branches over the places where it is taken note of.
    let engine = metered(preemption);
    let part = "(block (br_if 0 (local.get 0)) nop)".to_string()
        + &"(drop (i32.add (i32.const 1) (local.get 0)))".repeat(100);
    let skipped =
        "(block (br_if 0 (local.get 0))".to_string() + &"(drop (i32.const 1))".repeat(300) + ")";
    let parts = (part + &skipped).repeat(20);
    let ends = ["unreachable", "(drop (i32.load (i32.const -4)))"];
    let [exact, counted] = ends.map(|end| {
        let wat = format!(r#"(module (memory 1) (func (export "run") (param i32) {parts} {end}))"#);
        let module = Module::new(&engine, wat).unwrap();
        let mut store = store(&engine);
        let id = spawn(&mut store, &module, "run", &[Val::I32(1)]);
        run_all(&mut store);
        stats(&store, id).fuel_consumed
    });
    assert!(exact > 6_000, "{exact}");
    // What was not yet taken note of, and little more, is lost.
    assert!(counted + 512 >= exact, "{counted} of {exact}");
}

fn guests_that_trap_use_up_what_their_group_has(preemption: Preemption) {
    let engine = metered(preemption);
    let module = that_traps(&engine, TRAPS[0]);
    let mut store = store(&engine);
    let limits = ThreadLimits::new().fuel(20_000_000);
    store.wasm_threads().set_group_limits(7, limits).unwrap();
    let mut over_at = None;
    for n in 0..40 {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_func(&mut store, "loops").unwrap();
        let options = ThreadOptions::new().group(7);
        let id = options
            .spawn(&mut store, run, &[Val::I32(1_800_000)])
            .unwrap();
        run_all(&mut store);
        if let Some(Exit::OverLimit(over)) = id.take_exit(&mut store) {
            assert!(
                matches!(over, OverLimit::Fuel { group: true, .. }),
                "{over}"
            );
            over_at = Some(n);
            break;
        }
    }
    assert_eq!(over_at, Some(2));
}

fn a_start_function_that_traps_is_charged(preemption: Preemption) {
    let engine = metered(preemption);
    let wat = r#"(module (memory 1)
        (func $start (local i32)
            (local.set 0 (i32.const 1000000))
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (drop (i32.load (i32.const -4))))
        (start $start)
        (func (export "run")))"#;
    let module = Module::new(&engine, wat).unwrap();
    let pre = Linker::new(&engine).instantiate_pre(&module).unwrap();
    let mut store = store(&engine);
    let id = ThreadOptions::new()
        .spawn_instance(&mut store, &pre, |mut store, instance| {
            Ok((instance.get_func(&mut store, "run").unwrap(), vec![]))
        })
        .unwrap();
    run_all(&mut store);
    assert!(stats(&store, id).fuel_consumed >= 4_999_000);
    assert!(trapped(&mut store, id).is::<Trap>());
}

fn a_host_function_can_charge_its_caller(preemption: Preemption) {
    let engine = metered(preemption);
    let wat = r#"(module
        (import "" "work" (func $work))
        (func (export "run") (param i32)
            (loop (call $work) (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap("", "work", |mut caller: Caller<'_, u32>| -> Result<()> {
            *caller.data_mut() += 1;
            let fuel = caller.get_fuel()?;
            caller.set_fuel(fuel - 10_000)
        })
        .unwrap();
    for (group, limits) in [
        (0, ThreadLimits::new().fuel(100_000)),
        (5, ThreadLimits::new()),
    ] {
        let mut store = Store::new(&engine, 0);
        store.set_fuel(1 << 40).unwrap();
        let of_group = ThreadLimits::new().fuel(100_000);
        store.wasm_threads().set_group_limits(5, of_group).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        let options = ThreadOptions::new().limits(limits).group(group);
        let id = options.spawn(&mut store, run, &[Val::I32(1_000)]).unwrap();
        run_all(&mut store);
        assert_eq!(*store.data(), 10, "group {group}");
        let counted = stats(&store, id).fuel_consumed;
        assert!((100_000..101_000).contains(&counted), "{counted}");
        assert_eq!((1 << 40) - store.get_fuel().unwrap(), counted);
        let exit = id.take_exit(&mut store);
        assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
    }
}

fn one_that_ends_beyond_its_limit_is_over_it(preemption: Preemption) {
    let engine = metered(preemption);
    let straight = "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(1_000);
    for end in ["", "unreachable"] {
        let wat = format!(r#"(module (func (export "run") {straight} {end}))"#);
        let module = Module::new(&engine, wat).unwrap();
        for (limit, is_over) in [(100, true), (1 << 20, false)] {
            let mut store = store(&engine);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            let options = ThreadOptions::new().fuel_limit(limit);
            let id = options.spawn(&mut store, run, &[]).unwrap();
            run_all(&mut store);
            let exit = id.take_exit(&mut store);
            assert_eq!(
                matches!(exit, Some(Exit::OverLimit(_))),
                is_over,
                "{exit:?}"
            );
        }
    }
}

fn a_group_is_not_over_its_limit_by_what_suspended_threads_hold(preemption: Preemption) {
    const LIMIT: u64 = 3_000_000;
    let engine = metered(preemption);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine);
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    store
        .wasm_threads()
        .set_group_limits(3, ThreadLimits::new().fuel(LIMIT))
        .unwrap();
    let ids: Vec<_> = (0..10)
        .map(|_| {
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let spin = instance.get_func(&mut store, "spin").unwrap();
            let options = ThreadOptions::new().group(3);
            options.spawn(&mut store, spin, &[]).unwrap()
        })
        .collect();
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    let used: u64 = ids.iter().map(|id| stats(&store, *id).fuel_consumed).sum();
    // Beyond it by what is between two checks, and by the least that each is given.
    assert!((LIMIT..LIMIT + 10 * 1_100).contains(&used), "{used}");
}

/// The store's fuel is never more than it was, however often guests are suspended in between,
/// and what is gone is what they were charged for.
fn fuel_is_never_made(preemption: Preemption) {
    // Each does something else in a loop that calls the host or compiled code's helpers.
    let mut bodies = vec![
        "(drop (ref.func $f))",
        "(drop (table.get $t (i32.const 0)))",
        "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))",
        "(memory.fill (i32.const 0) (i32.const 1) (local.get 0))",
        "(drop (memory.grow (i32.const 0)))",
        "(call $host)",
    ];
    let mut config = config_with_fuel(preemption);
    if preemption != Preemption::Signal {
        config.wasm_gc(true);
        bodies.push("(drop (struct.new_default $s))");
        bodies.push("(drop (array.new_default $a (i32.const 100)))");
        bodies.push("(drop (table.grow $g (ref.null func) (i32.const 0)))");
        bodies.push("(block $h (try_table (catch $e $h) (throw $e)))");
    }
    let types = match preemption {
        Preemption::Signal => "",
        _ => {
            "(type $s (struct (field i32))) (type $a (array (mut i32))) (tag $e)
             (table $g 1 2 funcref)"
        }
    };
    // More than is taken note of at a time.
    let straight = "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(150);
    let engine = Engine::new(&config).unwrap();
    for body in bodies {
        let wat = format!(
            r#"(module
                (import "" "host" (func $host))
                {types}
                (memory 1) (table $t 1 1 funcref) (func $f) (elem (table $t) (i32.const 0) func $f)
                (func (export "run") (param i32)
                    (loop {straight} {body} (br 0))))"#
        );
        let module = Module::new(&engine, wat).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "host", || {}).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(1 << 40).unwrap();
        let slice = match preemption {
            Preemption::Fuel => Slice::Fuel(1_000_000),
            _ => shortest_slice(preemption),
        };
        store.wasm_threads().set_slice(slice).unwrap();
        let ids =
            [(); 2].map(|()| spawn_linked(&mut store, &linker, &module, "run", &[Val::I32(8)]));
        let mut left = 1 << 40;
        for _ in 0..20 {
            store.run_wasm_threads_for(ms(1)).unwrap();
            let fuel = store.get_fuel().unwrap();
            // Where slices are time suspended threads hold some, and give it back.
            if preemption == Preemption::Fuel {
                assert!(fuel <= left, "{body}: {left}, then {fuel}");
            }
            left = fuel;
        }
        store.shutdown_wasm_threads();
        let used: u64 = ids.iter().map(|id| stats(&store, *id).fuel_consumed).sum();
        assert_eq!((1 << 40) - store.get_fuel().unwrap(), used, "{body}");
    }
}

/// What a guest is charged for does not depend on what it calls in between.
fn a_helper_of_compiled_code_charges_for_nothing_else(preemption: Preemption) {
    let engine = Engine::new(&config_with_fuel(preemption)).unwrap();
    let straight = "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(200);
    let wat = format!(
        r#"(module (func $f) (elem declare func $f)
            (func (export "run") (param i32)
                (loop {straight} (drop (ref.func $f)) {straight}
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#
    );
    let module = Module::new(&engine, wat).unwrap();
    let mut plain = store(&engine);
    let instance = Instance::new(&mut plain, &module, &[]).unwrap();
    let run = instance
        .get_typed_func::<i32, ()>(&mut plain, "run")
        .unwrap();
    let before = plain.get_fuel().unwrap();
    run.call(&mut plain, 50_000).unwrap();
    let expected = before - plain.get_fuel().unwrap();

    let mut store = store(&engine);
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    let ids = [(); 2].map(|()| spawn(&mut store, &module, "run", &[Val::I32(50_000)]));
    run_all(&mut store);
    for id in ids {
        assert_eq!(stats(&store, id).fuel_consumed, expected);
        returned(&mut store, id);
    }
}

#[test]
fn setting_a_budget_where_there_was_none_charges_nobody() {
    let engine = engine(Preemption::Fuel);
    let wat = r#"(module (import "" "host" (func $host)) (func (export "run") (call $host)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, ()>| {
            caller.set_fuel(1_000_000).unwrap();
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
    run_all(&mut store);
    assert!(stats(&store, id).fuel_consumed < 100);
    returned(&mut store, id);
}

for_each_preemption!(
    fuel_is_never_made,
    a_helper_of_compiled_code_charges_for_nothing_else,
    a_trap_of_any_kind_is_charged_for_what_was_done,
    straight_code_before_a_trap_is_charged,
    guests_that_trap_use_up_what_their_group_has,
    a_start_function_that_traps_is_charged,
    a_host_function_can_charge_its_caller,
    one_that_ends_beyond_its_limit_is_over_it,
    a_group_is_not_over_its_limit_by_what_suspended_threads_hold,
);
