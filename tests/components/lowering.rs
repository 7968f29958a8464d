//! What a host function returns is lowered into the memory of the guest, which is asked for that by
//! its `realloc`. That is guest code like any other: it starves nobody, and can be ended.

use super::guests::{self, Seen, engines, store};
use crate::support::*;
use wasmtime::component::{Component, Instance, Linker, Val};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_realloc_that_spins_starves_nobody,
    a_realloc_that_spins_is_limited,
    strings_arrive_whatever_preempts_their_realloc,
);

/// `ask` is given a name by the host, as often as it wants, and adds up what it is made of.
fn asking(engine: &Engine, realloc: &str) -> Component {
    let component = format!(
        r#"(component
          (import "name" (func $name (result string)))
          (core module $memory
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $i i32)
              {realloc}
              (global.get $free)
              (global.set $free (i32.and (i32.const 0x3fff)
                (i32.add (global.get $free) (local.get 3))))))
          (core instance $memory (instantiate $memory))
          (core func $name (canon lower (func $name)
            (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
          (core module $m
            (import "" "memory" (memory 1))
            (import "" "name" (func $name (param i32)))
            (func (export "ask") (param $n i32) (result i32) (local $sum i32)
              (loop $again
                (call $name (i32.const 0))
                (local.set $sum (i32.add (local.get $sum) (i32.add
                  (i32.load (i32.const 4)) (i32.load8_u (i32.load (i32.const 0))))))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
              (local.get $sum)))
          (core instance $i (instantiate $m (with "" (instance
            (export "memory" (memory $memory "memory")) (export "name" (func $name))))))
          (func (export "ask") (param "n" u32) (result u32) (canon lift (core func $i "ask"))))"#
    );
    Component::new(engine, component).unwrap()
}

const SPIN: &str = "(loop br 0)";

/// Takes long enough to be preempted now and then.
const SLOW: &str = "(loop $again
    (br_if $again (i32.lt_u
      (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300))))";

fn instance(store: &mut Store<Seen>, realloc: &str) -> Instance {
    let component = asking(store.engine(), realloc);
    let mut linker = Linker::new(store.engine());
    let name = |_: StoreContextMut<'_, Seen>, (): ()| Ok(("Ada".to_string(),));
    linker.root().func_wrap("name", name).unwrap();
    linker.instantiate(&mut *store, &component).unwrap()
}

fn a_realloc_that_spins_starves_nobody(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let spinner = instance(&mut store, SPIN);
        let spinner = guests::spawn(&mut store, &spinner, "ask", &[Val::U32(1)]);
        let other = guests::instance(&mut store);
        let sum = guests::spawn(&mut store, &other, "sum", &[Val::U32(100)]);
        run_until(&mut store, |store| {
            finished(store, sum.id()) && stats(store, spinner.id()).preemptions > 2
        });
        assert_eq!(guests::returned(&mut store, &sum), [Val::U32(5050)]);
        let remote = spinner.remote(&mut store).unwrap();
        let killer = kill_later(remote);
        run_all(&mut store);
        killer.join().unwrap();
        let exit = spinner.take_exit(&mut store);
        assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
    }
}

fn a_realloc_that_spins_is_limited(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let spinner = instance(&mut store, SPIN);
        let ask = spinner.get_func(&mut store, "ask").unwrap();
        let options = match preemption {
            Preemption::Fuel => ThreadOptions::new().fuel_limit(100_000),
            _ => ThreadOptions::new().cpu_limit(ms(5)),
        };
        let id = options.spawn_component(&mut store, ask, &[Val::U32(1)]);
        let id = id.unwrap();
        run_all(&mut store);
        let exit = id.take_exit(&mut store);
        assert!(matches!(exit, Some(TypedExit::OverLimit(_))), "{exit:?}");
    }
}

fn strings_arrive_whatever_preempts_their_realloc(preemption: Preemption) {
    let slice = match preemption {
        Preemption::Fuel => Slice::Fuel(100),
        _ => shortest_slice(preemption),
    };
    for engine in engines(preemption) {
        until_preempted(300, || {
            let mut store = store_with_slice(&engine, Seen::default(), slice);
            let n = 1_000;
            let ids = [(); 3].map(|()| {
                let instance = instance(&mut store, SLOW);
                guests::spawn(&mut store, &instance, "ask", &[Val::U32(n)])
            });
            let summary = run_all(&mut store);
            for id in ids {
                let expected = n * (3 + u32::from(b'A'));
                assert_eq!(guests::returned(&mut store, &id), [Val::U32(expected)]);
            }
            summary.preemptions
        });
    }
}
