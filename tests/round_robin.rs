//! A guest that never yields cannot starve its siblings, and none gets more than
//! its share.

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// Calls `log` with its number for as long as it is let.
const CHATTER: &str = r#"
(module
  (import "" "log" (func $log (param i32)))
  (func (export "chatter") (param i32)
    (loop $again (call $log (local.get 0)) (br $again)))
  (func (export "once") (param i32) (call $log (local.get 0))))
"#;

/// A store with what was logged.
fn chatters(preemption: Preemption) -> (Store<Vec<i32>>, Linker<Vec<i32>>, Module) {
    let engine = engine(preemption);
    let module = Module::new(&engine, CHATTER).unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("", "log", |mut caller: Caller<'_, Vec<i32>>, n: i32| {
            caller.data_mut().push(n);
        })
        .unwrap();
    let mut store = store_with_slice(&engine, Vec::new(), short_slice(preemption));
    store.wasm_threads().set_trace(1 << 16).unwrap();
    (store, linker, module)
}

/// The order of the dispatches since: a thread may be off the CPU again before it logs
/// anything. Two of one thread in a row are one.
fn turns(store: &mut Store<Vec<i32>>) -> Vec<u64> {
    let trace = store.wasm_threads().take_trace().unwrap();
    assert_eq!(trace.lost, 0);
    let dispatches = trace.events.iter().filter_map(|event| match event.what {
        Traced::Dispatched { .. } => Some(event.thread.as_u64()),
        _ => None,
    });
    let mut turns: Vec<u64> = dispatches.collect();
    turns.dedup();
    turns
}

/// Runs until there were so many.
fn turns_at_least(store: &mut Store<Vec<i32>>, least: usize) -> Vec<u64> {
    let mut all = Vec::new();
    while all.len() < least {
        store.run_wasm_threads_for(ms(20)).unwrap();
        all.append(&mut turns(store));
        all.dedup();
    }
    all
}

for_each_preemption!(
    every_spinner_gets_its_turn,
    turns_are_taken_in_the_order_of_spawning,
    a_new_thread_runs_after_those_that_were_ready,
    a_thread_that_ends_leaves_the_others_in_order,
    threads_end_in_order_if_none_needs_a_second_slice,
    a_guest_that_spins_on_a_lock_gets_it,
);

fn every_spinner_gets_its_turn(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let spinners: Vec<_> = (0..10)
        .map(|_| spawn_spinner(&mut store, &module))
        .collect();
    run_until(&mut store, |store| {
        let dispatches = |id| stats(store, id).dispatches;
        spinners.iter().all(|(id, _)| dispatches(*id) >= 3)
    });

    let dispatches = |id| stats(&store, id).dispatches;
    let least = spinners
        .iter()
        .map(|(id, _)| dispatches(*id))
        .min()
        .unwrap();
    let most = spinners
        .iter()
        .map(|(id, _)| dispatches(*id))
        .max()
        .unwrap();
    assert!(most - least <= 1, "{least} to {most}");
    for (_, turns) in spinners {
        assert!(turns.get(&mut store).unwrap_i64() > 0);
    }
}

fn turns_are_taken_in_the_order_of_spawning(preemption: Preemption) {
    let (mut store, linker, module) = chatters(preemption);
    for n in 1..=3 {
        spawn_linked(&mut store, &linker, &module, "chatter", &[Val::I32(n)]);
    }
    let turns = turns_at_least(&mut store, 7);
    for (i, turn) in turns.iter().enumerate() {
        assert_eq!(*turn, 1 + i as u64 % 3, "at {i} of {turns:?}");
    }
}

fn a_new_thread_runs_after_those_that_were_ready(preemption: Preemption) {
    let (mut store, linker, module) = chatters(preemption);
    for n in 1..=2 {
        spawn_linked(&mut store, &linker, &module, "chatter", &[Val::I32(n)]);
    }
    let last = *turns_at_least(&mut store, 2).last().unwrap();
    spawn_linked(&mut store, &linker, &module, "chatter", &[Val::I32(3)]);
    let turns = turns_at_least(&mut store, 3);
    if preemption == Preemption::Fuel && turns[0] == last {
        // It was paused at the end of the run, and went on with its slice.
        assert_eq!(turns[..3], [last, 3 - last, 3]);
    } else {
        // The one that ran last is ready too, and was so before the new one.
        assert_eq!(turns[..3], [3 - last, last, 3]);
    }
}

fn a_thread_that_ends_leaves_the_others_in_order(preemption: Preemption) {
    let (mut store, linker, module) = chatters(preemption);
    for n in 1..=4 {
        let export = if n == 2 { "once" } else { "chatter" };
        spawn_linked(&mut store, &linker, &module, export, &[Val::I32(n)]);
    }
    let mut turns = turns_at_least(&mut store, 8);
    while store.data().iter().all(|n| *n != 2) {
        turns.append(&mut turns_at_least(&mut store, 8));
        turns.dedup();
    }
    assert_eq!(turns[..4], [1, 2, 3, 4]);
    let others = turns.into_iter().filter(|n| *n != 2);
    for (turn, n) in others.zip([1, 3, 4].into_iter().cycle()) {
        assert_eq!(turn, n);
    }
}

fn threads_end_in_order_if_none_needs_a_second_slice(preemption: Preemption) {
    let (mut store, linker, module) = chatters(preemption);
    store
        .wasm_threads()
        .set_slice(match preemption {
            Preemption::Fuel => Slice::Fuel(1_000_000),
            _ => Slice::Time(Duration::from_secs(100)),
        })
        .unwrap();
    for n in 0..100 {
        spawn_linked(&mut store, &linker, &module, "once", &[Val::I32(n)]);
    }
    let run = run_all(&mut store);
    assert_eq!((run.dispatches, run.finished), (100, 100));
    assert_eq!(*store.data(), (0..100).collect::<Vec<_>>());
}

fn a_guest_that_spins_on_a_lock_gets_it(preemption: Preemption) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let module = Module::new(
        &engine,
        r#"
        (module
          (import "" "memory" (memory 1 1 shared))
          ;; Adds 1 to the word at 4, n times, with the word at 0 for a lock.
          (func (export "add") (param $n i32)
            (loop $again
              (loop $lock
                (br_if $lock (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1))))
              (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (call $slowly (i32.const 9))))
              (i32.atomic.store (i32.const 0) (i32.const 0))
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $again (local.get $n))))
          ;; 1, after n turns.
          (func $slowly (param $n i32) (result i32)
            (loop $again
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $again (local.get $n)))
            (i32.const 1)))
        "#,
    )
    .unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    for _ in 0..5 {
        let memory = memory.clone().into();
        let instance = Instance::new(&mut store, &module, &[memory]).unwrap();
        spawn_in(&mut store, instance, "add", &[Val::I32(200)]);
    }
    run_all(&mut store);
    let word: Vec<u8> = (4..8)
        // SAFETY: nobody else uses the memory any more.
        .map(|i| unsafe { *memory.data()[i].get() })
        .collect();
    assert_eq!(word, 1000_u32.to_le_bytes());
}

#[test]
fn shares_are_about_equal_under_fuel() {
    const SLICE: u64 = 10_000;
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_slice(Slice::Fuel(SLICE)).unwrap();
    let ids: Vec<_> = (0..5)
        .map(|_| spawn_spinner(&mut store, &module).0)
        .collect();
    store.run_wasm_threads_for(ms(100)).unwrap();
    let fuel = ids.iter().map(|id| stats(&store, *id).fuel_consumed);
    let (least, most) = (fuel.clone().min().unwrap(), fuel.max().unwrap());
    assert!(least > 2 * SLICE, "{least}");
    // Slices differ by an eighth at most, and what one thread has more of in one slice it has
    // less of in another.
    assert!(most - least <= SLICE + most / 50, "{least} to {most}");
}

#[test]
fn shares_are_about_equal_under_epochs() {
    let mut shares = Vec::new();
    // The machine may be busy with something else in one of them.
    for _ in 0..5 {
        let (mut store, module) = guests(Preemption::Epoch);
        store.wasm_threads().set_slice(Slice::Time(ms(2))).unwrap();
        let ids = [(); 4].map(|()| spawn_spinner(&mut store, &module).0);
        store.run_wasm_threads_for(ms(400)).unwrap();
        let time = ids.map(|id| stats(&store, id).cpu_time);
        let (least, most) = (time.iter().min().unwrap(), time.iter().max().unwrap());
        if *least * 2 > *most {
            return;
        }
        shares.push(time);
    }
    panic!("{shares:?}");
}
