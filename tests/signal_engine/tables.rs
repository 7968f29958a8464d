//! Tables that grow and element segments that are dropped, where guests may be stopped at any
//! instruction. What happens at each instruction is in `signal/moved_storage.rs`.

use crate::signal::support::{engine, store};
use crate::support::*;
use wasmtime::preempt::ThreadState;
use wasmtime::*;

/// As every compiled Go program has it, and many others.
#[test]
fn a_table_without_maximum_that_nothing_grows_is_fine() {
    let engine = engine();
    let module = r#"(module
        (table 1 funcref)
        (elem (i32.const 0) $f)
        (func $f (result i32) (i32.const 42))
        (func (export "run") (result i32) (call_indirect (result i32) (i32.const 0))))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let id = spawn(&mut store, &module, "run", &[]);
    // Where there are threads already.
    let other = spawn(&mut store, &module, "run", &[]);
    run_all(&mut store);
    for id in [id, other] {
        assert_eq!(bits(&returned(&mut store, id)), [42]);
    }
}

/// Adds an element, calls it and all before it, and so on.
const GROWER: &str = r#"
(module
  (table $t 1 funcref)
  (type $step (func (param i64) (result i64)))
  (elem (table $t) (i32.const 0) func $triple)
  (elem $e func $triple $turn)
  (func $triple (param i64) (result i64) (i64.mul (local.get 0) (i64.const 3)))
  (func $turn (param i64) (result i64) (i64.rotl (local.get 0) (i64.const 7)))
  (func (export "run") (param $n i32) (result i64 i32) (local $x i64) (local $i i32)
    (local.set $x (i64.const 1))
    (loop $again
      (drop (table.grow $t (ref.func $triple) (i32.const 1)))
      (table.init $t $e (table.size $t) (i32.const 0) (i32.const 0))
      (if (i32.and (local.get $n) (i32.const 1))
        (then (table.init $t $e
          (i32.sub (table.size $t) (i32.const 1)) (i32.const 1) (i32.const 1))))
      (local.set $i (i32.const 0))
      (loop $each
        (local.set $x (call_indirect $t (type $step) (local.get $x) (local.get $i)))
        (br_if $each (i32.lt_u
          (local.tee $i (i32.add (local.get $i) (i32.const 1))) (table.size $t))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (elem.drop $e)
    (local.get $x) (table.size $t)))
"#;

/// What `GROWER` returns.
fn grown(n: u32) -> [u128; 2] {
    let mut turns = vec![false];
    let mut x = 1_u64;
    for n in (1..=n).rev() {
        turns.push(n % 2 == 1);
        for turn in &turns {
            x = match turn {
                true => x.rotate_left(7),
                false => x.wrapping_mul(3),
            };
        }
    }
    [u128::from(x), u128::from(n + 1)]
}

#[test]
fn threads_grow_their_tables_while_others_are_stopped_in_theirs() {
    let engine = engine();
    let module = Module::new(&engine, GROWER).unwrap();
    let mut store = store(&engine, ());
    let numbers = 2_000..2_008;
    let ids: Vec<_> = numbers
        .clone()
        .map(|n| spawn(&mut store, &module, "run", &[Val::I32(n)]))
        .collect();
    let run = run_all(&mut store);
    assert!(run.preemptions > 20, "{run:?}");
    for (n, id) in numbers.zip(ids) {
        assert_eq!(bits(&returned(&mut store, id)), grown(n as u32));
    }
}

/// A function reference that cannot be null is called without a look.
#[test]
fn nobody_sees_the_null_elements_of_a_non_nullable_table_that_grows() {
    let engine = engine();
    let module = r#"(module
        (type $answer (func (result i32)))
        (func $f (type $answer) (i32.const 42))
        (table $t 1 (ref $answer) (ref.func $f))
        (func (export "grow")
          (loop $again
            (drop (table.grow $t (ref.func $f) (i32.const 100)))
            (br_if $again (i32.lt_u (table.size $t) (i32.const 3000000)))))
        (func (export "use") (param $turns i32)
          (loop $again
            (if (i32.ne (i32.const 42) (call_ref $answer
                (table.get $t (i32.sub (table.size $t) (i32.const 1)))))
              (then unreachable))
            (br $again))))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut store = store(&engine, ());
    store.wasm_threads().set_sharing_allowed(true).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let user = spawn_in(&mut store, instance, "use", &[Val::I32(0)]);
    let grower = spawn_in(&mut store, instance, "grow", &[]);
    run_until(&mut store, |store| {
        grower.info(store).unwrap().state == ThreadState::Finished
    });
    assert!(stats(&store, grower).preemptions > 20);
    returned(&mut store, grower);
    assert!(
        user.kill(&mut store).is_ok(),
        "{:?}",
        user.take_exit(&mut store)
    );
}

const SPINNER: &str = r#"
(module
  (import "" "grow" (func $grow (result i64)))
  (table (export "table") 1 funcref)
  (func (export "spin") (loop br 0))
  (func (export "grow") (result i64) (call $grow)))
"#;

/// A host function that grows the table in the store's data.
fn grow(mut caller: Caller<'_, Option<Table>>) -> Result<u64> {
    let table = caller.data().unwrap();
    table.grow(&mut caller, 1, Ref::Func(None))
}

#[test]
fn the_host_grows_a_table_that_nobody_else_may_be_stopped_at() {
    let engine = engine();
    let module = Module::new(&engine, SPINNER).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "grow", grow).unwrap();
    let mut store = store(&engine, None);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let table = instance.get_table(&mut store, "table").unwrap();
    let is_refused = |error: Error| {
        let error = format!("{error:?}");
        for words in ["cannot move the table", "guest thread 1", "after its end"] {
            assert!(error.contains(words), "no {words:?} in: {error}");
        }
    };
    let null = Ref::Func(None);

    // Before the thread is spawned.
    assert_eq!(table.grow(&mut store, 1, null.clone()).unwrap(), 1);
    let spinner = spawn_in(&mut store, instance, "spin", &[]);
    store.run_wasm_threads_for(ms(5)).unwrap();

    // While it is stopped: neither between runs nor in another thread's host function.
    is_refused(table.grow(&mut store, 1, null.clone()).unwrap_err());
    *store.data_mut() = Some(table);
    let other = linker.instantiate(&mut store, &module).unwrap();
    let id = spawn_in(&mut store, other, "grow", &[]);
    store.run_wasm_threads_for(ms(20)).unwrap();
    is_refused(trapped(&mut store, id));
    assert_eq!(table.size(&store), 2);

    // But that thread grows its own, and the host grows those of nobody.
    let own = other.get_table(&mut store, "table").unwrap();
    *store.data_mut() = Some(own);
    let id = spawn_in(&mut store, other, "grow", &[]);
    store.run_wasm_threads_for(ms(20)).unwrap();
    assert_eq!(bits(&returned(&mut store, id)), [1]);
    assert_eq!(own.grow(&mut store, 1, null.clone()).unwrap(), 2);

    // And after its end.
    spinner.kill(&mut store).unwrap();
    assert_eq!(table.grow(&mut store, 1, null).unwrap(), 2);
}

/// With the sharing rule in force. The table moves between any two instructions of its user.
#[test]
fn a_host_function_of_a_sibling_may_call_a_guest_that_grows_its_table() {
    const JUNK: u64 = 0x5a5a_5a5a_5a5a_5a5a;
    let engine = engine();
    let user = r#"(module
        (table $t 1 funcref)
        (type $f (func (result i32)))
        (elem (table $t) (i32.const 0) func $f)
        (func $f (type $f) (i32.const 1))
        (func (export "grow") (drop (table.grow $t (ref.func $f) (table.size $t))))
        (func (export "use") (loop $again
            (br_if $again (call_indirect $t (type $f) (i32.const 0))))))"#;
    let caller = r#"(module
        (import "" "grow_it" (func $grow_it))
        (func (export "run") (call $grow_it)))"#;
    let [user, caller] = [user, caller].map(|wat| Module::new(&engine, wat).unwrap());
    let mut linker = Linker::new(&engine);
    let grow_it = |mut caller: Caller<'_, (Option<Func>, Vec<Vec<u64>>)>| {
        let grow = caller.data().0.unwrap();
        grow.call(&mut caller, &[], &mut [])?;
        let junk = &mut caller.data_mut().1;
        junk.extend([1, 2, 4, 8, 16, 32].map(|len| vec![JUNK; len]));
        Ok(())
    };
    linker.func_wrap("", "grow_it", grow_it).unwrap();
    let mut store = store(&engine, (None, vec![]));
    for _ in 0..50 {
        let instance = Instance::new(&mut store, &user, &[]).unwrap();
        let id = spawn_in(&mut store, instance, "use", &[]);
        store.data_mut().0 = instance.get_func(&mut store, "grow");
        for _ in 0..6 {
            store.run_wasm_threads_for(ms(1)).unwrap();
            let grower = spawn_linked(&mut store, &linker, &caller, "run", &[]);
            run_until(&mut store, |store| {
                grower.info(store).unwrap().state == ThreadState::Finished
            });
            returned(&mut store, grower);
        }
        id.kill(&mut store).unwrap();
        id.take_exit(&mut store);
    }
    let junk = &store.data().1;
    assert!(junk.iter().flatten().all(|word| *word == JUNK));
}

/// One step at a time, so that there is a lot to keep: as much as is in use, and no more.
#[test]
fn growing_forever_keeps_no_more_than_it_has() {
    let engine = engine();
    let module = r#"(module
        (table $t 1 funcref)
        (func (export "spin") (loop br 0))
        (func (export "run") (param $to i32)
          (loop $again
            (drop (table.grow $t (ref.null func) (i32.const 1)))
            (br_if $again (i32.lt_u (table.size $t) (local.get $to))))))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut store = store(&engine, ());
    let spinner = spawn(&mut store, &module, "spin", &[]);
    let before = resident_kib();
    let elements = 1_000_000;
    let id = spawn(&mut store, &module, "run", &[Val::I32(elements)]);
    run_until(&mut store, |store| {
        id.info(store).unwrap().state == ThreadState::Finished
    });
    // 8 bytes each, room for up to twice as many, and no more than that is kept.
    let most = 2 * 2 * 8 * elements as usize + (8 << 20);
    let kept = (resident_kib() - before) << 10;
    assert!(kept < most || is_emulated(), "{kept}");
    spinner.kill(&mut store).unwrap();
}
