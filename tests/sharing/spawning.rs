//! The rule about sharing is checked when a thread is spawned, whoever spawns it.

use super::{STATE, linked};
use crate::support::*;
use std::panic::{self, AssertUnwindSafe};
use wasmtime::preempt::*;
use wasmtime::*;

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
    let mut store = store_with_slice(&engine, (), short_slice(preemption));
    let module = Module::new(&engine, ENDS).unwrap();
    let panic = Func::wrap(&mut store, || -> () { panic!("as a test wants it") });
    let instance = Instance::new(&mut store, &module, &[panic.into()]).unwrap();
    (store, instance)
}

for_each_preemption!(
    an_instance_is_free_again_when_its_thread_has_finished,
    an_instance_serves_one_thread_after_the_other,
    the_rule_can_be_waived,
    a_refused_thread_leaves_nothing_behind,
    a_host_function_spawns_by_the_same_rule,
);

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
