//! Memories that move when they grow, where guests may be stopped at any instruction. What happens
//! at each instruction is in `signal/moved_storage.rs`.

use crate::signal::support::{config, store};
use crate::support::*;
use wasmtime::preempt::ThreadState;
use wasmtime::*;

/// An engine whose memories have no room to grow in.
fn engine() -> Engine {
    let mut config = config();
    config
        .memory_reservation(0)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0);
    Engine::new(&config).unwrap()
}

/// Grows its memory, writes all over it, and adds it up, and so on.
const GROWER: &str = r#"
(module
  (memory (export "memory") 1)
  (func (export "run") (param $n i32) (result i64 i32) (local $at i32) (local $x i64)
    (loop $again
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
      (local.set $at (i32.const 0))
      (loop $each
        (i64.store (local.get $at)
          (i64.add (i64.load (local.get $at)) (i64.extend_i32_u (local.get $at))))
        (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 3))
          (i64.load (local.get $at))))
        (br_if $each (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 64)))
          (i32.shl (memory.size) (i32.const 16)))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x) (memory.size))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "spin") (loop br 0)))
"#;

#[test]
fn threads_grow_their_memories_while_others_are_stopped_in_theirs() {
    let engine = engine();
    let module = Module::new(&engine, GROWER).unwrap();
    let mut plain = Store::new(&engine, ());
    let instance = Instance::new(&mut plain, &module, &[]).unwrap();
    let run = instance.get_func(&mut plain, "run").unwrap();
    let mut expected = [Val::I64(0), Val::I32(0)];
    run.call(&mut plain, &[Val::I32(60)], &mut expected)
        .unwrap();

    let mut store = store(&engine, ());
    let ids = [(); 6].map(|()| spawn(&mut store, &module, "run", &[Val::I32(60)]));
    let run = run_all(&mut store);
    assert!(run.preemptions > 20, "{run:?}");
    for id in ids {
        assert_eq!(bits(&returned(&mut store, id)), bits(&expected));
    }
}

#[test]
fn the_host_grows_a_memory_that_nobody_else_may_be_stopped_in() {
    let engine = engine();
    let module = Module::new(&engine, GROWER).unwrap();
    let mut store = store(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    assert_eq!(memory.grow(&mut store, 1).unwrap(), 1);

    let id = spawn_in(&mut store, instance, "spin", &[]);
    store.run_wasm_threads_for(ms(5)).unwrap();
    let error = format!("{:?}", memory.grow(&mut store, 1).unwrap_err());
    for words in [
        "failed to grow memory by `1`",
        "guest thread 1",
        "after its end",
    ] {
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
    // Nor a guest that the host calls meanwhile.
    let grow = instance
        .get_typed_func::<(), i32>(&mut store, "grow")
        .unwrap();
    assert_eq!(grow.call(&mut store, ()).unwrap(), -1);
    assert_eq!(memory.size(&store), 2);
    // Others are not concerned.
    let other = Instance::new(&mut store, &module, &[]).unwrap();
    let other = other.get_memory(&mut store, "memory").unwrap();
    assert_eq!(other.grow(&mut store, 1).unwrap(), 1);

    id.kill(&mut store).unwrap();
    assert_eq!(memory.grow(&mut store, 1).unwrap(), 2);
    assert_eq!(grow.call(&mut store, ()).unwrap(), 3);
}

#[test]
fn a_thread_grows_its_memory_in_its_host_function() {
    let engine = engine();
    let wat = r#"(module
        (import "" "grow" (func $grow))
        (memory (export "memory") 1)
        (func (export "run") (result i32)
          (i32.store (i32.const 8) (i32.const 77))
          (call $grow)
          (i32.load (i32.const 8))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut linker = Linker::new(&engine);
    let grow = |mut caller: Caller<'_, ()>| -> Result<()> {
        let memory = caller.get_export("memory").unwrap().into_memory().unwrap();
        memory.grow(&mut caller, 5)?;
        Ok(())
    };
    linker.func_wrap("", "grow", grow).unwrap();
    let mut store = store(&engine, ());
    spawn_spinner(&mut store, &guests);
    let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
    run_until(&mut store, |store| {
        id.info(store).unwrap().state == ThreadState::Finished
    });
    assert_eq!(bits(&returned(&mut store, id)), [77]);
}

/// The GC heap has no room either: it moves while siblings are stopped.
#[test]
fn a_heap_that_moves_keeps_what_siblings_refer_to() {
    let mut config = config();
    config
        .gc_heap_reservation(0)
        .gc_heap_reservation_for_growth(0)
        .gc_heap_guard_size(0)
        .collector(Collector::Copying);
    let engine = Engine::new(&config).unwrap();
    let wat = r#"(module
        (type $node (struct (field i64) (field (ref null $node))))
        (func $mix (param $x i64) (param $n i32) (result i64)
          (loop $again
            (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 5)) (i64.const 77)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
          (local.get $x))
        (func (export "run") (param $n i32) (result i64)
          (local $list (ref null $node)) (local $x i64)
          (loop $again
            (local.set $list (struct.new $node (i64.extend_i32_u (local.get $n)) (local.get $list)))
            (local.set $x (call $mix (local.get $x) (i32.const 50)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
          (loop $sum
            (local.set $x (i64.add (local.get $x) (struct.get $node 0 (local.get $list))))
            (br_if $sum (i32.eqz (ref.is_null
              (local.tee $list (struct.get $node 1 (local.get $list)))))))
          (local.get $x)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut plain = Store::new(&engine, ());
    let instance = Instance::new(&mut plain, &module, &[]).unwrap();
    let run = instance
        .get_typed_func::<i32, i64>(&mut plain, "run")
        .unwrap();
    let expected = run.call(&mut plain, 20_000).unwrap();
    let mut store = store(&engine, ());
    let ids = [(); 6].map(|()| spawn(&mut store, &module, "run", &[Val::I32(20_000)]));
    let run = run_all(&mut store);
    assert!(run.preemptions > 20, "{run:?}");
    for id in ids {
        assert_eq!(returned(&mut store, id)[0].unwrap_i64(), expected);
    }
}
