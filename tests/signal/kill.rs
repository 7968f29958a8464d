//! Threads that are ended wherever they happen to be leave nothing behind.

use super::support::*;

/// Ends `threads` threads at instructions that nobody chose: by a shutdown, or by
/// dropping the store.
fn kill(threads: u64) -> u64 {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(Preemption::Signal);
    let module = mixed(&engine);
    let linker = linker(&engine);
    let mut random = Random::new(7);
    let mut killed = 0;
    let mut resident = None;
    while killed < threads {
        let mut store = store(&engine, ());
        for _ in 0..4 {
            let mut alive = 0;
            for (export, _) in MIX {
                let instance = linker.instantiate(&mut store, &module).unwrap();
                let func = instance.get_func(&mut store, export).unwrap();
                let size = if *export == "recursive" { 60 } else { 1 << 40 };
                ThreadOptions::new()
                    .detached(true)
                    .spawn(&mut store, func, &[Val::I64(size)])
                    .unwrap();
            }
            let time = us(100 + random.below(900));
            store.run_wasm_threads_for(time).unwrap();
            alive += store.wasm_threads().iter().count();
            // The last ones of a store are left to its drop.
            if random.below(4) > 0 {
                assert_eq!(store.shutdown_wasm_threads(), alive);
                assert!(stacks.live() <= 1, "{}", stacks.live());
            }
            killed += alive as u64;
        }
        drop(store);
        assert_eq!(stacks.live(), 0);
        if killed > threads / 10 {
            resident.get_or_insert_with(resident_kib);
        }
    }
    let (before, after) = (resident.unwrap(), resident_kib());
    // An emulator remembers what it has translated.
    let is_more = after >= before + 4_096;
    assert!(!is_more || is_emulated(), "{before} KiB, then {after} KiB");
    println!(
        "- {killed} threads killed, {} stacks made, {before} KiB then {after} KiB",
        stacks.made(),
    );
    killed
}

#[test]
fn killed_threads_leave_nothing_behind() {
    in_own_process(
        module_path!(),
        "killed_threads_leave_nothing_behind",
        || {
            kill(500);
        },
    );
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn ten_thousand_killed_threads_leave_nothing_behind() {
    let name = "ten_thousand_killed_threads_leave_nothing_behind";
    in_own_process(module_path!(), name, || assert!(kill(10_000) >= 10_000));
}

#[test]
fn threads_at_the_end_of_their_stacks_are_suspended_and_killed() {
    let name = "threads_at_the_end_of_their_stacks_are_suspended_and_killed";
    in_own_process(module_path!(), name, || {
        // As little room below the guest's limit as is allowed.
        let mut config = config();
        config.max_wasm_stack(256 << 10);
        config.async_stack_size((256 << 10) + (64 << 10));
        let engine = Engine::new(&config).unwrap();
        // Nearly always within a few frames of the limit.
        let module = Module::new(
            &engine,
            r#"(module
              (func $deep (export "deep") (param $n i32) (result i32) (local $i i32)
                (if (i32.eqz (local.get $n)) (then
                  (local.set $i (i32.const 5000))
                  (loop $again
                    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                  (return (i32.const 0))))
                (i32.add (i32.const 1) (call $deep (i32.sub (local.get $n) (i32.const 1)))))
              (func (export "again_and_again") (param $n i32)
                (loop $again (drop (call $deep (local.get $n))) (br $again))))"#,
        )
        .unwrap();
        // How deep it gets on the stack of a guest thread.
        let fits_in_thread = |depth: i32| {
            let mut store = Store::new(&engine, ());
            let id = spawn(&mut store, &module, "deep", &[Val::I32(depth)]);
            run_all(&mut store);
            matches!(id.take_exit(&mut store), Some(Exit::Returned(_)))
        };
        let (mut fits, mut does_not) = (0, 1 << 20);
        while does_not - fits > 1 {
            let depth = (fits + does_not) / 2;
            if fits_in_thread(depth) {
                fits = depth;
            } else {
                does_not = depth;
            }
        }
        assert!(fits > 1_000, "{fits}");
        let mut preemptions = 0;
        // `again_and_again` has a frame, too.
        for spare in 2..20 {
            let mut store = store(&engine, ());
            for _ in 0..3 {
                let params = [Val::I32(fits - spare)];
                spawn(&mut store, &module, "again_and_again", &params);
            }
            let summary = store.run_wasm_threads_for(ms(5)).unwrap();
            preemptions += summary.preemptions;
            assert_eq!(store.shutdown_wasm_threads(), 3);
        }
        assert!(preemptions > 100, "{preemptions}");
    });
}
