//! Instances that are reset, to be used by another guest thread.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

const GUEST: &str = r#"
(module
  (import "" "counter" (global $imported (mut i32)))
  (import "" "memory" (memory 1 1 shared))
  (global $number (mut i32) (i32.const 7))
  (global $vector (mut v128) (v128.const i64x2 1 2))
  (global $object (mut externref) (ref.null extern))
  (global $const i32 (i32.const 9))
  (table $table 3 8 funcref)
  (elem (table $table) (i32.const 1) func $one)
  (elem $passive func $two)
  (data $data "abcd")
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (i32.const 2))
  (func (export "spoil") (param externref)
    (global.set $imported (i32.const 1))
    (global.set $number (i32.const 8))
    (global.set $vector (v128.const i64x2 0 0))
    (global.set $object (local.get 0))
    (table.init $table $passive (i32.const 1) (i32.const 0) (i32.const 1))
    (table.set $table (i32.const 2) (ref.func $one))
    (data.drop $data))
  (func (export "drop") (elem.drop $passive))
  (func (export "grow") (drop (table.grow $table (ref.null func) (i32.const 1))))
  ;; Everything that may have changed, in one number; traps if the data are gone.
  (func (export "look") (result i32)
    (memory.init $data (i32.const 0) (i32.const 0) (i32.const 4))
    (i32.add
      (i32.add
        (i32.mul (i32.const 1000) (global.get $imported))
        (i32.mul (i32.const 100) (global.get $number)))
      (i32.add
        (i32.mul (i32.const 10) (i32x4.extract_lane 2 (global.get $vector)))
        (i32.add
          (i32.add
            (ref.is_null (global.get $object))
            (ref.is_null (table.get $table (i32.const 2))))
          (call_indirect $table (result i32) (i32.const 1)))))))
"#;

struct Guest {
    store: Store<()>,
    instance: Instance,
    counter: Global,
}

fn engine() -> Engine {
    Engine::new(&config_with_shared_memory(Preemption::Epoch)).unwrap()
}

impl Guest {
    fn new() -> Guest {
        let engine = engine();
        let module = Module::new(&engine, GUEST).unwrap();
        let mut store = Store::new(&engine, ());
        let ty = GlobalType::new(ValType::I32, Mutability::Var);
        let counter = Global::new(&mut store, ty, Val::I32(0)).unwrap();
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        let imports = [counter.into(), memory.into()];
        let instance = Instance::new(&mut store, &module, &imports).unwrap();
        Guest {
            store,
            instance,
            counter,
        }
    }

    fn call(&mut self, name: &str) {
        let func = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, name);
        func.unwrap().call(&mut self.store, ()).unwrap();
    }

    fn spoil(&mut self) {
        let object = ExternRef::new(&mut self.store, 5).unwrap();
        let func = self.instance.get_func(&mut self.store, "spoil").unwrap();
        let object = [Val::ExternRef(Some(object))];
        func.call(&mut self.store, &object, &mut []).unwrap();
    }

    fn look(&mut self) -> i32 {
        let func = self
            .instance
            .get_typed_func::<(), i32>(&mut self.store, "look");
        func.unwrap().call(&mut self.store, ()).unwrap()
    }
}

#[test]
fn a_reset_instance_is_as_it_was_when_the_snapshot_was_taken() {
    let mut guest = Guest::new();
    assert_eq!(guest.look(), 700 + 20 + 3);
    let instance = guest.instance;
    let snapshot = InstanceSnapshot::new(&mut guest.store, &instance).unwrap();
    for _ in 0..3 {
        guest.spoil();
        guest.store.gc(None).unwrap();
        assert!(snapshot.restore(&mut guest.store).unwrap());
        // But for what it imports.
        assert_eq!(guest.look(), 1000 + 700 + 20 + 3);
    }
    assert_eq!(guest.counter.get(&mut guest.store).unwrap_i32(), 1);
}

#[test]
fn an_object_that_a_global_had_is_kept_for_the_reset() {
    let mut guest = Guest::new();
    guest.spoil();
    let instance = guest.instance;
    let snapshot = InstanceSnapshot::new(&mut guest.store, &instance).unwrap();
    guest.store.gc(None).unwrap();
    assert!(snapshot.restore(&mut guest.store).unwrap());
    guest.store.gc(None).unwrap();
    // Neither the object nor the last element is null; the data are dropped.
    let look = guest
        .instance
        .get_typed_func::<(), i32>(&mut guest.store, "look");
    let error = look.unwrap().call(&mut guest.store, ()).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
}

#[test]
fn what_cannot_be_undone_is_not_reset() {
    for change in ["grow", "drop"] {
        let mut guest = Guest::new();
        let instance = guest.instance;
        let snapshot = InstanceSnapshot::new(&mut guest.store, &instance).unwrap();
        guest.spoil();
        guest.call(change);
        assert!(!snapshot.restore(&mut guest.store).unwrap(), "{change}");
    }
    let engine = engine();
    for memories in ["(memory 1 1 shared)", "(memory 1) (memory 64)"] {
        let module = Module::new(&engine, format!("(module {memories})")).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let snapshot = InstanceSnapshot::new(&mut store, &instance).unwrap();
        assert!(!snapshot.restore(&mut store).unwrap(), "{memories}");
    }
}

/// An instance with memories of its own, of which one has data, and both `grow`.
fn with_memories() -> (Store<()>, Instance, [Memory; 2]) {
    let engine = engine();
    let module = r#"
        (module
          (memory (export "first") 3)
          (memory (export "second") 0 2)
          (data (i32.const 70000) "data")
          (func (export "grow") (param i32)
            (drop (memory.grow 0 (local.get 0)))
            (drop (memory.grow 1 (i32.const 1)))))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let mut memory = |name| instance.get_memory(&mut store, name).unwrap();
    let memories = [memory("first"), memory("second")];
    (store, instance, memories)
}

#[test]
fn memories_are_reset_to_what_they_held() {
    let (mut store, instance, [first, _]) = with_memories();
    first.write(&mut store, 5, b"before").unwrap();
    let saved = first.data(&store).to_vec();
    let snapshot = InstanceSnapshot::new(&mut store, &instance).unwrap();
    for _ in 0..3 {
        // Blocks with and without data, at their ends and across them.
        for at in [0, 5, 4095, 70_000, 3 * 65_536 - 4] {
            first.write(&mut store, at, b"garb").unwrap();
        }
        assert!(snapshot.restore(&mut store).unwrap());
        assert!(first.data(&store) == saved);
    }
}

#[test]
fn memories_that_have_grown_are_not_reset() {
    let (mut store, instance, [first, _]) = with_memories();
    let grow = instance.get_typed_func::<i32, ()>(&mut store, "grow");
    let grow = grow.unwrap();
    let snapshot = InstanceSnapshot::new(&mut store, &instance).unwrap();
    grow.call(&mut store, 0).unwrap();
    first.write(&mut store, 0, b"garb").unwrap();
    assert!(!snapshot.restore(&mut store).unwrap());
    assert_eq!(&first.data(&store)[..4], b"garb");
    // Memories are as large as when the later snapshot was taken.
    let snapshot = InstanceSnapshot::new(&mut store, &instance).unwrap();
    first.write(&mut store, 0, b"else").unwrap();
    assert!(snapshot.restore(&mut store).unwrap());
    assert_eq!(&first.data(&store)[..4], b"garb");
}

#[test]
fn an_instance_of_another_store_is_refused() {
    let mut guest = Guest::new();
    let instance = guest.instance;
    let snapshot = InstanceSnapshot::new(&mut guest.store, &instance).unwrap();
    let mut other = Store::new(guest.store.engine(), ());
    let error = InstanceSnapshot::new(&mut other, &instance).unwrap_err();
    assert!(error.to_string().contains("of another store"));
    let error = snapshot.restore(&mut other).unwrap_err();
    assert!(error.to_string().contains("of another store"));
}
