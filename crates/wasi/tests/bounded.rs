//! No call of WASI holds the siblings up for long: it does a part, or lets them go first.

use crate::support::*;
use std::time::Duration;
use wasmtime::*;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 100)
    (global $turns (export "turns") (mut i64) (i64.const 0))
    (func (export "count")
        (loop (global.set $turns (i64.add (global.get $turns) (i64.const 1))) (br 0)))
    ;; All of the memory but the first page.
    (func (export "random") (result i32) (call $random (i32.const 65536) (i32.const 6488064)))
    ;; Asks for no time at all, in a loop.
    (func (export "polls")
        (i32.store (i32.const 16) (i32.const 1))
        (loop
            (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
            (br 0)))
    ;; Writes by so many iovecs of so many bytes, and returns the error and how much was written.
    (func (export "writes") (param $iovecs i32) (param $len i32) (result i32 i32)
        (local $i i32)
        (loop $next
            (i32.store (i32.mul (local.get $i) (i32.const 8))
                (i32.add (i32.const 65536) (local.get $i)))
            (i32.store offset=4 (i32.mul (local.get $i) (i32.const 8)) (local.get $len))
            (i32.store8 offset=65536 (local.get $i)
                (i32.add (i32.const 65) (i32.rem_u (local.get $i) (i32.const 26))))
            (br_if $next (i32.lt_u
                (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                (i32.const 2000))))
        (i32.store (i32.const 60000) (i32.const 0))
        (call $write (i32.const 1) (i32.const 0) (local.get $iovecs) (i32.const 60000))
        (i32.load (i32.const 60000))))"#;

struct Bounded {
    store: Store<WasiP1Ctx>,
    linker: Linker<WasiP1Ctx>,
    module: Module,
    stdout: MemoryOutputPipe,
}

impl Bounded {
    fn new(source: Preemption) -> Bounded {
        let stdout = MemoryOutputPipe::new(10 << 20);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(stdout.clone());
        let (mut store, linker, module) = linked(source, GUEST, &mut wasi);
        // What ends a slice is not a clock, unless that is asked for.
        if source != Preemption::Fuel {
            let slice = Slice::Time(Duration::from_secs(3_600));
            store.wasm_threads().set_slice(slice).unwrap();
        }
        Bounded {
            store,
            linker,
            module,
            stdout,
        }
    }

    fn spawn(&mut self, export: &str, params: &[Val]) -> (Instance, ThreadId) {
        let instance = self.linker.instantiate(&mut self.store, &self.module);
        let instance = instance.unwrap();
        let func = instance.get_func(&mut self.store, export).unwrap();
        let id = self.store.spawn_wasm_thread(func, params).unwrap();
        (instance, id)
    }

    /// What `writes` returns.
    fn write(&mut self, iovecs: i32, len: i32) -> (i32, i32) {
        let (_, id) = self.spawn("writes", &[Val::I32(iovecs), Val::I32(len)]);
        self.store.run_wasm_threads_for(Duration::MAX).unwrap();
        match id.take_exit(&mut self.store) {
            Some(Exit::Returned(values)) => (values[0].unwrap_i32(), values[1].unwrap_i32()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn siblings_run_while_one_gets_random_bytes() {
    for source in sources() {
        let mut guests = Bounded::new(source);
        let (_, id) = guests.spawn("random", &[]);
        let (_, other) = guests.spawn("random", &[]);
        guests.store.run_wasm_threads_for(Duration::MAX).unwrap();
        for id in [id, other] {
            // Every 64 KiB of 6 MiB.
            let stats = id.info(&guests.store).unwrap().stats;
            assert!(stats.yields >= 90, "{source}: {stats:?}");
            let exit = id.take_exit(&mut guests.store);
            let Some(Exit::Returned(values)) = exit else {
                panic!("{exit:?}");
            };
            assert_eq!(values[0].unwrap_i32(), 0);
        }
    }
}

#[test]
fn all_that_is_asked_for_is_random() {
    let mut guests = Bounded::new(Preemption::Fuel);
    let (instance, _) = guests.spawn("random", &[]);
    guests.store.run_wasm_threads_for(Duration::MAX).unwrap();
    let memory = instance.get_memory(&mut guests.store, "memory").unwrap();
    let bytes = &memory.data(&guests.store)[65536..];
    // That 64 random bytes in a row are zero is not to be expected.
    assert!(
        bytes
            .chunks(64)
            .all(|chunk| chunk.iter().any(|byte| *byte != 0))
    );
}

#[test]
fn one_that_polls_without_a_timeout_yields() {
    for source in sources() {
        let mut guests = Bounded::new(source);
        guests.spawn("polls", &[]);
        let (_, polls) = guests.spawn("polls", &[]);
        guests.store.run_wasm_threads_for(ms(50)).unwrap();
        let stats = polls.info(&guests.store).unwrap().stats;
        assert!(stats.yields > 10, "{source}: {stats:?}");
    }
}

#[test]
fn several_iovecs_are_one_write() {
    for source in sources() {
        let mut guests = Bounded::new(source);
        assert_eq!(guests.write(5, 1), (0, 5));
        assert_eq!(guests.write(1024, 1), (0, 1024));
        let written = guests.stdout.contents();
        assert_eq!(&written[..10], b"ABCDEABCDE");
        assert_eq!(written.len(), 5 + 1024);
    }
}

#[test]
fn too_many_iovecs_are_invalid() {
    const INVAL: i32 = 28;
    for source in sources() {
        let mut guests = Bounded::new(source);
        for iovecs in [1025, 2000, 1 << 20, -1] {
            assert_eq!(guests.write(iovecs, 1), (INVAL, 0), "{iovecs}");
        }
        assert_eq!(guests.stdout.contents().len(), 0);
    }
}

#[test]
fn one_write_is_of_so_much_and_no_more() {
    for source in sources() {
        let mut guests = Bounded::new(source);
        for (iovecs, len) in [(1, 6_000_000), (2, 200_000), (1000, 300)] {
            assert_eq!(
                guests.write(iovecs, len),
                (0, 256 << 10),
                "{iovecs} of {len}"
            );
        }
        assert_eq!(guests.stdout.contents().len(), 3 * (256 << 10));
    }
}
