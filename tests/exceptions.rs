//! Exceptions that nothing catches end their own thread, and are all to be had.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

const THROWERS: &str = r#"
(module
  (tag $tag (param i32))
  (func $throw (export "throw") (param i32)
    (throw $tag (local.get 0)))
  ;; Throws and catches all the time.
  (func (export "catch") (param $n i32)
    (loop $again
      (block $caught (result i32)
        (try_table (catch $tag $caught) (call $throw (local.get $n)))
        unreachable)
      (drop)
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"#;

for_each_preemption!(each_thread_has_its_own, one_that_is_not_taken_is_dropped);

fn throwers(preemption: Preemption) -> (Store<()>, Module) {
    let mut config = config(preemption);
    config.wasm_exceptions(true);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, THROWERS).unwrap();
    let store = store_with_slice(&engine, (), short_slice(preemption));
    (store, module)
}

/// The payload of the store's pending exception.
fn payload(store: &mut Store<()>) -> i32 {
    let exception = store.take_pending_exception().unwrap();
    exception.field(store, 0).unwrap().unwrap_i32()
}

fn each_thread_has_its_own(preemption: Preemption) {
    let (mut store, module) = throwers(preemption);
    let ids = [1, 2, 3].map(|n| {
        spawn(&mut store, &module, "catch", &[Val::I32(100)]);
        spawn(&mut store, &module, "throw", &[Val::I32(n)])
    });
    run_all(&mut store);
    assert!(!store.has_pending_exception());
    for (id, expected) in ids.into_iter().zip(1..) {
        let error = trapped(&mut store, id);
        assert!(error.is::<ThrownException>(), "{error:?}");
        assert_eq!(payload(&mut store), expected);
    }

    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let throw = instance
        .get_typed_func::<i32, ()>(&mut store, "throw")
        .unwrap();
    let id = ThreadOptions::new()
        .spawn_typed(&mut store, &throw, 7)
        .unwrap();
    run_all(&mut store);
    let exit = id.take_exit(&mut store);
    assert!(matches!(exit, Some(TypedExit::Trapped(_))), "{exit:?}");
    assert_eq!(payload(&mut store), 7);
}

fn one_that_is_not_taken_is_dropped(preemption: Preemption) {
    let (mut store, module) = throwers(preemption);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let throw = instance.get_func(&mut store, "throw").unwrap();
    let detached = ThreadOptions::new().detached(true);
    detached.spawn(&mut store, throw, &[Val::I32(1)]).unwrap();
    run_all(&mut store);
    assert!(!store.has_pending_exception());
    store.gc(None).unwrap();
}
