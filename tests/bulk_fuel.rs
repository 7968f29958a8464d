//! What bulk operations cost in fuel: what they do, whoever is to pay for it, and no more
//! than the guest has.

use crate::support::*;
use std::fmt::Write as _;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

const LIMIT: u64 = 1_000_000;

fn metered(preemption: Preemption) -> Store<()> {
    let mut store = Store::new(&Engine::new(&config_with_fuel(preemption)).unwrap(), ());
    store.set_fuel(1 << 40).unwrap();
    store
}

fn spawn_limited(store: &mut Store<()>, module: &Module, params: &[Val], limit: u64) -> ThreadId {
    let options = ThreadOptions::new().fuel_limit(limit);
    spawn_with(store, module, "run", params, options)
}

/// One for each kind of operation, on its operand, which is far too much for what it works on.
const OUT_OF_BOUNDS: &[(&str, &str)] = &[
    (
        "i32",
        "(memory.fill (i32.const 9) (i32.const 1) (local.get 0))",
    ),
    (
        "i32",
        "(memory.copy (i32.const 9) (i32.const 1) (local.get 0))",
    ),
    (
        "i32",
        "(memory.init $data (i32.const 9) (i32.const 0) (local.get 0))",
    ),
    (
        "i32",
        "(table.fill $t (i32.const 1) (ref.null func) (local.get 0))",
    ),
    (
        "i32",
        "(table.copy $t $t (i32.const 1) (i32.const 0) (local.get 0))",
    ),
    (
        "i64",
        "(memory.fill $wide (i64.const 9) (i32.const 1) (local.get 0))",
    ),
    (
        "i64",
        "(table.fill $far (i64.const 9) (ref.null func) (local.get 0))",
    ),
];

fn an_operation_out_of_bounds_costs_nothing(preemption: Preemption) {
    let mut store = metered(preemption);
    for (ty, operation) in OUT_OF_BOUNDS {
        for operand in ["-1", "1000000000"] {
            // Of a constant size, and of one that is known when it is executed.
            let constant = operation.replace("(local.get 0)", &format!("({ty}.const {operand})"));
            for operation in [operation, &*constant] {
                let wat = format!(
                    r#"(module (memory 1) (memory $wide i64 1) (data $data "x")
                        (table $t 10 10 funcref) (table $far i64 10 10 funcref)
                        (func (export "run") (param {ty}) {operation}))"#
                );
                let module = Module::new(store.engine(), wat).unwrap();
                let operand = operand.parse::<i64>().unwrap();
                let operand = match *ty {
                    "i32" => Val::I32(operand as i32),
                    _ => Val::I64(operand),
                };
                let id = spawn_limited(&mut store, &module, &[operand], LIMIT);
                run_all(&mut store);
                let used = stats(&store, id).fuel_consumed;
                assert!(used < 100, "{operation}: {used}");
                let trap = trapped(&mut store, id).downcast::<Trap>().unwrap();
                let expected = [Trap::MemoryOutOfBounds, Trap::TableOutOfBounds];
                assert!(expected.contains(&trap), "{operation}: {trap}");
            }
        }
    }
}

fn growing_that_fails_costs_nothing(preemption: Preemption) {
    let mut store = metered(preemption);
    let wat = r#"(module (memory 1 1) (memory $wide i64 1 1)
        (func (export "run") (param i32) (result i32 i64)
            (memory.grow (local.get 0))
            (memory.grow $wide (i64.extend_i32_s (local.get 0)))))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    for delta in [-1, 1, 65_535, i32::MAX] {
        let id = spawn_limited(&mut store, &module, &[Val::I32(delta)], LIMIT);
        run_all(&mut store);
        assert!(stats(&store, id).fuel_consumed < 100, "{delta}");
        let minus_one = [u128::from(u32::MAX), u128::from(u64::MAX)];
        assert_eq!(bits(&returned(&mut store, id)), minus_one, "{delta}");
    }
}

fn what_is_done_is_charged(preemption: Preemption) {
    const LEN: u64 = 60_000;
    let mut store = metered(preemption);
    for (operation, cost) in [
        (
            "(memory.fill (i32.const 9) (i32.const 1) (local.get 0))",
            LEN,
        ),
        (
            "(memory.copy (i32.const 9) (i32.const 1) (local.get 0))",
            LEN,
        ),
        ("(drop (memory.grow (local.get 0)))", 0),
    ] {
        let wat = format!(r#"(module (memory 1 1) (func (export "run") (param i32) {operation}))"#);
        let module = Module::new(store.engine(), wat).unwrap();
        let id = spawn_limited(&mut store, &module, &[Val::I32(LEN as i32)], LIMIT);
        run_all(&mut store);
        let used = stats(&store, id).fuel_consumed;
        assert!((cost..cost + 100).contains(&used), "{operation}: {used}");
        returned(&mut store, id);
    }
}

fn a_limit_is_looked_at_before_an_operation_is_done(preemption: Preemption) {
    let mut store = metered(preemption);
    let wat = r#"(module (memory (export "memory") 16)
        (func (export "run") (param i32)
            (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let before = store.get_fuel().unwrap();
    let options = ThreadOptions::new().fuel_limit(1_000);
    let id = options
        .spawn(&mut store, run, &[Val::I32(1 << 20)])
        .unwrap();
    run_all(&mut store);
    let Some(Exit::OverLimit(OverLimit::Fuel { limit, used, .. })) = id.take_exit(&mut store)
    else {
        panic!("should be over its limit");
    };
    // With what it would have taken.
    assert!(limit == 1_000 && used > 1 << 20, "{used}");
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    assert!(memory.data(&store).iter().all(|byte| *byte == 0));
    // Nobody else has paid for it.
    assert!(before - store.get_fuel().unwrap() <= 1_000);
}

fn one_who_grows_a_table_pays_no_more_than_it_may(preemption: Preemption) {
    let mut store = metered(preemption);
    let wat = r#"(module (table $t 1 funcref)
        (func (export "run") (param i32)
            (drop (table.grow $t (ref.null func) (local.get 0)))
            (loop br 0)))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    let before = store.get_fuel().unwrap();
    let id = spawn_limited(&mut store, &module, &[Val::I32(1_000_000)], 1_000);
    run_all(&mut store);
    let exit = id.take_exit(&mut store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
    assert!(before - store.get_fuel().unwrap() <= 1_000);
}

fn a_store_that_cannot_pay_keeps_what_it_has(preemption: Preemption) {
    let mut store = metered(preemption);
    store.set_fuel(100_000).unwrap();
    let wat = r#"(module (memory 16)
        (func (export "run") (param i32)
            (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    let greedy = spawn(&mut store, &module, "run", &[Val::I32(1 << 20)]);
    let modest = spawn(&mut store, &module, "run", &[Val::I32(1_000)]);
    run_all(&mut store);
    let trap = trapped(&mut store, greedy).downcast::<Trap>().unwrap();
    assert_eq!(trap, Trap::OutOfFuel);
    returned(&mut store, modest);
    assert!(store.get_fuel().unwrap() > 90_000);
}

/// Code without checks for `units` of fuel, after which the counter is no longer negative,
/// and then an operation of the largest cost, and a loop without end.
fn past_zero_and_far_beyond(units: usize) -> String {
    let mut straight = String::new();
    for _ in 0..units {
        write!(straight, "(drop (i32.const 0))").unwrap();
    }
    format!(
        r#"(module
            (memory $wide i64 1)
            (table $far i64 10 10 funcref)
            (func (export "run") (param i32 i64)
                (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                {straight}
                (drop (memory.grow $wide (local.get 1)))
                (drop (table.grow $far (ref.null func) (local.get 1)))
                (loop br 0)))"#
    )
}

fn no_operation_makes_the_counter_wrap(preemption: Preemption) {
    let config = config_with_fuel(preemption);
    let wat = past_zero_and_far_beyond(2_000);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, wat).unwrap();
    // Where the counter passes zero is not known from here.
    for turns in (1..400).step_by(13) {
        for delta in [-1, i64::MIN, i64::MIN + 1_000, i64::MAX] {
            let mut store = Store::new(&engine, ());
            store.set_fuel(u64::MAX).unwrap();
            if preemption == Preemption::Fuel {
                store.wasm_threads().set_slice(Slice::Fuel(2_000)).unwrap();
            }
            let params = [Val::I32(turns), Val::I64(delta)];
            let id = spawn_limited(&mut store, &module, &params, 20_000);
            let other = spawn_limited(&mut store, &module, &params, 20_000);
            run_all(&mut store);
            for id in [id, other] {
                let exit = id.take_exit(&mut store);
                assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
            }
        }
    }
}

#[test]
fn without_a_budget_fuel_is_only_a_slice() {
    let engine = engine(Preemption::Fuel);
    let wat = r#"(module (memory 1) (memory $wide i64 1)
        (func (export "run") (result i32) (local i32)
            (loop
                (drop (memory.grow $wide (i64.const -1)))
                (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 9))))
            (local.get 0)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    let ids = [(); 3].map(|()| spawn(&mut store, &module, "run", &[]));
    run_all(&mut store);
    for id in ids {
        assert_eq!(bits(&returned(&mut store, id)), [9]);
    }
}

#[test]
fn a_budget_that_is_set_holds_where_none_was_asked_for() {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(10_000).unwrap();
    let id = spawn_spinner(&mut store, &module).0;
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    let trap = trapped(&mut store, id).downcast::<Trap>().unwrap();
    assert_eq!(trap, Trap::OutOfFuel);
}

for_each_preemption!(
    an_operation_out_of_bounds_costs_nothing,
    growing_that_fails_costs_nothing,
    what_is_done_is_charged,
    a_limit_is_looked_at_before_an_operation_is_done,
    one_who_grows_a_table_pays_no_more_than_it_may,
    a_store_that_cannot_pay_keeps_what_it_has,
    no_operation_makes_the_counter_wrap,
);
