//! Nothing that all OS threads write is written by a dispatch, a run or a host call; and each such
//! word is in the list of docs/scale-out.md.

use crate::support::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::*;

#[cfg(debug_assertions)]
mod counted {
    use super::*;
    use wasmtime::preempt::shared_writes;

    const GUEST: &str = r#"(module
        (import "" "host" (func $host))
        (import "" "yield" (func $yield))
        (func (export "run")
            (local $i i32)
            (local.set $i (i32.const 10))
            (loop $more
                (call $host) (call $yield)
                (br_if $more (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#;

    for_each_preemption!(dispatches_runs_and_host_calls_write_nothing_that_others_write);

    fn dispatches_runs_and_host_calls_write_nothing_that_others_write(source: Preemption) {
        let engine = engine(source);
        let runs = || {
            let mut linker = Linker::<()>::new(&engine);
            linker.func_wrap("", "host", || ()).unwrap();
            linker
                .func_wrap_concurrent("", "yield", |caller, ()| {
                    Box::pin(async move { caller.yield_now().await })
                })
                .unwrap();
            let module = Module::new(&engine, GUEST).unwrap();
            let slice = match source {
                Preemption::Fuel => Slice::Fuel(1 << 40),
                // Its end wakes the timer's OS thread, which is shared.
                _ => Slice::Time(Duration::from_secs(3600)),
            };
            let mut store = store_with_slice(&engine, (), slice);
            let mut run = || {
                for _ in 0..2 {
                    spawn_linked(&mut store, &linker, &module, "run", &[]);
                }
                let before = shared_writes();
                let run = store.run_wasm_threads_for(HANG).unwrap();
                assert_eq!(run.end, RunEnd::AllFinished);
                assert!(run.dispatches > 10, "{run:?}");
                shared_writes() - before
            };
            // The first ones add this OS thread to the timer, and wake the timer's, which may be
            // slow to come.
            let start = Instant::now();
            while run() > 0 {
                assert!(start.elapsed() < HANG);
            }
            let mut writes = 0;
            for _ in 0..200 {
                writes += run();
            }
            writes
        };
        let writes = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(runs));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(writes, [0; 4], "{source}");
    }

    #[test]
    fn what_is_shared_is_counted() {
        let engine = engine(Preemption::Epoch);
        let before = shared_writes();
        let mut store = Store::new(&engine, ());
        store.run_wasm_threads_for(ms(1)).unwrap();
        let stateless = stateless(&mut store);
        spawn_in(&mut store, stateless, "nothing", &[]);
        assert!(shared_writes() > before);
    }
}

/// The `static`s of the overlay that are not thread-local, as `file.rs NAME`.
fn statics(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            statics(&path, found);
            continue;
        }
        let mut in_thread_local = false;
        for line in fs::read_to_string(&path).unwrap().lines() {
            match line {
                "#[cfg(test)]" => break,
                "}" => in_thread_local = false,
                line if line.ends_with("thread_local! {") => in_thread_local = true,
                _ => {}
            }
            let Some((before, rest)) = line.split_once("static ") else {
                continue;
            };
            let is_item = before.trim().is_empty() || before.trim().starts_with("pub");
            if is_item
                && !in_thread_local
                && let Some((name, _)) = rest.split_once(':')
                && name.to_uppercase() == name
            {
                let file = path.file_name().unwrap().to_str().unwrap();
                found.insert(format!("{file} {name}"));
            }
        }
    }
}

#[test]
fn each_word_of_the_process_is_in_the_documented_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    statics(
        &root.join("overlay/crates/wasmtime/src/runtime"),
        &mut found,
    );
    let doc = fs::read_to_string(root.join("docs/scale-out.md")).unwrap();
    let mut listed = BTreeSet::new();
    for row in doc.lines().filter(|line| line.starts_with("| `")) {
        let words: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        if let [file, names @ ..] = &words[..]
            && file.ends_with(".rs")
        {
            let names = names.iter().filter(|name| name.to_uppercase() == **name);
            listed.extend(names.map(|name| format!("{file} {name}")));
        }
    }
    assert_eq!(found, listed);
}
