//! Components, and stores for them.

use crate::support::*;
use wasmtime::component::{Component, Instance, Linker, Resource, ResourceAny, ResourceType, Val};
use wasmtime::preempt::*;
use wasmtime::*;

/// `sum` calls another component for each of its steps, which a fused adapter connects. `use`
/// borrows a resource, and looks at it as often as it is told. `greet` passes strings both ways.
pub const COMPONENT: &str = r#"
(component
  (import "r" (type $r (sub resource)))
  (import "look" (func $look (param "r" (borrow $r)) (result u32)))
  (import "nap" (func $nap))

  (component $adder
    (core module $m
      (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32)
      (canon lift (core func $i "add"))))
  (instance $adder (instantiate $adder))

  (component $summer
    (import "add" (func $add (param "a" u32) (param "b" u32) (result u32)))
    (core func $add (canon lower (func $add)))
    (core module $m
      (import "" "add" (func $add (param i32 i32) (result i32)))
      (func (export "sum") (param $n i32) (result i32) (local $sum i32)
        (loop $again
          (local.set $sum (call $add (local.get $sum) (local.get $n)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))
    (core instance $i (instantiate $m
      (with "" (instance (export "add" (func $add))))))
    (func (export "sum") (param "n" u32) (result u32) (canon lift (core func $i "sum"))))
  (instance $summer (instantiate $summer (with "add" (func $adder "add"))))
  (func (export "sum") (alias export $summer "sum"))

  (core func $look (canon lower (func $look)))
  (core func $nap (canon lower (func $nap)))
  (core func $drop (canon resource.drop $r))
  (core module $m
    (import "" "look" (func $look (param i32) (result i32)))
    (import "" "nap" (func $nap))
    (import "" "drop" (func $drop (param i32)))
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $free)
      (global.set $free (i32.add (global.get $free) (local.get 3))))
    (func (export "use") (param $r i32) (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (local.set $sum (i32.add (local.get $sum) (call $look (local.get $r))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (call $drop (local.get $r))
      (local.get $sum))
    ;; Never gives back what it has borrowed.
    (func (export "keep") (param $r i32) (loop $again (drop (call $look (local.get $r))) (br $again)))
    (func (export "nap") (call $nap) (call $nap))
    (func (export "spin") (loop br 0))
    (func (export "trap") unreachable)
    ;; The string that it is given, twice.
    (func (export "greet") (param $at i32) (param $len i32) (result i32)
      (memory.copy (i32.const 16) (local.get $at) (local.get $len))
      (memory.copy (i32.add (i32.const 16) (local.get $len)) (local.get $at) (local.get $len))
      (i32.store (i32.const 0) (i32.const 16))
      (i32.store (i32.const 4) (i32.mul (local.get $len) (i32.const 2)))
      (i32.const 0))
    (func (export "greeted") (param i32) (global.set $free (i32.const 1024))))
  (core instance $i (instantiate $m (with "" (instance
    (export "look" (func $look)) (export "nap" (func $nap)) (export "drop" (func $drop))))))
  (func (export "use") (param "r" (borrow $r)) (param "n" u32) (result u32)
    (canon lift (core func $i "use")))
  (func (export "keep") (param "r" (borrow $r)) (canon lift (core func $i "keep")))
  (func (export "nap") (canon lift (core func $i "nap")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "greet") (param "name" string) (result string)
    (canon lift (core func $i "greet") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))
      (post-return (core func $i "greeted")))))
"#;

/// What the store's data counts.
#[derive(Default)]
pub struct Seen {
    pub looks: u32,
    pub naps: u32,
}

pub struct Thing;

/// With and without the component model's concurrency.
pub fn engines(preemption: Preemption) -> [Engine; 2] {
    [false, true].map(|concurrency| {
        let mut config = config(preemption);
        config.concurrency_support(concurrency);
        Engine::new(&config).unwrap()
    })
}

/// A store in which slices are short.
pub fn store(engine: &Engine, preemption: Preemption) -> Store<Seen> {
    store_with_slice(engine, Seen::default(), short_slice(preemption))
}

pub fn linker(engine: &Engine) -> Linker<Seen> {
    let mut linker = Linker::new(engine);
    let mut root = linker.root();
    let thing = ResourceType::host::<Thing>();
    root.resource("r", thing, |_, _| Ok(())).unwrap();
    let look = |mut store: StoreContextMut<'_, Seen>, (thing,): (Resource<Thing>,)| {
        store.data_mut().looks += 1;
        Ok((thing.rep(),))
    };
    root.func_wrap("look", look).unwrap();
    let nap = |mut store: StoreContextMut<'_, Seen>, (): ()| {
        store.data_mut().naps += 1;
        Ok(())
    };
    root.func_wrap("nap", nap).unwrap();
    linker
}

pub fn instance(store: &mut Store<Seen>) -> Instance {
    let component = Component::new(store.engine(), COMPONENT).unwrap();
    let linker = linker(store.engine());
    linker.instantiate(&mut *store, &component).unwrap()
}

/// A resource of the host, which it can lend.
pub fn thing(store: &mut Store<Seen>, rep: u32) -> ResourceAny {
    let thing = Resource::<Thing>::new_own(rep);
    thing.try_into_resource_any(store).unwrap()
}

pub fn spawn(
    store: &mut Store<Seen>,
    instance: &Instance,
    export: &str,
    params: &[Val],
) -> ComponentThreadId<Vec<Val>> {
    let func = instance.get_func(&mut *store, export).unwrap();
    let options = ThreadOptions::new();
    options.spawn_component(store, func, params).unwrap()
}

pub fn returned<R: std::fmt::Debug>(store: &mut Store<Seen>, id: &ComponentThreadId<R>) -> R {
    match id.take_exit(store) {
        Some(TypedExit::Returned(results)) => results,
        other => panic!("thread {id:?} should have returned: {other:?}"),
    }
}

pub fn trapped<R: std::fmt::Debug>(store: &mut Store<Seen>, id: &ComponentThreadId<R>) -> Error {
    match id.take_exit(store) {
        Some(TypedExit::Trapped(error)) => error,
        other => panic!("thread {id:?} should have trapped: {other:?}"),
    }
}

pub fn assert_not_entered(error: &Error) {
    assert_eq!(
        error.downcast_ref(),
        Some(&Trap::CannotEnterComponent),
        "{error:?}"
    );
}
