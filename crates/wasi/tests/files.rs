//! Files are ready at once.

use crate::support::*;
use std::fs;
use wasmtime::*;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

#[test]
fn files_are_read_and_polled() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("files");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    for kind in kinds() {
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(&folder, ".", FsPerms::ReadOnly).unwrap();
        let subscriptions = [
            Subscription::Read(4),
            Subscription::After(MONOTONIC, ms(5000)),
        ];
        let mut guests = Guests::with(kind, &subscriptions, &mut wasi);
        let instance = guests.instance();
        let id = guests.spawn(instance, "open", &[]);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.load(instance, 80), 4);
        let (polling, id) = guests.spawn_poll(2);
        let reader = guests.spawn(instance, "read", &[4]);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(polling), [(1004, 0, 1)]);
        assert_eq!(guests.returned(reader), 0);
        assert_eq!(guests.read(instance), "content");
    }
}

const LISTING: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_readdir"
        (func $list (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (memory (export "memory") 10)
    (global $turns (export "turns") (mut i64) (i64.const 0))
    ;; Lists by a buffer of so many bytes, from the cookie on, and returns how many of these
    ;; were used.
    (func (export "list") (param $len i32) (param $cookie i64) (result i32)
        (if (call $list (i32.const 3) (i32.const 16) (local.get $len) (local.get $cookie)
                (i32.const 0))
            (then (unreachable)))
        (i32.load (i32.const 0)))
    (func (export "yielding")
        (loop $again
            (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
            (drop (call $yield))
            (br $again))))"#;

/// A directory with so many files.
fn directory(name: &str, files: usize) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    for file in 0..files {
        fs::write(folder.join(format!("a file with a name {file:04}")), "").unwrap();
    }
    folder
}

struct Lister {
    store: Store<wasmtime_wasi::p1::WasiP1Ctx>,
    instance: Instance,
    other: Instance,
}

impl Lister {
    fn new(source: Preemption, folder: &std::path::Path) -> Lister {
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(folder, ".", FsPerms::ReadOnly).unwrap();
        let (mut store, linker, module) = linked(source, LISTING, &mut wasi);
        let mut instance = || linker.instantiate(&mut store, &module).unwrap();
        let (instance, other) = (instance(), instance());
        Lister {
            store,
            instance,
            other,
        }
    }

    /// The bytes that a guest thread gets by one call.
    fn list(&mut self, len: i32, cookie: i64) -> Vec<u8> {
        let list = self.instance.get_func(&mut self.store, "list").unwrap();
        let params = [Val::I32(len), Val::I64(cookie)];
        let id = self.store.spawn_wasm_thread(list, &params).unwrap();
        while id.take_exit(&mut self.store).is_none_or(|exit| {
            let Exit::Returned(used) = exit else {
                panic!("{exit:?}");
            };
            assert!((0..=len).contains(&used[0].unwrap_i32()));
            false
        }) {
            self.store.run_wasm_threads_for(ms(100)).unwrap();
        }
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        let data = memory.data(&self.store);
        let used = u32::from_le_bytes(data[..4].try_into().unwrap());
        data[16..16 + used as usize].to_vec()
    }

    /// All names, by calls with a buffer of `len` bytes.
    fn names(&mut self, len: i32) -> Vec<String> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            let bytes = self.list(len, cookie);
            let mut rest = &bytes[..];
            while rest.len() >= 24 {
                let name_len = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
                let Some(name) = rest.get(24..24 + name_len) else {
                    break;
                };
                names.push(String::from_utf8(name.to_vec()).unwrap());
                cookie = i64::from_le_bytes(rest[..8].try_into().unwrap());
                rest = &rest[24 + name_len..];
            }
            if bytes.len() < len as usize {
                return names;
            }
        }
    }
}

#[test]
fn a_directory_is_listed_as_a_whole_whatever_the_buffer() {
    let folder = directory("listed", 1500);
    for source in sources() {
        let mut lister = Lister::new(source, &folder);
        let mut names = lister.names(200_000);
        for len in [64, 4096, 16 << 10, (16 << 10) + 1, 50_000] {
            // A buffer of 64 bytes takes long.
            if len > 64 || source == Preemption::Fuel {
                assert_eq!(lister.names(len), names, "{len}");
            }
        }
        names.sort();
        assert_eq!(names.len(), 1502);
        assert_eq!((&*names[0], &*names[1]), (".", ".."));
        names.dedup();
        assert_eq!(names.len(), 1502);
    }
}

#[test]
fn siblings_run_while_a_directory_is_listed() {
    let folder = directory("listed while siblings run", 1500);
    for source in sources() {
        let mut lister = Lister::new(source, &folder);
        let yielding = lister
            .other
            .get_func(&mut lister.store, "yielding")
            .unwrap();
        lister.store.spawn_wasm_thread(yielding, &[]).unwrap();
        // Four pieces.
        assert!(lister.list(200_000, 0).len() > 3 * (16 << 10));
        let turns = lister.other.get_global(&mut lister.store, "turns").unwrap();
        let turns = turns.get(&mut lister.store).unwrap_i64();
        assert!(turns >= 3, "{turns}");
    }
}
