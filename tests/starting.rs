//! Instances that start on the thread that uses them: a start function is preempted,
//! limited and ended like all else of a guest.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

/// Its start function makes 7 of the global, takes a while, and makes 42.
const STARTED: &str = r#"
(module
  (memory 1)
  (data (i32.const 8) "\05")
  (global $state (export "state") (mut i32) (i32.const 0))
  (func $start
    (local $n i32)
    (global.set $state (i32.const 7))
    (local.set $n (i32.const 100000))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.set $state (i32.const 42)))
  (start $start)
  (func (export "add") (param i32) (result i32)
    (i32.add
      (i32.add (global.get $state) (i32.load8_u (i32.const 8)))
      (local.get 0))))
"#;

const NEVER_STARTED: &str = r#"
(module
  (func $for_ever (loop br 0))
  (start $for_ever)
  (func (export "add") (param i32) (result i32) (local.get 0)))
"#;

fn store(source: Preemption) -> Store<()> {
    store_with_slice(&engine(source), (), short_slice(source))
}

fn pre(store: &Store<()>, module: &str) -> InstancePre<()> {
    let module = Module::new(store.engine(), module).unwrap();
    Linker::new(store.engine())
        .instantiate_pre(&module)
        .unwrap()
}

/// Calls `add` with 1.
fn add(mut store: StoreContextMut<'_, ()>, instance: Instance) -> Result<(Func, Vec<Val>)> {
    let add = instance.get_func(&mut store, "add").unwrap();
    Ok((add, vec![Val::I32(1)]))
}

fn spawn_add(store: &mut Store<()>, module: &str, options: ThreadOptions) -> ThreadId {
    let pre = pre(store, module);
    options.spawn_instance(&mut *store, &pre, add).unwrap()
}

for_each_preemption!(
    it_has_started_when_its_function_is_called,
    a_start_function_is_preempted,
    limits_end_a_start_function,
    a_store_is_dropped_while_instances_start,
    a_reactor_is_set_up_on_the_thread,
    no_instance_is_made_for_a_thread_that_cannot_be_spawned,
    a_guest_that_the_closure_calls_is_not_switched_away_from,
    a_closure_that_swallows_errors_ends_with_its_thread,
);

fn it_has_started_when_its_function_is_called(source: Preemption) {
    let mut store = store(source);
    let ids = [(); 3].map(|()| spawn_add(&mut store, STARTED, ThreadOptions::new()));
    let run = run_all(&mut store);
    assert_eq!(run.finished, 3);
    for id in ids {
        assert_eq!(
            returned(&mut store, id)[0].unwrap_i32(),
            42 + 5 + 1,
            "{source}"
        );
    }
}

fn a_start_function_is_preempted(source: Preemption) {
    let mut store = store(source);
    let id = spawn_add(&mut store, NEVER_STARTED, ThreadOptions::new());
    let instance = stateless(&mut store);
    let sum = spawn_in(&mut store, instance, "sum", &[Val::I64(1_000)]);
    run_until(&mut store, |store| finished(store, sum));
    run_until(&mut store, |store| stats(store, id).preemptions > 3);
    assert_eq!(store.shutdown_wasm_threads(), 1);
    assert_killed(&mut store, id);
}

fn limits_end_a_start_function(source: Preemption) {
    let mut store = store(source);
    let limited = ThreadOptions::new().cpu_limit(ms(5));
    let id = spawn_add(&mut store, NEVER_STARTED, limited);
    assert_eq!(run_all(&mut store).finished, 1);
    let exit = id.take_exit(&mut store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
}

fn a_store_is_dropped_while_instances_start(source: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = Store::new(&stacks.engine(source), ());
    for _ in 0..3 {
        spawn_add(&mut store, NEVER_STARTED, ThreadOptions::new());
    }
    store.run_wasm_threads_for(ms(20)).unwrap();
    spawn_add(&mut store, NEVER_STARTED, ThreadOptions::new());
    drop(store);
    assert_eq!(stacks.live(), 0);
}

/// What is called of it returns what `_initialize` has left, and 1.
const REACTOR: &str = r#"
(module
  (global $state (mut i32) (i32.const 0))
  (func $start (global.set $state (i32.const 5)))
  (start $start)
  (func (export "_initialize")
    (global.set $state (i32.mul (global.get $state) (i32.const 9))))
  (func (export "add") (param i32) (result i32)
    (i32.add (global.get $state) (local.get 0))))
"#;

fn a_reactor_is_set_up_on_the_thread(source: Preemption) {
    let mut store = store(source);
    // One without `_initialize` needs none, and a command is no reactor.
    let command = REACTOR.replace("(start", r#"(func (export "_start")) (start"#);
    for (module, result) in [
        (REACTOR, 5 * 9 + 1),
        (STARTED, 42 + 5 + 1),
        (&command, 5 + 1),
    ] {
        let pre = pre(&store, module);
        let id = ThreadOptions::new().spawn_instance(&mut store, &pre, add);
        run_all(&mut store);
        assert_eq!(returned(&mut store, id.unwrap())[0].unwrap_i32(), result);
    }

    let for_ever = r#"(module (func (export "_initialize") (loop br 0)))"#;
    let pre = pre(&store, for_ever);
    let options = ThreadOptions::new().cpu_limit(ms(5));
    let id = options.spawn_instance(&mut store, &pre, |_, _| unreachable!());
    run_all(&mut store);
    let exit = id.unwrap().take_exit(&mut store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
}

fn no_instance_is_made_for_a_thread_that_cannot_be_spawned(source: Preemption) {
    let mut store = Store::new(&engine(source), StoreLimits::default());
    *store.data_mut() = StoreLimitsBuilder::new().instances(2).build();
    store.limiter(|limits| limits);
    store.wasm_threads().set_max_threads(1).unwrap();
    let module = Module::new(store.engine(), STARTED).unwrap();
    let pre = Linker::new(store.engine()).instantiate_pre(&module);
    let pre = pre.unwrap();
    let spawn = |store: &mut Store<StoreLimits>| {
        ThreadOptions::new().spawn_instance(&mut *store, &pre, |mut store, instance| {
            let add = instance.get_func(&mut store, "add").unwrap();
            Ok((add, vec![Val::I32(1)]))
        })
    };
    spawn(&mut store).unwrap();
    for _ in 0..10 {
        let error = spawn(&mut store).unwrap_err().to_string();
        assert!(error.contains("set_max_threads"), "{error}");
        let room = store.wasm_threads().ensure_can_spawn(&ThreadOptions::new());
        assert_eq!(room.unwrap_err().to_string(), error);
    }
    store.shutdown_wasm_threads();
    store.wasm_threads().set_max_threads(2).unwrap();
    store
        .wasm_threads()
        .ensure_can_spawn(&ThreadOptions::new())
        .unwrap();
    spawn(&mut store).unwrap();
}

#[test]
fn who_waits_in_a_memory_that_nobody_has_yet_is_in_a_deadlock() {
    let module = r#"(module
        (memory 1 1 shared)
        (func $wait
            (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
        (start $wait))"#;
    for source in sources() {
        for own in [false, true] {
            let mut store = Store::new(
                &Engine::new(&config_with_shared_memory(source)).unwrap(),
                (),
            );
            store.wasm_threads().set_own_all_memories(own).unwrap();
            let pre = pre(&store, module);
            ThreadOptions::new()
                .spawn_instance(&mut store, &pre, |_, _| unreachable!())
                .unwrap();
            let run = store.run_wasm_threads_for(ms(20)).unwrap();
            let expected = if own {
                RunEnd::Deadlock
            } else {
                RunEnd::TimeUp
            };
            assert_eq!(run.end, expected, "{source}");
        }
    }
}

for_each_preemption!(
    a_trap_of_the_start_function_ends_the_thread,
    an_error_of_the_closure_ends_the_thread,
    functions_of_others_are_refused,
    wrong_arguments_are_refused,
    a_closure_that_is_not_called_is_dropped,
    nobody_shares_what_is_being_started,
    the_start_function_may_wait,
);
for_each_preemption!(globals_that_are_computed_are_so_before_anybody_sees_them);

fn a_trap_of_the_start_function_ends_the_thread(source: Preemption) {
    let mut store = store(source);
    let module = "(module (func $start unreachable) (start $start))";
    let pre = pre(&store, module);
    let id = ThreadOptions::new().spawn_instance(&mut store, &pre, |_, _| unreachable!());
    run_all(&mut store);
    let error = trapped(&mut store, id.unwrap());
    assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    assert_eq!(
        error
            .downcast_ref::<WasmBacktrace>()
            .unwrap()
            .frames()
            .len(),
        1
    );
}

fn an_error_of_the_closure_ends_the_thread(source: Preemption) {
    let mut store = store(source);
    let pre = pre(&store, STARTED);
    let id = ThreadOptions::new().spawn_instance(&mut store, &pre, |mut store, instance| {
        let state = instance.get_global(&mut store, "state").unwrap();
        bail!("the state is {}", state.get(&mut store).unwrap_i32())
    });
    run_all(&mut store);
    let error = trapped(&mut store, id.unwrap());
    assert_eq!(error.to_string(), "the state is 42");
}

fn functions_of_others_are_refused(source: Preemption) {
    let mut store = store(source);
    let other = stateless(&mut store);
    let other = other.get_func(&mut store, "answer").unwrap();
    let host = Func::wrap(&mut store, || {});
    for func in [other, host] {
        let pre = pre(&store, STARTED);
        let closure = move |_: StoreContextMut<'_, ()>, _| Ok((func, vec![]));
        let id = ThreadOptions::new().spawn_instance(&mut store, &pre, closure);
        run_all(&mut store);
        let error = trapped(&mut store, id.unwrap()).to_string();
        assert!(error.contains("of that instance"), "{error}");
    }
}

fn wrong_arguments_are_refused(source: Preemption) {
    let mut store = store(source);
    let pre = pre(&store, STARTED);
    let id = ThreadOptions::new().spawn_instance(&mut store, &pre, |mut store, instance| {
        Ok((instance.get_func(&mut store, "add").unwrap(), vec![]))
    });
    run_all(&mut store);
    let error = trapped(&mut store, id.unwrap()).to_string();
    assert!(error.contains("expected 1 arguments, got 0"), "{error}");
}

fn a_closure_that_is_not_called_is_dropped(source: Preemption) {
    let closures = Counter::default();
    let mut store = store(source);
    let pre = pre(&store, NEVER_STARTED);
    for started in [false, true] {
        let counted = closures.counted();
        let closure = move |_: StoreContextMut<'_, ()>, _| {
            let _counted = counted;
            unreachable!()
        };
        ThreadOptions::new()
            .spawn_instance(&mut store, &pre, closure)
            .unwrap();
        if started {
            store.run_wasm_threads_for(ms(5)).unwrap();
        }
        assert_eq!(store.shutdown_wasm_threads(), 1);
    }
    assert_eq!(closures.dropped(), 2);
}

fn nobody_shares_what_is_being_started(source: Preemption) {
    let mut store = store(source);
    let module = Module::new(
        store.engine(),
        r#"(module
            (import "" "memory" (memory 1))
            (func $for_ever (loop br 0))
            (start $for_ever))"#,
    )
    .unwrap();
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let mut linker = Linker::new(store.engine());
    linker.define(&mut store, "", "memory", memory).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let options = ThreadOptions::new;
    options()
        .spawn_instance(&mut store, &pre, |_, _| unreachable!())
        .unwrap();
    let second = options().spawn_instance(&mut store, &pre, |_, _| unreachable!());
    let error = second.unwrap_err().to_string();
    assert!(error.contains("would share"), "{error}");
    store.run_wasm_threads_for(ms(5)).unwrap();
    assert_eq!(store.shutdown_wasm_threads(), 1);
}

fn the_start_function_may_wait(source: Preemption) {
    let mut store = store(source);
    let module = Module::new(
        store.engine(),
        r#"(module
            (import "" "nap" (func $nap))
            (start $nap)
            (func (export "add") (param i32) (result i32) (local.get 0)))"#,
    )
    .unwrap();
    let mut linker = Linker::new(store.engine());
    linker
        .func_wrap_async("", "nap", |_, (): ()| Box::new(after(ms(5))))
        .unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let id = ThreadOptions::new().spawn_instance(&mut store, &pre, |mut store, instance| {
        let add = instance.get_func(&mut store, "add").unwrap();
        Ok((add, vec![Val::I32(3)]))
    });
    run_all(&mut store);
    assert_eq!(returned(&mut store, id.unwrap())[0].unwrap_i32(), 3);
}

fn globals_that_are_computed_are_so_before_anybody_sees_them(source: Preemption) {
    let mut config = config(source);
    config.wasm_gc(true).wasm_function_references(true);
    let mut store = store_with_slice(&Engine::new(&config).unwrap(), (), shortest_slice(source));
    let module = r#"
        (module
          (type $box (struct (field i32)))
          (global $box (ref $box) (struct.new $box (i32.const 9)))
          (func (export "add") (param i32) (result i32)
            (i32.add (local.get 0) (struct.get $box 0 (global.get $box)))))
    "#;
    let ids = [(); 5].map(|()| spawn_add(&mut store, module, ThreadOptions::new()));
    run_all(&mut store);
    for id in ids {
        assert_eq!(returned(&mut store, id)[0].unwrap_i32(), 10);
    }
}

/// `init` is a loop that takes many slices, and returns the turns that a sibling had
/// meanwhile.
const INITIALIZED: &str = r#"
(module
  (func (export "init")
    (local $n i32)
    (local.set $n (i32.const 2000000))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "spin") (loop br 0))
  (func (export "add") (param i32) (result i32) (local.get 0)))
"#;

fn a_guest_that_the_closure_calls_is_not_switched_away_from(source: Preemption) {
    let mut store = store(source);
    let pre = pre(&store, INITIALIZED);
    let guests = Module::new(store.engine(), GUESTS).unwrap();
    let (sibling, turns) = spawn_spinner(&mut store, &guests);
    let closure = move |mut store: StoreContextMut<'_, ()>, instance: Instance| {
        let before = turns.get(&mut store).unwrap_i64();
        let init = instance.get_typed_func::<(), ()>(&mut store, "init")?;
        init.call(&mut store, ())?;
        assert_eq!(turns.get(&mut store).unwrap_i64(), before);
        add(store, instance)
    };
    let id = ThreadOptions::new().spawn_instance(&mut store, &pre, closure);
    let id = id.unwrap();
    run_until(&mut store, |store| finished(store, id));
    assert_eq!(returned(&mut store, id)[0].unwrap_i32(), 1);
    assert!(stats(&store, sibling).dispatches > 0);
}

fn a_closure_that_swallows_errors_ends_with_its_thread(source: Preemption) {
    must_end(move || {
        let mut store = store(source);
        let pre = pre(&store, INITIALIZED);
        let closure = |mut store: StoreContextMut<'_, ()>, instance: Instance| {
            let init = instance.get_typed_func::<(), ()>(&mut store, "init")?;
            for _ in 0..3 {
                let _ = init.call(&mut store, ());
            }
            let spin = instance.get_func(&mut store, "spin").unwrap();
            Ok((spin, vec![]))
        };
        ThreadOptions::new()
            .spawn_instance(&mut store, &pre, closure)
            .unwrap();
        store.run_wasm_threads_for(ms(5)).unwrap();
        assert_eq!(store.shutdown_wasm_threads(), 1);
    });
}
