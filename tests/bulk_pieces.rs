//! A long bulk operation is preempted in its midst, and does what it does in one piece.

mod guest;

use crate::support::*;
use guest::{BYTES, ELEMENTS, OPERATIONS, Operation};
use std::time::Instant;
use wasmtime::preempt::*;
use wasmtime::*;

fn with_references(config: &mut Config, collector: Collector) -> Engine {
    config
        .wasm_gc(true)
        .wasm_function_references(true)
        .wasm_memory64(true)
        .collector(collector);
    Engine::new(config).unwrap()
}

/// An instance of the guest, prepared.
struct Guest<'a> {
    store: &'a mut Store<()>,
    instance: Instance,
}

impl<'a> Guest<'a> {
    fn new(store: &'a mut Store<()>, module: &Module) -> Guest<'a> {
        let mut linker = Linker::new(store.engine());
        linker
            .func_wrap("", "gc", |mut caller: Caller<'_, ()>| caller.gc(None))
            .unwrap();
        let instance = linker.instantiate(&mut *store, module).unwrap();
        let mut guest = Guest { store, instance };
        guest.prepare();
        guest
    }

    fn prepare(&mut self) {
        self.call::<(), ()>("prepare", ()).unwrap();
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, export: &str, params: P) -> Result<R> {
        let func = self.instance.get_typed_func(&mut *self.store, export)?;
        func.call(&mut *self.store, params)
    }

    fn sum(&mut self) -> i64 {
        self.call("sum", ()).unwrap()
    }

    fn spawn(&mut self, operation: &Operation, range: Range) -> ThreadId {
        let params = [range.dst, range.src, range.len].map(|n| Val::I32(n.cast_signed()));
        spawn_in(self.store, self.instance, operation.name, &params)
    }
}

/// What an operation is done with.
#[derive(Clone, Copy, Debug)]
struct Range {
    dst: u32,
    src: u32,
    len: u32,
}

/// Of one piece and of many, as long as pieces are and a bit longer, onto itself in either
/// direction.
fn ranges(operation: &Operation) -> Vec<Range> {
    let (all, piece) = match operation.on_memories {
        true => (BYTES, 64 << 10),
        false => (ELEMENTS, 8 << 10),
    };
    [
        (0, 0, 0),
        (3, 4, 100),
        (5, 9, piece),
        (9, 5, piece + 1),
        (0, 1, all - 1),
        (1, 0, all - 1),
        (all / 3, 0, all / 2),
        (0, all / 3, 2 * piece),
        (77, 0, 3 * piece),
        (0, all, 0),
    ]
    .map(|(dst, src, len)| Range { dst, src, len })
    .into()
}

fn collectors(preemption: Preemption) -> Vec<Collector> {
    match preemption {
        Preemption::Fuel => vec![
            Collector::Null,
            Collector::DeferredReferenceCounting,
            Collector::Copying,
        ],
        _ => vec![Collector::Copying],
    }
}

fn each_does_what_it_does_in_one_piece(preemption: Preemption) {
    for collector in collectors(preemption) {
        let plain = with_references(&mut Config::new(), collector);
        let plain_module = Module::new(&plain, guest::text()).unwrap();
        let engine = with_references(&mut config(preemption), collector);
        let module = Module::new(&engine, guest::text()).unwrap();
        for operation in OPERATIONS {
            let mut store = Store::new(&plain, ());
            let mut plain = Guest::new(&mut store, &plain_module);
            let mut preempted = store_with_slice(&engine, (), shortest_slice(preemption));
            let collecting = Guest::new(&mut preempted, &module).instance;
            let mut preempted = Guest::new(&mut preempted, &module);
            for range in ranges(operation) {
                let Range { dst, src, len } = range;
                plain
                    .call::<(u32, u32, u32), ()>(operation.name, (dst, src, len))
                    .unwrap();
                let id = preempted.spawn(operation, range);
                if collector != Collector::Null {
                    spawn_in(preempted.store, collecting, "collect", &[]);
                }
                run_until(preempted.store, |store| finished(store, id));
                preempted.store.shutdown_wasm_threads();
                returned(preempted.store, id);
                let (sum, expected) = (preempted.sum(), plain.sum());
                assert_eq!(sum, expected, "{} {range:?} {collector:?}", operation.name);
            }
        }
    }
}

#[test]
fn each_is_preempted_once_in_so_many_units_of_fuel() {
    let engine = with_references(&mut config(Preemption::Fuel), Collector::Copying);
    let module = Module::new(&engine, guest::text()).unwrap();
    for operation in OPERATIONS {
        // Which nobody sees before it is filled.
        let is_done_at_once = ["array.new of references", "array.new_elem"];
        if is_done_at_once.contains(&operation.name) {
            continue;
        }
        let mut store = store_with_slice(&engine, (), Slice::Fuel(1_000));
        let beside = Guest::new(&mut store, &module).instance;
        let mut guest = Guest::new(&mut store, &module);
        let (len, pieces) = match operation.on_memories {
            true => (BYTES, 4),
            false => (ELEMENTS, 3),
        };
        let range = Range {
            dst: 0,
            src: 0,
            len,
        };
        let id = guest.spawn(operation, range);
        spawn_in(guest.store, beside, "collect", &[]);
        run_until(guest.store, |store| finished(store, id));
        let preemptions = stats(guest.store, id).preemptions;
        assert!(preemptions >= pieces, "{}: {preemptions}", operation.name);
    }
}

/// Far longer than any slice, on any machine.
const LONG: &str = r#"
(module
  (type $bytes (array (mut i8)))
  (memory 2048)
  (table $t 4000000 externref)
  (global $bytes (mut (ref null $bytes)) (ref.null $bytes))
  (func (export "prepare")
    (global.set $bytes (array.new $bytes (i32.const 1) (i32.const 60000000))))
  (func (export "memory.fill")
    (memory.fill (i32.const 0) (i32.const 7) (i32.const 134217728)))
  (func (export "memory.copy")
    (memory.copy (i32.const 1) (i32.const 0) (i32.const 134217727)))
  (func (export "table.fill")
    (table.fill $t (i32.const 0) (ref.null extern) (i32.const 4000000)))
  (func (export "table.copy")
    (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 3999999)))
  (func (export "array.fill")
    (array.fill $bytes (global.get $bytes) (i32.const 0) (i32.const 7) (i32.const 60000000)))
  (func (export "array.copy")
    (array.copy $bytes $bytes (global.get $bytes) (i32.const 1) (global.get $bytes) (i32.const 0)
      (i32.const 59999999)))
  (func (export "array.new")
    (global.set $bytes (array.new $bytes (i32.const 1) (i32.const 60000000)))))
"#;

fn each_is_preempted_where_slices_are_time(preemption: Preemption) {
    let engine = with_references(&mut config(preemption), Collector::Copying);
    let module = Module::new(&engine, LONG).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    for operation in [
        "memory.fill",
        "memory.copy",
        "table.fill",
        "table.copy",
        "array.fill",
        "array.copy",
        "array.new",
    ] {
        let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let prepare = instance.get_typed_func::<(), ()>(&mut store, "prepare");
        prepare.unwrap().call(&mut store, ()).unwrap();
        spawn_spinner(&mut store, &guests);
        // Where the function begins and where it ends, it may be preempted anyway.
        let start = Instant::now();
        loop {
            let id = spawn_in(&mut store, instance, operation, &[]);
            run_until(&mut store, |store| finished(store, id));
            let preemptions = stats(&store, id).preemptions;
            returned(&mut store, id);
            if preemptions > 2 {
                break;
            }
            assert!(start.elapsed() < HANG, "{operation}");
        }
    }
}

fn one_out_of_bounds_does_nothing(preemption: Preemption) {
    let engine = with_references(&mut config(preemption), Collector::Copying);
    let module = Module::new(&engine, guest::text()).unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let mut guest = Guest::new(&mut store, &module);
    let before = guest.sum();
    for operation in OPERATIONS {
        let has_no_bounds = ["table.grow", "array.new"];
        if has_no_bounds.iter().any(|o| operation.name.starts_with(o)) {
            continue;
        }
        let len = match operation.on_memories {
            true => BYTES,
            false => ELEMENTS,
        };
        for range in [
            (1, 1, len),
            (0, 0, 2 * len + 1),
            (2 * len + 1, len + 1, 0),
            (0, 0, u32::MAX),
            (u32::MAX, u32::MAX, len),
        ] {
            let (dst, src, len) = range;
            let id = guest.spawn(operation, Range { dst, src, len });
            run_all(guest.store);
            let exit = id.take_exit(&mut *guest.store).unwrap();
            let name = operation.name;
            assert!(
                matches!(exit, Exit::Trapped(_)),
                "{name} {range:?}: {exit:?}"
            );
        }
    }
    assert_eq!(guest.sum(), before);
}

fn one_that_is_killed_in_its_midst_is_done_in_part(preemption: Preemption) {
    const LEN: usize = 64 << 20;
    let engine = engine(preemption);
    let guests = Module::new(&engine, GUESTS).unwrap();
    let wat = r#"(module (memory (export "memory") 1024)
        (func (export "run") (param $with i32)
            (memory.fill (i32.const 0) (local.get $with) (i32.const 67108864))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let (_, turns) = spawn_spinner(&mut store, &guests);
    let start = Instant::now();
    for with in 1.. {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let id = spawn_in(&mut store, instance, "run", &[Val::I32(with)]);
        // Until it has begun.
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let part = |store: &Store<()>| {
            let data = memory.data(store);
            (data[0] != 0, data[LEN - 1] == 0)
        };
        let next = |store: &mut Store<()>| {
            let before = turns.get(&mut *store).i64();
            run_until(store, |store| turns.get(store).i64() != before);
        };
        while !finished(&store, id) && !part(&store).0 {
            next(&mut store);
        }
        let is_in_its_midst = part(&store) == (true, true);
        if is_in_its_midst {
            id.kill(&mut store).unwrap();
            run_until(&mut store, |store| finished(store, id));
            assert_killed(&mut store, id);
            let data = memory.data(&store);
            let done = data.iter().position(|byte| *byte == 0).unwrap();
            assert_eq!(done % (64 << 10), 0);
            assert!(data[done..].iter().all(|byte| *byte == 0));
            return;
        }
        assert!(start.elapsed() < HANG);
    }
}

fn what_a_sibling_stores_in_a_table_that_grows_is_let_go(preemption: Preemption) {
    let mut config = config(preemption);
    let engine = with_references(&mut config, Collector::DeferredReferenceCounting);
    let wat = r#"(module
        (table $t 1 externref)
        (func (export "grow")
            (drop (table.grow $t (ref.null extern) (i32.const 1000000))))
        (func (export "set") (param $r externref)
            (loop $again (br_if $again (i32.eq (table.size $t) (i32.const 1))))
            (table.set $t (i32.const 1000000) (local.get $r)))
        (func (export "is_null") (result i32) (ref.is_null (table.get $t (i32.const 1000000)))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let count = Counter::default();
    // Which comes first is up to the source.
    let start = Instant::now();
    loop {
        let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
        store.wasm_threads().set_sharing_allowed(true).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let set = instance.get_func(&mut store, "set").unwrap();
        {
            let mut scope = RootScope::new(&mut store);
            let data = ExternRef::new(&mut scope, count.counted()).unwrap();
            let mut store = scope.as_context_mut();
            let data = Val::ExternRef(Some(data));
            store.spawn_wasm_thread(set, &[data]).unwrap();
        }
        spawn_in(&mut store, instance, "grow", &[]);
        run_all(&mut store);
        let is_null = instance.get_typed_func::<(), i32>(&mut store, "is_null");
        let is_null = is_null.unwrap().call(&mut store, ()).unwrap() == 1;
        store.gc(None).unwrap();
        assert_eq!(count.live(), usize::from(!is_null));
        drop(store);
        assert_eq!(count.live(), 0);
        if is_null {
            break;
        }
        assert!(start.elapsed() < HANG);
    }
}

for_each_preemption!(
    what_a_sibling_stores_in_a_table_that_grows_is_let_go,
    each_does_what_it_does_in_one_piece,
    one_out_of_bounds_does_nothing,
    one_that_is_killed_in_its_midst_is_done_in_part,
);
for_each_preemption!([epoch, signal] each_is_preempted_where_slices_are_time);
