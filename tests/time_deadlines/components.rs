//! Calls of components have the same deadline.

use super::support::*;
use crate::support::must_end;
use wasmtime_preempt::wasmtime::Store;
use wasmtime_preempt::wasmtime::component::{Component, Linker};

#[test]
fn a_component_that_spins_is_ended() {
    const SPIN: &str = r#"
        (component
          (core module $m (func (export "spin") (loop $l (br $l))))
          (core instance $i (instantiate $m))
          (func (export "spin") (canon lift (core func $i "spin"))))
    "#;
    must_end(|| {
        for engine in engines() {
            let component = Component::new(&engine, SPIN).unwrap();
            for deadline in [wall(5), cpu(5)] {
                let mut store = Store::new(&engine, ());
                store.set_epoch_deadline(u64::MAX / 2);
                let instance = Linker::new(&engine)
                    .instantiate(&mut store, &component)
                    .unwrap();
                let spin = instance
                    .get_typed_func::<(), ()>(&mut store, "spin")
                    .unwrap();
                store.set_time_deadline(deadline).unwrap();
                assert_reached(&spin.call(&mut store, ()).unwrap_err(), deadline);
            }
        }
    });
}
