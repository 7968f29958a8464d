//! An instance that is used again is as if it was new.

use crate::support::*;
use preempt_wasi_threads::ProcessOptions;
use wasmtime::*;

/// Starts threads one after another, each of which adds what it finds in its own state, and
/// spoils that.
const SPOILERS: &str = r#"(module
    (import "env" "memory" (memory 1 1 shared))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (global $g (mut i32) (i32.const 1))
    (table $t 2 2 funcref)
    (elem (table $t) (i32.const 0) func $ten)
    (data $d "\64")
    (func $ten (result i32) (i32.const 10))
    (func $none (result i32) (i32.const 7777))
    (elem declare func $none)
    (func (export "_start") (local $left i32) (local $before i32)
        (local.set $left (i32.const 100))
        (loop $again
            (local.set $before (i32.atomic.load (i32.const 4)))
            (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)) (then unreachable))
            (drop (memory.atomic.wait32
                (i32.const 4) (local.get $before) (i64.const -1)))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
    (func (export "wasi_thread_start") (param i32 i32)
        (drop (i32.atomic.rmw.add (i32.const 0) (global.get $g)))
        (drop (i32.atomic.rmw.add (i32.const 0)
            (call_indirect $t (result i32) (i32.const 0))))
        (i32.store8 (i32.const 16) (i32.const 0))
        (memory.init $d (i32.const 16) (i32.const 0) (i32.const 1))
        (drop (i32.atomic.rmw.add (i32.const 0) (i32.load8_u (i32.const 16))))
        (global.set $g (i32.const 5555))
        (table.set $t (i32.const 0) (ref.func $none))
        (table.set $t (i32.const 1) (ref.func $ten))
        (data.drop $d)
        (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1)))
        (drop (memory.atomic.notify (i32.const 4) (i32.const 1)))))"#;

/// [`SPOILERS`] with a memory of their own: `spoil` is what else they do.
fn with_memory(spoil: &str) -> String {
    SPOILERS
        .replace("(global $g", "(memory $own 1 2) (global $g")
        .replace("(global.set $g", &format!("{spoil} (global.set $g"))
}

#[test]
fn a_thread_cannot_tell_what_another_has_done_to_its_instance() {
    spoilers_find_what_they_should(SPOILERS);
}

#[test]
fn a_thread_cannot_tell_what_another_has_done_to_its_memory() {
    spoilers_find_what_they_should(&with_memory(
        "(drop (i32.atomic.rmw.add (i32.const 0) (i32.load $own (i32.const 60000))))
         (i32.store $own (i32.const 60000) (i32.const 5555))",
    ));
}

fn spoilers_find_what_they_should(spoilers: &str) {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let process = spawn_wat(&mut store, spoilers, ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        let outcome = process.outcome().unwrap();
        assert!(matches!(outcome.exit, Exit::Returned(_)), "{outcome:?}");
        assert_eq!(word(&process, 0), 100 * (1 + 10 + 100), "{source}");
        let stats = process.stats();
        assert!(stats.instances <= 5, "{source}: {stats:?}");
    }
}

/// Its memory has grown, which nothing can take back.
#[test]
fn an_instance_that_cannot_be_reset_is_not_used_again() {
    let spoilers = with_memory("(drop (memory.grow $own (i32.const 1)))");
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        let process = spawn_wat(&mut store, &spoilers, ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        let outcome = process.outcome().unwrap();
        assert!(matches!(outcome.exit, Exit::Returned(_)), "{outcome:?}");
        assert_eq!(process.stats().instances, 101, "{source}");

        // Until there are as many as there may be: the guest is told.
        let mut store = Store::new(&engine, ());
        let options = ProcessOptions::new().max_instances(20);
        let process = spawn_wat(&mut store, &spoilers, options);
        store.run_wasm_threads_for(LONG).unwrap();
        let outcome = process.outcome().unwrap();
        assert!(outcome.error().unwrap().is::<Trap>(), "{outcome:?}");
        assert_eq!(process.stats().started, 19, "{source}");
    }
}
