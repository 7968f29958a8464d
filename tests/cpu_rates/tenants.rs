//! Tenants: threads of many stores, on many OS threads, that share a rate.

use super::*;
use std::thread;
use tokio::runtime::Builder;

for_each_preemption!(
    stores_on_two_os_threads_share_a_tenants_rate,
    a_tenant_that_is_throttled_holds_up_no_other,
    the_stores_of_a_tenant_take_turns,
);

/// A store with a spinner of `tenant`.
fn spinner_of(engine: &Engine, module: &Module, tenant: &Tenant) -> (Store<()>, ThreadId) {
    let slice = short_slice(engine_source(engine));
    let mut store = store_with_slice(engine, (), slice);
    let id = spin(&mut store, module, ThreadOptions::new().tenant(tenant));
    (store, id)
}

fn engine_source(engine: &Engine) -> Preemption {
    let mut store = Store::new(engine, ());
    let fuel = store.wasm_threads().set_slice(Slice::Fuel(1));
    match fuel {
        Ok(()) => Preemption::Fuel,
        Err(_) => Preemption::Epoch,
    }
}

fn stores_on_two_os_threads_share_a_tenants_rate(source: Preemption) {
    let engine = engine(source);
    let module = Module::new(&engine, GUESTS).unwrap();
    let tenant = Tenant::new(ONCE.0, ONCE.1).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut store, id) = spinner_of(&engine, &module, &tenant);
                run_until_throttled(&mut store, id);
                let before = stats(&store, id).dispatches;
                store.run_wasm_threads_for(ms(50)).unwrap();
                assert_eq!(stats(&store, id).dispatches, before);
            });
        }
    });
    // The one that came second has waited for what the first one has used.
    assert_eq!(tenant.throttles(), 2);
    let used = tenant.cpu_time();
    assert!(used >= LEAST, "{used:?}");
    // Its stores are gone, and what they have used is not forgotten.
    let (mut store, id) = spinner_of(&engine, &module, &tenant);
    let run = store.run_wasm_threads_for(ms(20)).unwrap();
    assert_eq!((run.dispatches, run.throttles), (0, 1));
    assert_eq!(tenant.cpu_time(), used);
    assert!(!tenant.is_idle());
    id.kill(&mut store).unwrap();
}

fn a_tenant_that_is_throttled_holds_up_no_other(source: Preemption) {
    let (mut store, module) = guests(source);
    let [a, b] = [(); 2].map(|()| Tenant::new(ONCE.0, ONCE.1).unwrap());
    let of_a = spin(&mut store, &module, ThreadOptions::new().tenant(&a));
    run_until_throttled(&mut store, of_a);
    assert!(b.is_idle() && b.cpu_time().is_zero() && b.throttles() == 0);
    let of_b = spin(&mut store, &module, ThreadOptions::new().tenant(&b));
    run_until_throttled(&mut store, of_b);
    assert!(b.cpu_time() >= LEAST);
    // A thread may be throttled for its own rate or for that of its tenant.
    let free = Tenant::new(Duration::from_secs(10), ms(1_000)).unwrap();
    let both = spin(&mut store, &module, once().tenant(&free));
    run_until_throttled(&mut store, both);
    assert!(free.throttles() == 1 && free.cpu_time() >= LEAST);
}

fn the_stores_of_a_tenant_take_turns(source: Preemption) {
    const STORES: usize = 20;
    let engine = engine(source);
    let module = Module::new(&engine, GUESTS).unwrap();
    let tenant = Tenant::new(ms(5), ms(20)).unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.unwrap();
    let tasks = (0..STORES).map(|_| {
        let (mut store, id) = spinner_of(&engine, &module, &tenant);
        runtime.spawn(async move {
            let start = Instant::now();
            // Those that come first would otherwise keep the others from their turns.
            while stats(&store, id).throttles < 5 {
                store.run_wasm_threads_async(ms(10)).await.unwrap();
                assert!(start.elapsed() < HANG);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        runtime.block_on(task).unwrap();
    }
    assert!(tenant.throttles() >= 5 * STORES as u64);
}

#[test]
fn a_virtual_clock_and_a_tenant_do_not_go_together() {
    let (mut store, module) = guests(Preemption::Fuel);
    let tenant = Tenant::new(ms(1), ms(10)).unwrap();
    let id = spin(&mut store, &module, ThreadOptions::new().tenant(&tenant));
    let error = store.wasm_threads().set_virtual_clock(VirtualClock::new());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("belongs to a tenant"), "{error}");
    id.kill(&mut store).unwrap();
    id.take_exit(&mut store);
    let clock = VirtualClock::new();
    store.wasm_threads().set_virtual_clock(clock).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let spin = instance.get_func(&mut store, "spin").unwrap();
    let options = ThreadOptions::new().tenant(&tenant);
    let error = options
        .spawn(&mut store, spin, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("this store has a virtual one"), "{error}");
}
