//! Tail calls that need more room for arguments than their caller had: their frame
//! is moved, and what is where it will be is whatever the guest has left there.

use crate::signal::support::{engine, store};
use crate::support::{bits, finished, ms, returned, run_until, stats, until_preempted};
use std::fmt::Write;
use wasmtime::*;

/// Arguments that fill the stack below with what is no address.
fn guest() -> String {
    let mut params = String::new();
    let mut poison = String::new();
    for _ in 0..20 {
        params.push_str(" i64");
        poison.push_str(" (i64.const 0x10)");
    }
    let mut wat = String::new();
    write!(
        wat,
        r#"(module
            (func $poison (param{params}))
            (func $few (export "run") (param i64)
                (return_call $many {poison}))
            (func $many (param{params})
                (return_call $mid (local.get 0)))
            (func $mid (param i64)
                (call $poison {poison})
                (return_call $few (local.get 0))))"#
    )
    .unwrap();
    wat
}

fn frames_that_move(stores: usize) {
    let engine = engine();
    let module = Module::new(&engine, guest()).unwrap();
    for i in 0..stores {
        let mut store = store(&engine, ());
        for _ in 0..2 {
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            store.spawn_wasm_thread(run, &[Val::I64(1)]).unwrap();
        }
        let time = std::time::Duration::from_micros(200 + i as u64 % 100);
        store.run_wasm_threads_for(time).unwrap();
        assert_eq!(store.shutdown_wasm_threads(), 2);
    }
    // And they are preempted at all.
    let mut store = store(&engine, ());
    for _ in 0..2 {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        store.spawn_wasm_thread(run, &[Val::I64(1)]).unwrap();
    }
    until_preempted(10, || {
        store.run_wasm_threads_for(ms(100)).unwrap().preemptions
    });
}

#[test]
fn a_thread_can_be_killed_while_its_frame_moves() {
    frames_that_move(300);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_thread_can_be_killed_while_its_frame_moves_many_times() {
    frames_that_move(20_000);
}

/// A signal that finds a frame on the move comes again soon, and not later and later. The control
/// is a guest that can be stopped anywhere, in the same run.
#[test]
fn slices_of_one_whose_frames_move_are_not_much_longer() {
    let engine = engine();
    // Two functions that tail call each other, and move their frames most of the time.
    let mut params = String::new();
    let mut arguments = String::new();
    for i in 0..60 {
        params.push_str(" i64");
        write!(arguments, " (local.get {i})").unwrap();
    }
    let wat = format!(
        r#"(module
            (func $few (param i64) (return_call $many {}))
            (func $many (param{params}) (return_call $more {arguments} (i64.const 1)))
            (func $more (param{params} i64) (return_call $many {arguments}))
            (func (export "moves") (call $few (i64.const 1)))
            (func (export "spins") (loop br 0)))"#,
        "(i64.const 1)".repeat(60)
    );
    let module = Module::new(&engine, wat).unwrap();
    let mut store = store(&engine, ());
    let slice = Slice::Time(std::time::Duration::from_micros(50));
    store.wasm_threads().set_slice(slice).unwrap();
    let [moves, spins] = ["moves", "spins"].map(|export| {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let func = instance.get_func(&mut store, export).unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap()
    });
    // Each is dispatched as often as the other.
    run_until(&mut store, |store| stats(store, moves).preemptions > 2_000);
    let [moves, spins] = [moves, spins].map(|id| stats(&store, id).cpu_time);
    assert!(moves < 10 * spins, "{moves:?} beside {spins:?}");
}

/// A function that needs room for a large frame checks for it, and probes it, before it moves its
/// frame.
#[test]
fn one_whose_large_frames_move_is_preempted_and_right() {
    const TURNS: i64 = 10_000_000;
    let engine = engine();
    let held = "(global.get $g) ".repeat(4_000);
    let sums = "(i64.add) ".repeat(4_000 - 1);
    let wat = format!(
        r#"(module
            (global $g (mut i64) (i64.const 1))
            (func $nothing)
            (func $large (export "run") (param $n i64) (param $sum i64) (result i64)
                (if (i64.eq (local.get $n) (i64.const -1))
                    (then {held} (call $nothing) {sums} (global.set $g)))
                (if (i64.eqz (local.get $n)) (then (return (local.get $sum))))
                (return_call $many (local.get $n) (local.get $sum) {ones}))
            (func $many (param $n i64) (param $sum i64) (param {rest}) (result i64)
                (return_call $large
                    (i64.sub (local.get $n) (i64.const 1))
                    (i64.add (local.get $sum) (i64.add (local.get $n) (local.get 21)))))
            (func (export "spins") (loop br 0)))"#,
        ones = "(i64.const 1) ".repeat(20),
        rest = "i64 ".repeat(20),
    );
    let module = Module::new(&engine, wat).unwrap();
    let mut store = store(&engine, ());
    let slice = Slice::Time(std::time::Duration::from_micros(50));
    store.wasm_threads().set_slice(slice).unwrap();
    let mut spawn = |export, args: &[Val]| {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let func = instance.get_func(&mut store, export).unwrap();
        store.spawn_wasm_thread(func, args).unwrap()
    };
    let run = spawn("run", &[Val::I64(TURNS), Val::I64(0)]);
    spawn("spins", &[]);
    run_until(&mut store, |store| finished(store, run));
    assert!(stats(&store, run).preemptions > 3);
    let sum = TURNS * (TURNS + 1) / 2 + TURNS;
    assert_eq!(bits(&returned(&mut store, run)), [sum as u128]);
}
