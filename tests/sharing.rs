//! Guest threads that can interleave share nothing but what is `shared`.

use crate::support::*;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// A store, and an instance of each of these modules, which import from those before by
/// the names that these have here.
fn linked<const N: usize>(
    preemption: Preemption,
    modules: [(&str, &str); N],
) -> (Store<()>, [Instance; N]) {
    let engine = Engine::new(config(preemption).shared_memory(true)).unwrap();
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

/// An instance with a memory, and a function for each end that a thread can come to.
const ENDS: &str = r#"(module
    (import "" "panic" (func $panic))
    (memory 1)
    (func (export "return"))
    (func (export "trap") unreachable)
    (func (export "spin") (loop br 0))
    (func (export "panic") (call $panic)))"#;

fn ends(preemption: Preemption) -> (Store<()>, Instance) {
    let engine = engine(preemption);
    let mut store = Store::new(&engine, ());
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    let module = Module::new(&engine, ENDS).unwrap();
    let panic = Func::wrap(&mut store, || -> () { panic!("as a test wants it") });
    let instance = Instance::new(&mut store, &module, &[panic.into()]).unwrap();
    (store, instance)
}

fn an_instance_is_free_again_when_its_thread_has_finished(preemption: Preemption) {
    let (mut store, instance) = ends(preemption);
    let spawn = |store: &mut Store<()>, export: &str, options: ThreadOptions| {
        let func = instance.get_func(&mut *store, export).unwrap();
        options.spawn(&mut *store, func, &[])
    };
    for detached in [false, true] {
        let options = || ThreadOptions::new().detached(detached);
        for end in ["return", "trap"] {
            spawn(&mut store, end, options()).unwrap();
            spawn(&mut store, end, options()).unwrap_err();
            run_all(&mut store);
        }
        // Over a limit.
        spawn(&mut store, "spin", options().timeout(ms(5))).unwrap();
        run_all(&mut store);
        // Killed, before and after it has begun.
        let id = spawn(&mut store, "spin", options()).unwrap();
        id.kill(&mut store).unwrap();
        let id = spawn(&mut store, "spin", options()).unwrap();
        store.run_wasm_threads_for(ms(5)).unwrap();
        spawn(&mut store, "return", options()).unwrap_err();
        id.suspend(&mut store).unwrap();
        spawn(&mut store, "return", options()).unwrap_err();
        id.kill(&mut store).unwrap();
        spawn(&mut store, "spin", options()).unwrap();
        assert_eq!(store.shutdown_wasm_threads(), 1);
        // Its host function has panicked.
        spawn(&mut store, "panic", options()).unwrap();
        let run = AssertUnwindSafe(|| store.run_wasm_threads_for(ms(1_000)));
        panic::catch_unwind(run).unwrap_err();
        spawn(&mut store, "return", options()).unwrap();
        run_all(&mut store);
    }
}

/// The exits of those that have finished need not be taken for that.
fn an_instance_serves_one_thread_after_the_other(preemption: Preemption) {
    let (mut store, instance) = ends(preemption);
    let run = instance.get_func(&mut store, "return").unwrap();
    for _ in 0..5_000 {
        store.spawn_wasm_thread(run, &[]).unwrap();
        run_all(&mut store);
    }
    assert_eq!(store.wasm_threads().iter().count(), 5_000);
}

#[test]
fn many_instances_each_have_a_thread() {
    let (mut store, guests) = guests(Preemption::Fuel);
    for _ in 0..2_000 {
        spawn(&mut store, &guests, "nothing", &[]);
    }
    assert_eq!(run_all(&mut store).finished, 2_000);
}

fn the_rule_can_be_waived(preemption: Preemption) {
    let (mut store, guests) = guests(preemption);
    let instance = Instance::new(&mut store, &guests, &[]).unwrap();
    let answer = instance.get_func(&mut store, "answer").unwrap();
    store.wasm_threads().set_sharing_allowed(true).unwrap();
    for _ in 0..3 {
        store.spawn_wasm_thread(answer, &[]).unwrap();
    }
    // Those are threads like others when it is in force again.
    store.wasm_threads().set_sharing_allowed(false).unwrap();
    store.spawn_wasm_thread(answer, &[]).unwrap_err();
    assert_eq!(run_all(&mut store).finished, 3);
    store.spawn_wasm_thread(answer, &[]).unwrap();
    store.spawn_wasm_thread(answer, &[]).unwrap_err();
}

#[test]
fn waiving_needs_guest_threads() {
    let mut store = Store::new(&Engine::default(), ());
    let error = store.wasm_threads().set_sharing_allowed(true).unwrap_err();
    assert!(error.to_string().contains("Config::preemption"), "{error}");
}

#[test]
fn the_error_says_what_with_whom_and_what_to_do() {
    let (mut store, [instance]) = linked(Preemption::Fuel, [("a", STATE)]);
    let f = instance.get_func(&mut store, "f").unwrap();
    let text = |store: &mut Store<()>| store.spawn_wasm_thread(f, &[]).unwrap_err().to_string();

    let host = Func::wrap(&mut store, || ());
    store.spawn_wasm_thread(host, &[]).unwrap();
    let options = ThreadOptions::new().name("indexer");
    let id = options.spawn(&mut store, f, &[]).unwrap();
    assert_eq!(id.as_u64(), 2);
    assert_eq!(
        text(&mut store),
        "cannot spawn a guest thread: it would share with guest thread 2 `indexer`, which has \
         not finished, memory `memory` of the function's instance. WebAssembly lets others \
         change what a thread sees in `shared` memories only: give each thread an instance of its \
         own, keep what they have in common in a `shared` memory, or allow them to share \
         anything with `WasmThreads::set_sharing_allowed`"
    );
    id.kill(&mut store).unwrap();
    store.spawn_wasm_thread(f, &[]).unwrap();
    let error = text(&mut store);
    assert!(error.contains("with guest thread 3, which"), "{error}");
}

fn a_refused_thread_leaves_nothing_behind(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(preemption);
    let mut store = Store::new(&engine, ());
    let guests = Module::new(&engine, GUESTS).unwrap();
    let instance = Instance::new(&mut store, &guests, &[]).unwrap();
    let answer = instance.get_func(&mut store, "answer").unwrap();
    let typed = answer.typed::<(), i32>(&store).unwrap();
    store.wasm_threads().set_trace(100).unwrap();
    let id = store.spawn_wasm_thread(answer, &[]).unwrap();
    let made = stacks.made();
    for _ in 0..10 {
        store.spawn_wasm_thread(answer, &[]).unwrap_err();
        ThreadOptions::new()
            .spawn_typed(&mut store, &typed, ())
            .unwrap_err();
    }
    assert_eq!((stacks.made(), stacks.live()), (made, 1));
    let ids: Vec<ThreadId> = store
        .wasm_threads()
        .iter()
        .map(|thread| thread.id)
        .collect();
    assert_eq!(ids, [id]);
    assert_eq!(store.wasm_threads().take_trace().unwrap().events.len(), 1);
    assert_eq!(run_all(&mut store).finished, 1);
    // No id was used up either.
    let next = store.spawn_wasm_thread(answer, &[]).unwrap();
    assert_eq!(next.as_u64(), id.as_u64() + 1);
}

/// With references as parameters too, as these take another way.
#[test]
fn a_typed_thread_shares_as_little() {
    let module = r#"(module
        (memory 1)
        (func (export "number") (param i32) (result i32) (local.get 0))
        (func (export "reference") (param externref)))"#;
    let (mut store, [instance]) = linked(Preemption::Fuel, [("a", module)]);
    let number = instance.get_typed_func::<i32, i32>(&mut store, "number");
    let number = number.unwrap();
    let reference =
        instance.get_typed_func::<Option<Rooted<ExternRef>>, ()>(&mut store, "reference");
    let reference = reference.unwrap();
    ThreadOptions::new()
        .spawn_typed(&mut store, &number, 1)
        .unwrap();
    ThreadOptions::new()
        .spawn_typed(&mut store, &number, 2)
        .unwrap_err();
    ThreadOptions::new()
        .spawn_typed(&mut store, &reference, None)
        .unwrap_err();
    run_all(&mut store);
    ThreadOptions::new()
        .spawn_typed(&mut store, &reference, None)
        .unwrap();
    ThreadOptions::new()
        .spawn_typed(&mut store, &number, 3)
        .unwrap_err();
}

/// A guest asks the host for a thread: in its own instance that is refused, as the guest
/// itself is a thread there, and not in another.
fn a_host_function_spawns_by_the_same_rule(preemption: Preemption) {
    const GUEST: &str = r#"(module
        (import "" "spawn" (func $spawn (result i32)))
        (memory 1)
        (func (export "f") (result i32) (call $spawn))
        (func (export "child")))"#;
    let engine = engine(preemption);
    let module = Module::new(&engine, GUEST).unwrap();
    let mut store = Store::new(&engine, None);
    let spawn = Func::wrap(&mut store, |mut caller: Caller<'_, Option<Func>>| {
        let child = *caller.data();
        let own = || caller.get_export("child")?.into_func();
        let child = child.or_else(own).unwrap();
        match caller.spawn_wasm_thread(child, &[]) {
            Ok(_) => 1,
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("with guest thread 1, which"), "{error}");
                0
            }
        }
    });
    let a = Instance::new(&mut store, &module, &[spawn.into()]).unwrap();
    let b = Instance::new(&mut store, &module, &[spawn.into()]).unwrap();
    let id = spawn_in(&mut store, a, "f", &[]);
    assert_eq!(run_all(&mut store).finished, 1);
    assert_eq!(returned(&mut store, id)[0].unwrap_i32(), 0);

    *store.data_mut() = b.get_func(&mut store, "child");
    let id = spawn_in(&mut store, a, "f", &[]);
    assert_eq!(run_all(&mut store).finished, 2);
    assert_eq!(returned(&mut store, id)[0].unwrap_i32(), 1);
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

for_each_preemption!(
    an_instance_is_free_again_when_its_thread_has_finished,
    an_instance_serves_one_thread_after_the_other,
    the_rule_can_be_waived,
    a_refused_thread_leaves_nothing_behind,
    a_host_function_spawns_by_the_same_rule,
);
