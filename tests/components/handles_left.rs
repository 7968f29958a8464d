//! A component's call that is ended anywhere leaves no entry in a table of resources but those that
//! it owned: the instance keeps these. What was lent to it can be dropped.

use super::guests::engines;
use crate::support::*;
use std::sync::Arc;
use wasmtime::component::{
    Component, InstancePre, Linker, Resource, ResourceAny, ResourceTable, ResourceType, Val,
};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(ended_calls_leave_only_what_they_owned);
for_each_preemption!([fuel] calls_end_wherever_they_are_out_of_fuel);

/// `hold` is lent one resource of the host and given another. It goes on making resources of the
/// host, and of a component that it is composed with, and drops each after a look at it.
const COMPONENT: &str = r#"
(component
  (import "r" (type $r (sub resource)))
  (import "make" (func $make (result (own $r))))
  (import "look" (func $look (param "r" (borrow $r)) (result u32)))
  (import "born" (func $born))
  (import "gone" (func $gone))

  (component $owner
    (import "born" (func $born))
    (import "gone" (func $gone))
    (core func $born (canon lower (func $born)))
    (core func $gone (canon lower (func $gone)))
    (core module $dtor
      (import "" "gone" (func $gone))
      (func (export "dtor") (param i32) (call $gone)))
    (core instance $dtor (instantiate $dtor
      (with "" (instance (export "gone" (func $gone))))))
    (type $g' (resource (rep i32) (dtor (core func $dtor "dtor"))))
    (core func $new (canon resource.new $g'))
    (core module $m
      (import "" "born" (func $born))
      (import "" "new" (func $new (param i32) (result i32)))
      (func (export "make") (result i32) (call $born) (call $new (i32.const 7)))
      (func (export "look") (param i32) (result i32) (local.get 0)))
    (core instance $m (instantiate $m (with "" (instance
      (export "born" (func $born)) (export "new" (func $new))))))
    (export $g "g" (type $g'))
    (func (export "make") (result (own $g)) (canon lift (core func $m "make")))
    (func (export "look") (param "g" (borrow $g)) (result u32)
      (canon lift (core func $m "look"))))
  (instance $owner (instantiate $owner
    (with "born" (func $born)) (with "gone" (func $gone))))
  (alias export $owner "g" (type $g))
  (alias export $owner "make" (func $make-g))
  (alias export $owner "look" (func $look-g))

  (component $holder
    (import "r" (type $r (sub resource)))
    (import "g" (type $g (sub resource)))
    (import "make" (func $make (result (own $r))))
    (import "look" (func $look (param "r" (borrow $r)) (result u32)))
    (import "make-g" (func $make-g (result (own $g))))
    (import "look-g" (func $look-g (param "g" (borrow $g)) (result u32)))
    (core func $make (canon lower (func $make)))
    (core func $look (canon lower (func $look)))
    (core func $drop (canon resource.drop $r))
    (core func $make-g (canon lower (func $make-g)))
    (core func $look-g (canon lower (func $look-g)))
    (core func $drop-g (canon resource.drop $g))
    (core module $m
      (import "" "make" (func $make (result i32)))
      (import "" "look" (func $look (param i32) (result i32)))
      (import "" "drop" (func $drop (param i32)))
      (import "" "make-g" (func $make-g (result i32)))
      (import "" "look-g" (func $look-g (param i32) (result i32)))
      (import "" "drop-g" (func $drop-g (param i32)))
      (func (export "hold") (param $lent i32) (param $own i32)
        (local $r i32) (local $g i32)
        (loop $again
          (local.set $r (call $make))
          (drop (call $look (local.get $r)))
          (drop (call $look (local.get $lent)))
          (local.set $g (call $make-g))
          (if (i32.ne (call $look-g (local.get $g)) (i32.const 7)) (then unreachable))
          (drop (call $look (local.get $own)))
          (call $drop (local.get $r))
          (call $drop-g (local.get $g))
          (br $again))))
    (core instance $i (instantiate $m (with "" (instance
      (export "make" (func $make)) (export "look" (func $look)) (export "drop" (func $drop))
      (export "make-g" (func $make-g)) (export "look-g" (func $look-g))
      (export "drop-g" (func $drop-g))))))
    (func (export "hold") (param "lent" (borrow $r)) (param "own" (own $r))
      (canon lift (core func $i "hold"))))
  (instance $holder (instantiate $holder
    (with "r" (type $r)) (with "g" (type $g)) (with "make" (func $make))
    (with "look" (func $look)) (with "make-g" (func $make-g)) (with "look-g" (func $look-g))))
  (func (export "hold") (alias export $holder "hold")))
"#;

/// A resource of the host. It counts itself.
struct Entry {
    _counted: Arc<()>,
}

#[derive(Default)]
struct Host {
    table: ResourceTable,
    entries: Arc<()>,
    /// The guest's own resources that have not been dropped.
    guest_resources: usize,
    /// After how many more calls of the host its caller is killed.
    kills_in: Option<u64>,
}

impl Host {
    fn make(&mut self) -> Result<Resource<Entry>> {
        let _counted = self.entries.clone();
        Ok(self.table.push(Entry { _counted })?)
    }

    /// How many entries are in the table.
    fn entries(&mut self) -> usize {
        let counted = Arc::strong_count(&self.entries) - 1;
        assert_eq!(self.table.iter_mut().count(), counted);
        counted
    }
}

/// Every function that the guest calls is a point where it may be killed.
fn called(store: &mut StoreContextMut<'_, Host>) -> Result<()> {
    match &mut store.data_mut().kills_in {
        Some(0) => {}
        Some(calls) => {
            *calls -= 1;
            return Ok(());
        }
        None => return Ok(()),
    }
    store.data_mut().kills_in = None;
    let caller = store.wasm_threads().current().unwrap();
    caller.kill(store)
}

fn linker(engine: &Engine) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    let mut root = linker.root();
    let drop = |mut store: StoreContextMut<'_, Host>, rep| {
        called(&mut store)?;
        let table = &mut store.data_mut().table;
        table.delete(Resource::<Entry>::new_own(rep))?;
        Ok(())
    };
    root.resource("r", ResourceType::host::<Entry>(), drop)
        .unwrap();
    let make = |mut store: StoreContextMut<'_, Host>, (): ()| {
        called(&mut store)?;
        Ok((store.data_mut().make()?,))
    };
    root.func_wrap("make", make).unwrap();
    let look = |mut store: StoreContextMut<'_, Host>, (entry,): (Resource<Entry>,)| {
        called(&mut store)?;
        store.data().table.get(&entry)?;
        Ok((entry.rep(),))
    };
    root.func_wrap("look", look).unwrap();
    let born = |mut store: StoreContextMut<'_, Host>, (): ()| {
        called(&mut store)?;
        store.data_mut().guest_resources += 1;
        Ok(())
    };
    root.func_wrap("born", born).unwrap();
    let gone = |mut store: StoreContextMut<'_, Host>, (): ()| {
        called(&mut store)?;
        store.data_mut().guest_resources -= 1;
        Ok(())
    };
    root.func_wrap("gone", gone).unwrap();
    linker
}

/// The embedder's handle to a resource of its own.
struct Handle {
    any: ResourceAny,
    rep: u32,
}

impl Handle {
    fn new(store: &mut Store<Host>) -> Handle {
        let entry = store.data_mut().make().unwrap();
        let rep = entry.rep();
        let any = entry.try_into_resource_any(store).unwrap();
        Handle { any, rep }
    }

    /// Its number in the store's table of handles, which gives out free ones first.
    fn number(&self) -> u64 {
        let text = format!("{:?}", self.any);
        let (_, rest) = text.split_once("HostResourceIndex(").unwrap();
        let (number, _) = rest.split_once(')').unwrap();
        // Above is how often it was given out.
        number.parse::<u64>().unwrap() & u64::from(u32::MAX)
    }

    /// Deletes the resource, if it is still the embedder's.
    fn delete(&self, store: &mut Store<Host>) -> Result<()> {
        self.any.resource_drop(&mut *store)?;
        let table = &mut store.data_mut().table;
        table.delete(Resource::<Entry>::new_own(self.rep)).unwrap();
        Ok(())
    }
}

/// A thread that is in `hold` of a new instance, or about to be.
struct Holding {
    thread: ComponentThreadId<Vec<Val>>,
    lent: Handle,
    given: Handle,
}

fn hold(store: &mut Store<Host>, pre: &InstancePre<Host>, options: ThreadOptions) -> Holding {
    let (lent, given) = (Handle::new(store), Handle::new(store));
    let instance = pre.instantiate(&mut *store).unwrap();
    let func = instance.get_func(&mut *store, "hold").unwrap();
    let params = [Val::Resource(lent.any), Val::Resource(given.any)];
    let thread = options.spawn_component(store, func, &params).unwrap();
    Holding {
        thread,
        lent,
        given,
    }
}

/// A call that is ended somewhere.
fn end_one(
    store: &mut Store<Host>,
    pre: &InstancePre<Host>,
    preemption: Preemption,
    random: &mut Random,
) -> Holding {
    match random.below(3) {
        // Between two runs: never run before, preempted, or paused.
        0 => {
            let held = hold(store, pre, ThreadOptions::new());
            for _ in 0..random.below(4) {
                let time = std::time::Duration::from_micros(random.below(300));
                store.run_wasm_threads_for(time).unwrap();
            }
            held.thread.kill(&mut *store).unwrap();
            let exit = held.thread.take_exit(&mut *store);
            assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
            held
        }
        // In a host function.
        1 => {
            store.data_mut().kills_in = Some(random.below(50));
            let held = hold(store, pre, ThreadOptions::new());
            run_all(store);
            let exit = held.thread.take_exit(&mut *store);
            assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
            held
        }
        _ => {
            let time = std::time::Duration::from_micros(1 + random.below(300));
            let options = match preemption {
                Preemption::Fuel => ThreadOptions::new().fuel_limit(1 + random.below(3_000)),
                _ if random.below(2) == 0 => ThreadOptions::new().cpu_limit(time),
                _ => ThreadOptions::new().timeout(time),
            };
            let held = hold(store, pre, options);
            run_all(store);
            let exit = held.thread.take_exit(&mut *store);
            assert!(matches!(exit, Some(TypedExit::OverLimit(_))), "{exit:?}");
            held
        }
    }
}

fn end(engine: &Engine, preemption: Preemption, count: usize) {
    let component = Component::new(engine, COMPONENT).unwrap();
    let pre = linker(engine).instantiate_pre(&component).unwrap();
    let mut random = Random::new(count as u64);
    let mut moved = 0;
    // Instances of components stay until the store is dropped.
    for _ in 0..count.div_ceil(100) {
        let slice = shortest_slice(preemption);
        let mut store = store_with_slice(engine, Host::default(), slice);
        let mut numbers = 0;
        for n in 0..count.min(100) {
            let before = store.data_mut().entries();
            let guest_resources = store.data().guest_resources;
            let held = end_one(&mut store, &pre, preemption, &mut random);

            held.lent.delete(&mut store).unwrap();
            // It is still the embedder's if the call had not begun.
            let is_moved = held.given.delete(&mut store).is_err();
            moved += usize::from(is_moved);
            // What it owns, besides that which it was given.
            let left = store.data_mut().entries() - before - usize::from(is_moved);
            assert!(left <= usize::from(is_moved), "{left}");
            let left = store.data().guest_resources - guest_resources;
            assert!(left <= usize::from(is_moved), "{left}");

            let highest = held.lent.number().max(held.given.number());
            match n {
                0 => numbers = highest,
                _ => assert!(highest <= numbers, "{highest} handles of {numbers}"),
            }
            if let Some(tasks) = store.concurrent_resource_table() {
                assert!(tasks.is_empty());
            }
            assert!(store.wasm_threads().is_empty());
        }
        let entries = store.data().entries.clone();
        drop(store);
        assert_eq!(Arc::strong_count(&entries), 1);
    }
    assert!(moved > count / 2, "{moved} of {count} calls had begun");
}

fn ended_calls_leave_only_what_they_owned(preemption: Preemption) {
    for engine in engines(preemption) {
        end(&engine, preemption, 60);
    }
}

/// Each has a unit of fuel more than the one before, and so ends wherever a call can be preempted.
fn calls_end_wherever_they_are_out_of_fuel(preemption: Preemption) {
    for engine in engines(preemption) {
        let component = Component::new(&engine, COMPONENT).unwrap();
        let pre = linker(&engine).instantiate_pre(&component).unwrap();
        let mut store = store_with_slice(&engine, Host::default(), Slice::Fuel(1_000));
        for units in 1..500 {
            let held = hold(&mut store, &pre, ThreadOptions::new().fuel_limit(units));
            run_all(&mut store);
            let exit = held.thread.take_exit(&mut store);
            assert!(matches!(exit, Some(TypedExit::OverLimit(_))), "{exit:?}");
            held.lent.delete(&mut store).unwrap();
        }
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn ten_thousand_ended_calls_leave_only_what_they_owned() {
    for preemption in sources() {
        for engine in engines(preemption) {
            end(&engine, preemption, 5_000);
        }
    }
}
