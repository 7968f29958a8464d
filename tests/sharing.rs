//! Guest threads that can interleave share nothing but what is `shared`.

mod spawning;

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// A store, and an instance of each of these modules, which import from those before by
/// the names that these have here.
fn linked<const N: usize>(
    preemption: Preemption,
    modules: [(&str, &str); N],
) -> (Store<()>, [Instance; N]) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let instances = modules.map(|(name, text)| {
        let module = Module::new(&engine, text).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        linker.instance(&mut store, name, instance).unwrap();
        instance
    });
    (store, instances)
}

/// Spawns `f` of both. Returns why that is refused, which it has to be.
fn refused(store: &mut Store<()>, [a, b]: [Instance; 2]) -> String {
    spawn_in(store, a, "f", &[]);
    let f = b.get_func(&mut *store, "f").unwrap();
    let error = store.spawn_wasm_thread(f, &[]).unwrap_err().to_string();
    assert!(error.contains("would share"), "{error}");
    // With the other one gone it is not.
    store.shutdown_wasm_threads();
    spawn_in(store, b, "f", &[]);
    store.shutdown_wasm_threads();
    error
}

/// Spawns `f` of both, which has to work.
fn allowed(store: &mut Store<()>, [a, b]: [Instance; 2]) {
    spawn_in(store, a, "f", &[]);
    spawn_in(store, b, "f", &[]);
    assert_eq!(run_all(store).finished, 2);
}

/// That two threads of an instance of `module` would share `what`.
fn refused_in_one_instance(module: &str, what: &str) {
    let (mut store, [instance]) = linked(Preemption::Fuel, [("a", module)]);
    let error = refused(&mut store, [instance; 2]);
    assert!(error.contains(&format!("not finished, {what}.")), "{error}");
}

fn allowed_in_one_instance(module: &str) {
    let (mut store, [instance]) = linked(Preemption::Fuel, [("a", module)]);
    allowed(&mut store, [instance; 2]);
}

#[test]
fn a_memory_is_not_shared() {
    refused_in_one_instance(
        r#"(module (memory (export "heap") 1) (func (export "f")))"#,
        "memory `heap` of the function's instance",
    );
    refused_in_one_instance(
        r#"(module (memory 0 0) (memory 1) (func (export "f")))"#,
        "memory 1 of the function's instance",
    );
    // It is empty, and grows.
    refused_in_one_instance(
        r#"(module (memory 0) (func (export "f")))"#,
        "memory 0 of the function's instance",
    );
}

#[test]
fn a_mutable_global_is_not_shared() {
    refused_in_one_instance(
        r#"(module (global i32 (i32.const 0)) (global (mut i32) (i32.const 0)) (func (export "f")))"#,
        "mutable global 1 of the function's instance",
    );
    refused_in_one_instance(
        r#"(module (global (export "sp") (mut i32) (i32.const 0)) (func (export "f")))"#,
        "mutable global `sp` of the function's instance",
    );
}

#[test]
fn a_table_is_not_shared() {
    refused_in_one_instance(
        r#"(module (table 1 1 funcref) (func (export "f")))"#,
        "table 0 of the function's instance",
    );
    refused_in_one_instance(
        r#"(module (table (export "refs") 1 externref) (func (export "f")))"#,
        "table `refs` of the function's instance",
    );
}

#[test]
fn a_constant_that_refers_to_what_changes_is_not_shared() {
    refused_in_one_instance(
        r#"(module
            (type $box (struct (field (mut i32))))
            (global $box (ref $box) (struct.new $box (i32.const 0)))
            (func (export "f") (struct.set $box 0 (global.get $box) (i32.const 1))))"#,
        "global 0 of the function's instance",
    );
}

for_each_preemption!(pure_functions_of_an_instance_may_interleave);

fn pure_functions_of_an_instance_may_interleave(preemption: Preemption) {
    let (mut store, guests) = guests(preemption);
    let pure = Module::new(
        guests.engine(),
        r#"(module (func $fib (export "fib") (param i32) (result i32)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0))
                (else (i32.add
                    (call $fib (i32.sub (local.get 0) (i32.const 1)))
                    (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#,
    )
    .unwrap();
    let instance = Instance::new(&mut store, &pure, &[]).unwrap();
    let ids: Vec<_> = (20..24)
        .map(|n| spawn_in(&mut store, instance, "fib", &[Val::I32(n)]))
        .collect();
    run_all(&mut store);
    for (id, fib) in ids.into_iter().zip([6765, 10946, 17711, 28657]) {
        assert_eq!(returned(&mut store, id)[0].unwrap_i32(), fib);
    }
}

#[test]
fn what_cannot_change_may_be_shared() {
    allowed_in_one_instance(
        r#"(module
            (global (export "number") i32 (i32.const 1))
            (global (export "vector") v128 (v128.const i64x2 0 0))
            (global (export "function") funcref (ref.func $f))
            (global i31ref (ref.i31 (i32.const 1)))
            ;; Nothing is ever in these.
            (memory 0 0)
            (table 0 0 funcref)
            (func $f (export "f")))"#,
    );
}

#[test]
fn a_shared_memory_may_be_shared() {
    allowed_in_one_instance(r#"(module (memory 1 1 shared) (func (export "f")))"#);
    // Also with a memory beside it that is not.
    refused_in_one_instance(
        r#"(module (memory 1 1 shared) (memory 1) (func (export "f")))"#,
        "memory 1 of the function's instance",
    );
}

/// As wasi-threads have it: each thread its instance, with a stack pointer and a table
/// of its own, and one `shared` memory.
#[test]
fn an_instance_per_thread_over_a_shared_memory_passes() {
    const THREAD: &str = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (global $sp (mut i32) (i32.const 1024))
        (table 2 2 funcref)
        (elem (i32.const 1) $add)
        (func $add (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
        (func (export "f") (local $n i32)
            (local.set $n (i32.const 1000))
            (loop
                (call_indirect (i32.const 1))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if 0 (local.get $n)))))"#;
    for preemption in [Preemption::Fuel, Preemption::for_this_host()] {
        let memory = r#"(module (memory (export "memory") 1 1 shared))"#;
        let modules = [("env", memory), ("a", THREAD), ("b", THREAD), ("c", THREAD)];
        let (mut store, [env, threads @ ..]) = linked(preemption, modules);
        for instance in threads {
            spawn_in(&mut store, instance, "f", &[]);
        }
        assert_eq!(run_all(&mut store).finished, 3);
        let memory = env.get_shared_memory(&mut store, "memory").unwrap();
        // SAFETY: nobody else has the memory at this time.
        let sum = unsafe { memory.data()[..4].as_ptr().cast::<u32>().read() };
        assert_eq!(sum, 3000);
    }
}

const STATE: &str = r#"(module
    (memory (export "memory") 1)
    (global (export "global") (mut i32) (i32.const 0))
    (table (export "table") 1 funcref)
    (func (export "f") (i32.store (i32.const 0) (i32.const 1))))"#;

#[test]
fn imported_state_is_the_same_state() {
    for (import, what) in [
        (r#""state" "memory" (memory 1)"#, "memory `state.memory`"),
        (
            r#""state" "global" (global (mut i32))"#,
            "mutable global `state.global`",
        ),
        (
            r#""state" "table" (table 1 funcref)"#,
            "table `state.table`",
        ),
    ] {
        let text = format!(r#"(module (import {import}) (func (export "f")))"#);
        let modules = [("state", STATE), ("a", &*text), ("b", &*text)];
        let (mut store, [state, a, b]) = linked(Preemption::Fuel, modules);
        let error = refused(&mut store, [a, b]);
        let imported = format!("{what}, imported by the function's instance.");
        assert!(error.contains(&imported), "{error}");
        // Also with the instance that it is of.
        refused(&mut store, [a, state]);
    }
}

#[test]
fn a_memory_of_the_host_is_not_shared_by_two_instances() {
    let engine = engine(Preemption::Fuel);
    let mut store = Store::new(&engine, ());
    let module = r#"(module (import "" "m" (memory 1)) (func (export "f")))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut instance = |memory| {
        let memory = Memory::new(&mut store, memory).unwrap();
        let one = Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        let two = Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        [one, two]
    };
    let [a, b] = instance(MemoryType::new(1, None));
    let [c, _] = instance(MemoryType::new(1, None));
    let error = refused(&mut store, [a, b]);
    assert!(error.contains("memory `.m`"), "{error}");
    allowed(&mut store, [a, c]);
}

/// The state is that of `low`, and all that the threads have is a function which calls
/// one which calls it.
#[test]
fn state_behind_imported_functions_is_not_shared() {
    const MID: &str = r#"(module
        (import "low" "f" (func $low))
        (func (export "f") (call $low)))"#;
    const TOP: &str = r#"(module
        (import "mid" "f" (func $mid))
        (func (export "f") (call $mid)))"#;
    let modules = [("low", STATE), ("mid", MID), ("a", TOP), ("b", TOP)];
    let (mut store, [low, mid, a, b]) = linked(Preemption::Fuel, modules);
    for pair in [[a, b], [a, mid], [low, b], [a, a]] {
        refused(&mut store, pair);
    }
    let error = refused(&mut store, [b, a]);
    let through = "memory `memory` of an instance behind its import `mid.f` and then `low.f`.";
    assert!(error.contains(through), "{error}");
}

/// `a` and `b` have nothing but a reference to the function that has the state.
#[test]
fn state_behind_imported_references_is_not_shared() {
    const OWNER: &str = r#"(module
        (memory 1)
        (table (export "table") 1 funcref)
        (elem (i32.const 0) $f)
        (global (export "constant") (ref func) (ref.func $f))
        (func $f (export "f") (i32.store (i32.const 0) (i32.const 1))))"#;
    for import in [
        r#""constant" (global funcref)"#,
        r#""table" (table 1 funcref)"#,
    ] {
        let text = format!(r#"(module (import "owner" {import}) (func (export "f")))"#);
        let modules = [("owner", OWNER), ("a", &*text), ("b", &*text)];
        let (mut store, [owner, a, b]) = linked(Preemption::Fuel, modules);
        refused(&mut store, [a, b]);
        refused(&mut store, [a, owner]);
    }
    // One of the owner's has its table, and so perhaps a function that uses the memory,
    // which is what the other has.
    let table = r#"(module (import "owner" "table" (table 1 funcref)) (func (export "f")))"#;
    let memory = r#"(module (import "owner" "memory" (memory 1)) (func (export "f")))"#;
    let modules = [("owner", STATE), ("a", table), ("b", memory)];
    let (mut store, [_, a, b]) = linked(Preemption::Fuel, modules);
    refused(&mut store, [a, b]);
}

/// An instance is there for each path that leads to it, and its state once.
#[test]
fn an_instance_behind_several_imports_counts_once() {
    const USER: &str = r#"(module (import "low" "f" (func)) (func (export "f")))"#;
    const TOP: &str = r#"(module
        (import "x" "f" (func)) (import "y" "f" (func))
        (import "low" "f" (func)) (import "low" "memory" (memory 1))
        (func (export "f")))"#;
    let modules = [("low", STATE), ("x", USER), ("y", USER), ("top", TOP)];
    let (mut store, [low, .., top]) = linked(Preemption::Fuel, modules);
    for _ in 0..3 {
        refused(&mut store, [top, low]);
        refused(&mut store, [low, top]);
    }
}

#[test]
fn a_function_counts_to_the_instance_that_defines_it() {
    const REEXPORTS: &str = r#"(module
        (import "state" "f" (func $f)) (export "f" (func $f))
        (memory 1) (func (export "own")))"#;
    let modules = [("state", STATE), ("a", REEXPORTS), ("b", REEXPORTS)];
    let (mut store, [state, a, b]) = linked(Preemption::Fuel, modules);
    refused(&mut store, [a, b]);
    refused(&mut store, [a, state]);
    // Its own functions can call the other one.
    spawn_in(&mut store, state, "f", &[]);
    let own = a.get_func(&mut store, "own").unwrap();
    store.spawn_wasm_thread(own, &[]).unwrap_err();
}

#[test]
fn host_functions_share_nothing() {
    let engine = engine(Preemption::Fuel);
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, || ());
    for _ in 0..2 {
        store.spawn_wasm_thread(host, &[]).unwrap();
    }
    // Nor does who imports one.
    let module = r#"(module (import "" "" (func)) (func (export "f")))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    for _ in 0..2 {
        spawn_in(&mut store, instance, "f", &[]);
    }
    assert_eq!(run_all(&mut store).finished, 4);
}

#[test]
fn the_rule_holds_under_signals() {
    let preemption = Preemption::for_this_host();
    let module = r#"(module (memory 1) (func (export "f") (loop br 0)))"#;
    let (mut store, [a, b]) = linked(preemption, [("a", module), ("b", module)]);
    let slice = Slice::Time(Duration::from_micros(200));
    store.wasm_threads().set_slice(slice).unwrap();
    refused(&mut store, [a, a]);
    for instance in [a, b] {
        spawn_in(&mut store, instance, "f", &[]);
    }
    until_preempted(1, || {
        store.run_wasm_threads_for(ms(10)).unwrap().preemptions
    });
    for instance in [a, b] {
        let f = instance.get_func(&mut store, "f").unwrap();
        store.spawn_wasm_thread(f, &[]).unwrap_err();
    }
}
