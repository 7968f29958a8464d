//! Thousands of threads in one store.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    thousands_of_threads_return_what_they_should,
    all_of_a_thousand_suspended_threads_go_on,
);

/// Returns a number that depends on its own, after some turns.
const NUMBERS: &str = r#"
(module
  (func (export "number") (param $n i32) (param $turns i32) (result i32)
    (local $x i32)
    (local.set $x (local.get $n))
    (loop $again
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
      (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
    (local.get $x)))
"#;

fn number(n: i32, turns: i32) -> i32 {
    (0..turns).fold(n, |x, _| {
        x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
    })
}

fn numbers(preemption: Preemption, slice: Slice, threads: i32, turns: i32) -> u64 {
    let engine = engine(preemption);
    let module = Module::new(&engine, NUMBERS).unwrap();
    let mut store = Store::new(&engine, ());
    store
        .wasm_threads()
        .set_max_threads(threads as usize)
        .unwrap();
    store.wasm_threads().set_slice(slice).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let func = instance
        .get_typed_func::<(i32, i32), i32>(&mut store, "number")
        .unwrap();
    let ids: Vec<_> = (0..threads)
        .map(|n| {
            ThreadOptions::new()
                .spawn_typed(&mut store, &func, (n, turns))
                .unwrap()
        })
        .collect();
    let run = run_all(&mut store);
    for (n, id) in (0..).zip(ids) {
        match id.take_exit(&mut store) {
            Some(TypedExit::Returned(x)) => assert_eq!(x, number(n, turns)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(run.dispatches, run.preemptions + run.finished);
    run.preemptions
}

fn thousands_of_threads_return_what_they_should(preemption: Preemption) {
    let (slice, turns) = match preemption {
        Preemption::Fuel => (Slice::Fuel(500), 300),
        _ => (shortest_slice(preemption), 50_000),
    };
    until_preempted(100, || numbers(preemption, slice, 3_000, turns));
}

fn all_of_a_thousand_suspended_threads_go_on(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store
        .wasm_threads()
        .set_slice(shortest_slice(preemption))
        .unwrap();
    for _ in 0..1_000 {
        spawn_spinner(&mut store, &module);
    }
    let mut rounds = 0;
    while store
        .wasm_threads()
        .iter()
        .any(|thread| thread.stats.dispatches < 3)
    {
        store.run_wasm_threads_for(ms(20)).unwrap();
        rounds += 1;
        assert!(rounds < 1_000);
    }
    let threads = store.wasm_threads().iter();
    let dispatches: Vec<_> = threads.map(|thread| thread.stats.dispatches).collect();
    let (least, most) = (
        dispatches.iter().min().unwrap(),
        dispatches.iter().max().unwrap(),
    );
    assert!(most - least <= 1, "{least} to {most}");
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn twenty_thousand_threads_return_what_they_should() {
    let preemptions = numbers(Preemption::Fuel, Slice::Fuel(1_000), 20_000, 2_000);
    assert!(preemptions > 100_000, "{preemptions}");
    for preemption in timed_sources() {
        numbers(preemption, Slice::Time(ms(1)), 20_000, 2_000);
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn suspended_threads_take_little_memory() {
    in_own_process(
        module_path!(),
        "suspended_threads_take_little_memory",
        || {
            const THREADS: usize = 10_000;
            let (mut store, _) = guests(Preemption::Fuel);
            store.wasm_threads().set_slice(Slice::Fuel(1)).unwrap();
            let instance = stateless(&mut store);
            let before = resident_kib();
            for _ in 0..THREADS {
                spawn_in(&mut store, instance, "spin", &[]);
            }
            while store
                .wasm_threads()
                .iter()
                .any(|thread| thread.stats.dispatches < 2)
            {
                store.run_wasm_threads_for(ms(50)).unwrap();
            }
            let each = (resident_kib() - before) as f64 / THREADS as f64;
            // Two pages of stack at most, and the bookkeeping.
            assert!(each < 9.0, "{each} KiB");
        },
    );
}
