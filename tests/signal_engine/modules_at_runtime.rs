//! Modules that are instantiated while guest threads run: their code is preempted
//! from the first call on.

use crate::signal::support::{engine, store};
use crate::support::GUESTS;
use crate::support::{bits, returned, run_all, spawn, spawn_linked, spawn_spinner, stats};
use wasmtime::*;

/// Calls what `load` has put into its table.
const LOADER: &str = r#"
(module
  (import "" "load" (func $load))
  (table (export "table") 1 1 funcref)
  (func (export "run") (param i64) (result i64)
    (call $load)
    (call_indirect (param i64) (result i64) (local.get 0) (i32.const 0))))
"#;

/// A host function which makes a module of `wat`, instantiates it, and puts its
/// export `work` into the caller's table.
fn load(mut caller: Caller<'_, Option<Memory>>, wat: &str) -> Result<()> {
    let module = Module::new(caller.engine(), wat)?;
    let imports: Vec<Extern> = match *caller.data() {
        Some(turns) => vec![turns.into()],
        None => vec![],
    };
    let instance = Instance::new(&mut caller, &module, &imports)?;
    let work = instance.get_func(&mut caller, "work").unwrap();
    let table = caller.get_export("table").unwrap().into_table().unwrap();
    table.set(&mut caller, 0, Ref::Func(Some(work)))
}

fn linker(engine: &Engine, wat: &'static str) -> Linker<Option<Memory>> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("", "load", move |caller: Caller<'_, _>| load(caller, wat))
        .unwrap();
    linker
}

const SUM: &str = r#"
(module
  (func (export "work") (param $n i64) (result i64)
    (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (local.get $n)))
      (br_if $again
        (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (local.get $sum)))
"#;

#[test]
fn code_that_came_in_the_middle_of_a_dispatch_is_preempted() {
    let engine = engine();
    let module = Module::new(&engine, LOADER).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let linker = linker(
        &engine,
        r#"(module (func (export "work") (param i64) (result i64) (loop br 0) unreachable))"#,
    );
    let mut store = store(&engine, None);
    // Each calls what has no end, so the first must be stopped in new code for the
    // others to load theirs.
    let ids = [(); 3].map(|()| spawn_linked(&mut store, &linker, &module, "run", &[Val::I64(1)]));
    let (spinner, turns) = spawn_spinner(&mut store, &guests);
    crate::support::run_until(&mut store, |store| {
        let mut all = ids.into_iter().chain([spinner]);
        all.all(|id| stats(store, id).preemptions > 20)
    });
    assert!(turns.get(&mut store).unwrap_i64() > 0);
    assert_eq!(store.shutdown_wasm_threads(), 4);
}

#[test]
fn code_that_came_later_computes_what_it_should() {
    let engine = engine();
    let module = Module::new(&engine, LOADER).unwrap();
    let linker = linker(&engine, SUM);
    let mut store = store(&engine, None);
    let n = 3_000_000;
    let ids: Vec<_> = (0..10)
        .map(|i| spawn_linked(&mut store, &linker, &module, "run", &[Val::I64(n + i)]))
        .collect();
    let run = run_all(&mut store);
    assert!(run.preemptions > 50, "{run:?}");
    for (n, id) in (n..).zip(ids) {
        assert_eq!(bits(&returned(&mut store, id)), [(n * (n + 1) / 2) as u128]);
    }
}

/// Those stay where they are.
#[test]
fn other_segments_are_fine() {
    let engine = engine();
    let module = r#"(module
        (memory 1)
        (table 1 1 funcref)
        (elem (i32.const 0) $f)
        (elem declare func $f)
        (data $active (i32.const 0) "a")
        (data $passive "12345678")
        (func $f)
        (func (export "run") (result i64)
          (memory.init $passive (i32.const 8) (i32.const 0) (i32.const 8))
          (data.drop $passive)
          (i64.load (i32.const 8))))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let id = spawn(&mut store, &module, "run", &[]);
    run_all(&mut store);
    let loaded = u128::from(u64::from_le_bytes(*b"12345678"));
    assert_eq!(bits(&returned(&mut store, id)), [loaded]);
}

#[test]
fn a_table_that_cannot_grow_does_not() {
    let engine = engine();
    let module = Module::new(
        &engine,
        r#"(module
            (table $t 5 5 funcref)
            (func (export "run") (result i32 i32)
              (table.grow $t (ref.null func) (i32.const 1))
              (table.size $t)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let id = spawn(&mut store, &module, "run", &[]);
    run_all(&mut store);
    let minus_one = u128::from(u32::MAX);
    assert_eq!(bits(&returned(&mut store, id)), [minus_one, 5]);
}
