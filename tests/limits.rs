//! Where stacks and memory end: a clear error, and nothing lost.

use crate::support::*;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::*;

for_each_preemption!(
    a_pool_of_stacks_that_is_used_up_is_an_error,
    pooled_stacks_are_used_again,
    stacks_that_cannot_be_had_are_an_error,
    a_stack_has_the_configured_size,
    memory_limits_hold_for_guest_threads,
);

fn pooling(preemption: Preemption, stacks: u32) -> Engine {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_stacks(stacks)
        .total_core_instances(20)
        .total_memories(20)
        .total_tables(20)
        .max_memory_size(1 << 20);
    let mut config = config(preemption);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.memory_reservation(1 << 20);
    Engine::new(&config).unwrap()
}

fn a_pool_of_stacks_that_is_used_up_is_an_error(preemption: Preemption) {
    let engine = pooling(preemption, 3);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store_with_slice(&engine, (), short_slice(preemption));
    let ids = [(); 3].map(|()| spawn_spinner(&mut store, &module).0);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let answer = instance.get_func(&mut store, "answer").unwrap();
    let error = store.spawn_wasm_thread(answer, &[]).unwrap_err();
    let message = format!("{error:#}");
    for word in ["stack", "total_stacks", "async_stack_size", "3"] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(store.wasm_threads().iter().count(), 3);

    // The others run on, and their stacks can be had again.
    run_until(&mut store, |store| {
        ids.iter().all(|id| stats(store, *id).dispatches > 0)
    });
    assert_eq!(store.shutdown_wasm_threads(), 3);
    let id = store.spawn_wasm_thread(answer, &[]).unwrap();
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, id)), [42]);
}

fn pooled_stacks_are_used_again(preemption: Preemption) {
    let engine = pooling(preemption, 4);
    for _ in 0..5 {
        let mut store = store_with_slice(&engine, (), short_slice(preemption));
        let instance = stateless(&mut store);
        for _ in 0..10 {
            let fib = spawn_in(&mut store, instance, "fib", &[Val::I32(15)]);
            let overflow = spawn_in(&mut store, instance, "overflow", &[]);
            let trap = spawn_in(&mut store, instance, "trap", &[]);
            run_all(&mut store);
            assert_eq!(bits(&returned(&mut store, fib)), [610]);
            let error = trapped(&mut store, overflow);
            assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
            trapped(&mut store, trap);
        }
        // One suspended, one never started: the store is dropped with them.
        spawn_in(&mut store, instance, "spin", &[]);
        store.run_wasm_threads_for(ms(2)).unwrap();
        spawn_in(&mut store, instance, "spin", &[]);
    }
}

/// Makes some stacks, and no more.
struct Scarce {
    stacks: CountedStacks,
    left: AtomicUsize,
    sizes: Arc<AtomicUsize>,
}

// SAFETY: the stacks are those of `CountedStacks`.
unsafe impl StackCreator for Scarce {
    fn new_stack(&self, size: usize, zeroed: bool) -> Result<Box<dyn StackMemory>> {
        self.sizes.store(size, Ordering::SeqCst);
        if self.left.load(Ordering::SeqCst) == 0 {
            return Err(Error::msg("no more stacks today"));
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        self.stacks.new_stack(size, zeroed)
    }
}

fn scarce(preemption: Preemption, left: usize) -> (Config, CountedStacks, Arc<AtomicUsize>) {
    let stacks = CountedStacks::default();
    let sizes = Arc::new(AtomicUsize::new(0));
    let mut config = config(preemption);
    config.with_host_stack(Arc::new(Scarce {
        stacks: stacks.clone(),
        left: AtomicUsize::new(left),
        sizes: sizes.clone(),
    }));
    (config, stacks, sizes)
}

fn stacks_that_cannot_be_had_are_an_error(preemption: Preemption) {
    let (config, stacks, _) = scarce(preemption, 2);
    let engine = Engine::new(&config).unwrap();
    let mut store = store_with_slice(&engine, (), short_slice(preemption));
    let instance = stateless(&mut store);
    let fib = spawn_in(&mut store, instance, "fib", &[Val::I32(20)]);
    spawn_in(&mut store, instance, "spin", &[]);
    let answer = instance.get_func(&mut store, "answer").unwrap();
    for _ in 0..3 {
        let error = store.spawn_wasm_thread(answer, &[]).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("no more stacks today"), "{message}");
        assert!(message.contains("fewer threads"), "{message}");
    }
    assert_eq!(store.wasm_threads().iter().count(), 2);
    run_until(&mut store, |store| finished(store, fib));
    // The stack of the one that has ended is at hand.
    let id = store.spawn_wasm_thread(answer, &[]).unwrap();
    run_until(&mut store, |store| finished(store, id));
    assert_eq!(bits(&returned(&mut store, fib)), [6_765]);
    assert_eq!(bits(&returned(&mut store, id)), [42]);
    drop(store);
    assert_eq!(stacks.live(), 0);
}

fn a_stack_has_the_configured_size(preemption: Preemption) {
    let (mut config, _, sizes) = scarce(preemption, 10);
    config.async_stack_size(3 << 20).max_wasm_stack(1 << 20);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    let id = spawn(&mut store, &module, "overflow", &[]);
    run_all(&mut store);
    let Range { start, end } = (3 << 20)..(3 << 20) + (64 << 10);
    assert!((start..end).contains(&sizes.load(Ordering::SeqCst)));
    let error = trapped(&mut store, id);
    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
}

fn memory_limits_hold_for_guest_threads(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(
        &engine,
        r#"(module
            (memory 1)
            (func (export "grow") (param $n i32) (result i32)
              (local $grown i32)
              (loop $again
                (local.set $grown
                  (i32.add (local.get $grown) (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
              (local.get $grown)))"#,
    )
    .unwrap();
    let limits = StoreLimitsBuilder::new().memory_size(5 * 65_536).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    store
        .wasm_threads()
        .set_slice(shortest_slice(preemption))
        .unwrap();
    let ids = [(); 4].map(|()| spawn(&mut store, &module, "grow", &[Val::I32(100)]));
    run_all(&mut store);
    for id in ids {
        assert_eq!(bits(&returned(&mut store, id)), [4]);
    }
}

#[test]
fn stacks_together_may_have_so_many_bytes() {
    let mut config = config(Preemption::Fuel);
    config.async_stack_size(1 << 20).max_wasm_stack(512 << 10);
    let engine = Engine::new(&config).unwrap();
    let mut store = Store::new(&engine, ());
    let answer = stateless(&mut store).get_func(&mut store, "answer");
    let answer = answer.unwrap();
    store.wasm_threads().set_max_stack_bytes(3 << 20).unwrap();
    for _ in 0..3 {
        store.spawn_wasm_thread(answer, &[]).unwrap();
    }
    let error = store.spawn_wasm_thread(answer, &[]).unwrap_err();
    assert!(
        error.to_string().contains("more than 3145728 bytes"),
        "{error}"
    );
    assert_eq!(store.wasm_threads().iter().count(), 3);
    // Those that have finished have none, whether or not their exits were taken.
    run_all(&mut store);
    for _ in 0..3 {
        store.spawn_wasm_thread(answer, &[]).unwrap();
    }
    store.wasm_threads().set_max_stack_bytes(0).unwrap();
    assert!(store.spawn_wasm_thread(answer, &[]).is_err());
    run_all(&mut store);
    store
        .wasm_threads()
        .set_max_stack_bytes(usize::MAX)
        .unwrap();
    store.spawn_wasm_thread(answer, &[]).unwrap();
}
