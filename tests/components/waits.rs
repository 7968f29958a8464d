//! A component's call parks its guest thread while a concurrent host function waits, and keeps the
//! store while an asynchronous one does.

use super::guests::{self, *};
use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use wasmtime::component::{Accessor, Component, Instance, Val};
use wasmtime::*;

for_each_preemption!(
    a_concurrent_host_function_parks_its_thread,
    an_asynchronous_host_function_keeps_the_store,
    a_parked_call_that_is_killed_drops_its_future,
);

fn concurrent_engine(preemption: Preemption) -> Engine {
    let [_, concurrent] = engines(preemption);
    concurrent
}

fn napper(store: &mut Store<Seen>, held: &Arc<AtomicU32>) -> Instance {
    let engine = store.engine().clone();
    let component = Component::new(&engine, COMPONENT).unwrap();
    let mut linker = linker(&engine);
    linker.allow_shadowing(true);
    let held = held.clone();
    linker
        .root()
        .func_wrap_concurrent("nap", move |accessor: &Accessor<Seen>, (): ()| {
            let held = Held::new(&held);
            Box::pin(async move {
                let _held = held;
                accessor.with(|mut access| access.get().naps += 1);
                // Ready once everybody has begun to nap.
                std::future::poll_fn(|cx| {
                    let naps = accessor.with(|mut access| access.get().naps);
                    cx.waker().wake_by_ref();
                    match naps >= 3 {
                        true => std::task::Poll::Ready(()),
                        false => std::task::Poll::Pending,
                    }
                })
                .await;
                Ok(())
            })
        })
        .unwrap();
    now(linker.instantiate_async(&mut *store, &component)).unwrap()
}

struct Held(Arc<AtomicU32>);

impl Held {
    fn new(count: &Arc<AtomicU32>) -> Held {
        count.fetch_add(1, SeqCst);
        Held(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Three that each wait for the other two, beside one that spins.
fn a_concurrent_host_function_parks_its_thread(preemption: Preemption) {
    let engine = concurrent_engine(preemption);
    let mut store = store(&engine, preemption);
    let held = Arc::default();
    let spinner = instance(&mut store);
    let spinner = guests::spawn(&mut store, &spinner, "spin", &[]);
    let nappers = [(); 3].map(|()| {
        let instance = napper(&mut store, &held);
        guests::spawn(&mut store, &instance, "nap", &[])
    });
    for napper in &nappers {
        run_until(&mut store, |store| finished(store, napper.id()));
        guests::returned(&mut store, napper);
    }
    assert_eq!(held.load(SeqCst), 0);
    spinner.kill(&mut store).unwrap();
}

fn an_asynchronous_host_function_keeps_the_store(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let component = Component::new(&engine, COMPONENT).unwrap();
        let mut linker = linker(&engine);
        linker.allow_shadowing(true);
        linker
            .root()
            .func_wrap_async("nap", |mut store: StoreContextMut<'_, Seen>, (): ()| {
                Box::new(async move {
                    let before = store.data().looks;
                    for _ in 0..3 {
                        tokio::task::yield_now().await;
                    }
                    store.data_mut().naps += 1;
                    assert_eq!(store.data().looks, before);
                    Ok(())
                })
            })
            .unwrap();
        // Upstream wants stores with such functions to be used asynchronously. A guest thread is.
        let sleeper = now(linker.instantiate_async(&mut store, &component)).unwrap();
        let nap = guests::spawn(&mut store, &sleeper, "nap", &[]);
        let user = now(linker.instantiate_async(&mut store, &component)).unwrap();
        let thing = thing(&mut store, 1);
        let params = [Val::Resource(thing), Val::U32(1_000)];
        let looks = guests::spawn(&mut store, &user, "use", &params);
        run_all(&mut store);
        guests::returned(&mut store, &nap);
        assert_eq!(guests::returned(&mut store, &looks), [Val::U32(1_000)]);
        assert_eq!(store.data().naps, 2);
    }
}

fn a_parked_call_that_is_killed_drops_its_future(preemption: Preemption) {
    let engine = concurrent_engine(preemption);
    let mut store = store(&engine, preemption);
    let held = Arc::default();
    let instance = napper(&mut store, &held);
    let id = guests::spawn(&mut store, &instance, "nap", &[]);
    run_until(&mut store, |store| store.data().naps > 0);
    assert_eq!(held.load(SeqCst), 1);
    id.kill(&mut store).unwrap();
    assert_eq!(held.load(SeqCst), 0);
    let tasks = store.concurrent_resource_table().unwrap();
    assert!(tasks.is_empty());
}
