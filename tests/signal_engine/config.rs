//! What an engine with `Preemption::Signal` refuses, with the reason and the
//! remedy, and that what is ordinary works.

use crate::signal::support::{config, engine, store};
use crate::support::{GUESTS, stats};
use crate::support::{bits, ms, returned, run_all, spawn, spawn_in, spawn_spinner, trapped};
use std::time::Duration;
use wasmtime::*;

#[test]
fn this_host_can_do_it() {
    assert_eq!(Preemption::for_this_host(), Preemption::Signal);
}

/// The text of the error that such an engine is refused with.
fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let mut config = config();
    change(&mut config);
    match Engine::new(&config) {
        Ok(_) => panic!("the engine should have been refused"),
        Err(error) => format!("{error:?}"),
    }
}

fn assert_names(text: &str, names: &[&str]) {
    for name in names {
        assert!(text.contains(name), "no {name:?} in: {text}");
    }
}

#[test]
fn an_engine_without_room_on_its_stacks_is_refused() {
    let text = refusal(|config| {
        config.max_wasm_stack(512 << 10);
        config.async_stack_size((512 << 10) + (64 << 10) - 1);
    });
    assert_names(&text, &["`Preemption::Signal`", "65536 bytes"]);
    assert_names(&text, &["`async_stack_size` of 589823"]);
    assert_names(&text, &["`max_wasm_stack` of 524288"]);
}

#[test]
fn an_engine_for_another_machine_is_refused() {
    let other = match cfg!(target_arch = "x86_64") {
        true => "aarch64-unknown-linux-gnu",
        false => "x86_64-unknown-linux-gnu",
    };
    for target in [other, "pulley64"] {
        let text = refusal(|config| {
            config.target(target).unwrap();
        });
        assert_names(&text, &["`Preemption::Signal`", target]);
        assert_names(&text, &["`Preemption::Epoch`", "`Config::target`"]);
    }
}

#[test]
fn an_engine_with_winch_is_refused() {
    let text = refusal(|config| {
        config.strategy(Strategy::Winch);
    });
    assert_names(&text, &["`Preemption::Signal`", "Winch"]);
    assert_names(&text, &["`Strategy::Cranelift`", "`Preemption::Epoch`"]);
}

#[test]
fn a_slice_that_cannot_be_is_refused_and_changes_nothing() {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    let usual = Slice::Time(ms(10));
    let id = spawn(&mut store, &module, "nothing", &[]);
    let nothing = Instance::new(&mut store, &module, &[]).unwrap();
    let nothing = nothing.get_func(&mut store, "nothing").unwrap();
    for (slice, names) in [
        (Slice::Time(Duration::ZERO), ["0ns", "50µs"]),
        (
            Slice::Time(Duration::from_nanos(49_999)),
            ["49.999µs", "50µs"],
        ),
        (
            Slice::Time(Duration::from_nanos(1 << 63)),
            ["9223372036.854775808s", "9223372036.854775807s"],
        ),
        (
            Slice::Time(Duration::MAX),
            ["18446744073709551615.999999999s", "50µs"],
        ),
        (Slice::Fuel(1_000), ["1000 units of fuel", "`Slice::Time`"]),
    ] {
        let options = ThreadOptions::new().slice(slice);
        for error in [
            store.wasm_threads().set_slice(slice).unwrap_err(),
            id.set_slice(&mut store, slice).unwrap_err(),
            options.spawn(&mut store, nothing, &[]).unwrap_err(),
        ] {
            assert_names(&format!("{error:?}"), &names);
        }
        assert_eq!(id.info(&store).unwrap().slice, usual);
        assert_eq!(store.wasm_threads().iter().count(), 1);
    }
    for slice in [50_000, 50_001, i64::MAX as u64].map(Duration::from_nanos) {
        store.wasm_threads().set_slice(Slice::Time(slice)).unwrap();
    }
    // The longest slice never ends, and a run does.
    let (spinner, _) = spawn_spinner(&mut store, &module);
    let run = store.run_wasm_threads_for(ms(20)).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::TimeUp, 1));
    assert_eq!(stats(&store, spinner).dispatches, 1);
}

/// As compilers make them: a memory that grows, a table that does not.
const ORDINARY: &str = r#"
(module
  (memory (export "memory") 2)
  (table 3 3 funcref)
  (elem (i32.const 1) $double $increment)
  (func $double (param i64) (result i64) (i64.mul (local.get 0) (i64.const 2)))
  (func $increment (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
  ;; In each turn the other function, and from time to time a page more. Each sum
  ;; goes to a page of its own, and all are added up in the end.
  (func (export "run") (param $turns i32) (result i64)
    (local $sum i64) (local $page i32) (local $i i32)
    (local.set $i (local.get $turns))
    (loop $again
      (local.set $sum
        (call_indirect (param i64) (result i64)
          (local.get $sum)
          (i32.add (i32.const 1) (i32.and (local.get $i) (i32.const 1)))))
      (if (i32.eqz (i32.rem_u (local.get $i) (i32.const 1000)))
        (then
          (local.set $page (memory.grow (i32.const 1)))
          (i64.store (i32.mul (local.get $page) (i32.const 65536)) (local.get $sum))))
      (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (loop $pages
      (local.set $sum (i64.add (local.get $sum)
        (i64.load (i32.mul (local.get $page) (i32.const 65536)))))
      (br_if $pages (i32.gt_s (local.tee $page (i32.sub (local.get $page) (i32.const 1)))
        (i32.const 1))))
    (local.get $sum)))
"#;

#[test]
fn an_ordinary_module_is_preempted_and_right() {
    let mut pooling = PoolingAllocationConfig::new();
    pooling.total_memories(10).max_memory_size(64 << 20);
    for pool in [false, true] {
        let mut config = config();
        if pool {
            config.allocation_strategy(pooling.clone());
        }
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, ORDINARY).unwrap();
        let mut store = store(&engine, ());
        let plain = Instance::new(&mut store, &module, &[]).unwrap();
        let plain = plain
            .get_typed_func::<i32, i64>(&mut store, "run")
            .unwrap()
            .call(&mut store, 500_000)
            .unwrap();
        let ids = [(); 3].map(|()| spawn(&mut store, &module, "run", &[Val::I32(500_000)]));
        let run = run_all(&mut store);
        assert!(run.preemptions > 10, "{run:?}");
        for id in ids {
            assert_eq!(bits(&returned(&mut store, id)), [u128::from(plain as u64)]);
        }
    }
}

/// Grows a 64-bit memory page by page, until it may not or there are `pages`, and
/// works in it. Returns how many pages there are.
const MEMORY64: &str = r#"
(module
  (memory (export "memory") i64 1)
  (func (export "run") (param $pages i64) (result i64)
    (local $i i64)
    (loop $again
      (local.set $i (i64.const 0))
      (loop $fill
        (i64.store
          (i64.add
            (i64.mul (i64.sub (memory.size) (i64.const 1)) (i64.const 65536))
            (local.get $i))
          (memory.size))
        (br_if $fill (i64.lt_u
          (local.tee $i (i64.add (local.get $i) (i64.const 8)))
          (i64.const 65536))))
      (if (i64.lt_u (memory.size) (local.get $pages))
        (then (br_if $again (i64.ne (memory.grow (i64.const 1)) (i64.const -1))))))
    (memory.size)))
"#;

#[test]
fn a_64_bit_memory_grows_within_its_reservation_and_further_if_it_may_move() {
    let mut small = config();
    small.memory_reservation(1 << 20);
    let mut fixed = small.clone();
    fixed.memory_may_move(false);
    for (config, pages) in [(&fixed, 16), (&small, 50), (&config(), 50)] {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, MEMORY64).unwrap();
        let mut store = store(&engine, ());
        let threads = [(); 3].map(|()| {
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let id = spawn_in(&mut store, instance, "run", &[Val::I64(50)]);
            (instance, id)
        });
        let run = run_all(&mut store);
        assert!(run.preemptions > 5, "{run:?}");
        for (instance, id) in threads {
            assert_eq!(bits(&returned(&mut store, id)), [pages]);
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            for (i, page) in memory.data(&store).chunks(65536).enumerate() {
                let expected = (i as u64 + 1).to_le_bytes();
                assert!(page.chunks(8).all(|word| word == expected), "page {i}");
            }
        }
    }
}

#[test]
fn the_least_headroom_is_enough_at_the_very_end_of_a_stack() {
    let mut config = config();
    config.max_wasm_stack(512 << 10);
    config.async_stack_size((512 << 10) + (64 << 10));
    let engine = Engine::new(&config).unwrap();
    // Goes down to the last frame, spends its slices there, and overflows then.
    let module = Module::new(
        &engine,
        r#"(module
            (global $depth (mut i32) (i32.const 0))
            (global $bottom (mut i32) (i32.const 0))
            (func $down (export "down")
              (local $n i32)
              (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
              (if (i32.ge_s (global.get $depth) (global.get $bottom))
                (then
                  (local.set $n (i32.const 100_000))
                  (loop $again
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
              (call $down))
            (func (export "depth") (result i32) (global.get $depth))
            (func (export "again") (param i32)
              (global.set $bottom (i32.sub (global.get $depth) (local.get 0)))
              (global.set $depth (i32.const 0))
              (call $down)))"#,
    )
    .unwrap();
    let mut store = store(&engine, ());
    let instances = [(); 3].map(|()| Instance::new(&mut store, &module, &[]).unwrap());
    // The first time it works at each depth, so find out how deep it is apart.
    let deepest = {
        let plain = Instance::new(&mut store, &module, &[]).unwrap();
        let bottom = plain
            .get_typed_func::<i32, ()>(&mut store, "again")
            .unwrap();
        // There is nothing as deep as this.
        let error = bottom.call(&mut store, -1_000_000).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        let depth = plain
            .get_typed_func::<(), i32>(&mut store, "depth")
            .unwrap();
        depth.call(&mut store, ()).unwrap()
    };
    assert!(deepest > 1_000, "{deepest}");
    let ids = instances.map(|instance| {
        // From three frames above the end on, and `depth` is still 0.
        let bottom = Val::I32(3 - deepest);
        spawn_in(&mut store, instance, "again", &[bottom])
    });
    let run = run_all(&mut store);
    assert!(run.preemptions > 5, "{run:?}");
    for id in ids {
        let error = trapped(&mut store, id);
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
    }
}
