//! What the guest calls its threads.

use crate::support::*;
use preempt_wasi_threads::{ProcessOptions, Tid};
use wasmtime::*;

#[test]
fn a_thread_and_its_starter_see_the_same_number_and_the_argument() {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        let wat = r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func (export "_start") (local $n i32)
                (loop $again
                    (i32.store (i32.add (i32.const 0) (local.get $n))
                        (call $spawn (i32.add (local.get $n) (i32.const 64))))
                    (br_if $again (i32.lt_u
                        (local.tee $n (i32.add (local.get $n) (i32.const 4)))
                        (i32.const 32))))
                (drop (memory.atomic.wait32 (i32.const 128) (i32.const 0) (i64.const -1))))
            (func (export "wasi_thread_start") (param $tid i32) (param $at i32)
                (i32.atomic.store (local.get $at) (local.get $tid))
                (drop (memory.atomic.wait32 (i32.const 128) (i32.const 0) (i64.const -1)))))"#;
        let process = spawn_wat(&mut store, wat, ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::Deadlock);
        let threads = process.threads();
        assert_eq!(threads[0], (Tid::MAIN, process.main()));
        for (i, (tid, _)) in (0..8).zip(&threads[1..]) {
            assert_eq!(tid.as_u32(), i + 1);
            assert_eq!(word(&process, u64::from(i) * 4), i + 1, "{source}");
            assert_eq!(word(&process, u64::from(i) * 4 + 64), i + 1, "{source}");
        }
        assert_eq!(threads.len(), 9);
    }
}
