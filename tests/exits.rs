//! How a thread ended is found out once, after which the store forgets it.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    values_of_all_types_are_returned,
    an_exit_can_be_taken_once,
    a_thread_that_has_not_ended_has_no_exit,
    a_detached_thread_leaves_nothing,
    siblings_go_on_and_the_store_stays_usable,
);

const ECHO: &str = r#"
(module
  (func $f)
  (elem declare func $f)
  (func (export "echo")
    (param $n i32) (param i32 i64 f32 f64 v128 funcref externref)
    (result i32 i64 f32 f64 v128 funcref externref funcref)
    ;; So that it is preempted before it returns.
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
    (local.get 6) (local.get 7) (ref.func $f)))
"#;

fn values_of_all_types_are_returned(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(&engine, ECHO).unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let host = Func::wrap(&mut store, |n: i32| n + 1);
    let word = ExternRef::new(&mut store, "word").unwrap();
    let params = [
        Val::I32(some_turns(preemption)),
        Val::I32(i32::MIN),
        Val::I64(i64::MIN + 1),
        Val::F32(f32::NAN.to_bits() ^ 1),
        Val::F64((-0.0_f64).to_bits()),
        Val::V128(V128::from(u128::MAX / 3)),
        Val::FuncRef(Some(host)),
        Val::ExternRef(Some(word)),
    ];
    let id = spawn(&mut store, &module, "echo", &params);
    run_all(&mut store);
    let values = returned(&mut store, id);
    assert_eq!(bits(&values[..5]), bits(&params[1..6]));

    let mut result = [Val::I32(0)];
    let host = values[5].unwrap_funcref().unwrap();
    host.call(&mut store, &[Val::I32(4)], &mut result).unwrap();
    assert_eq!(result[0].unwrap_i32(), 5);
    let word = values[6].unwrap_externref().unwrap().data(&store).unwrap();
    assert_eq!(word.unwrap().downcast_ref(), Some(&"word"));
    let own = values[7].unwrap_funcref().unwrap();
    own.call(&mut store, &[], &mut []).unwrap();
}

fn an_exit_can_be_taken_once(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let id = spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    assert_eq!(id.info(&store).unwrap().state, ThreadState::Finished);
    assert_eq!(bits(&returned(&mut store, id)), [42]);
    assert!(id.take_exit(&mut store).is_none());
    assert!(id.info(&store).is_none());
}

fn a_thread_that_has_not_ended_has_no_exit(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (spinner, _) = spawn_spinner(&mut store, &module);
    assert!(spinner.take_exit(&mut store).is_none());
    store.run_wasm_threads_for(ms(5)).unwrap();
    assert!(spinner.take_exit(&mut store).is_none());
    // It is still there.
    assert_eq!(spinner.info(&store).unwrap().state, ThreadState::Ready);
}

fn a_detached_thread_leaves_nothing(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    for export in ["answer", "trap", "spin", "nothing", "overflow"] {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let func = instance.get_func(&mut store, export).unwrap();
        let options = ThreadOptions::new().detached(true);
        options.spawn(&mut store, func, &[]).unwrap();
    }
    run_until(&mut store, |store| store.wasm_threads().iter().count() == 1);
    assert_eq!(store.shutdown_wasm_threads(), 1);
    assert_eq!(store.wasm_threads().iter().count(), 0);
}

fn siblings_go_on_and_the_store_stays_usable(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let trap = spawn(&mut store, &module, "sum_then_trap", &[Val::I64(30_000)]);
    let overflow = spawn(&mut store, &module, "overflow", &[]);
    let (_, turns) = spawn_spinner(&mut store, &module);
    let sum = spawn(&mut store, &module, "sum", &[Val::I64(3_000_000)]);

    let plain = Instance::new(&mut store, &module, &[]).unwrap();
    let plain = plain.get_typed_func::<i32, i32>(&mut store, "fib").unwrap();
    let mut finished = 0;
    while finished < 3 {
        finished += store.run_wasm_threads_for(ms(20)).unwrap().finished;
        // A plain call between two runs, while others are suspended.
        assert_eq!(plain.call(&mut store, 15).unwrap(), 610);
    }
    let before = turns.get(&mut store).unwrap_i64();
    run_until(&mut store, |store| {
        turns.get(&mut *store).unwrap_i64() > before
    });
    assert_eq!(bits(&returned(&mut store, sum)), [4_500_001_500_000]);
    let error = trapped(&mut store, trap);
    assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    let error = trapped(&mut store, overflow);
    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
}
