//! A panic of a host function unwinds out of the run, as it does out of a plain
//! call, and ends its own thread only.

use crate::support::*;
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasmtime::*;

const PANICKERS: &str = r#"
(module
  (import "" "host" (func $host (param i32)))
  (func $run (export "run") (param i32)
    (local $n i32)
    (local.set $n (i32.const TURNS))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (call $host (local.get 0)))
  (func (export "work") (param i32) (call $run (local.get 0))))
"#;

/// What a panic of `body` carried.
fn payload(body: impl FnOnce()) -> String {
    let panic = panic::catch_unwind(AssertUnwindSafe(body)).unwrap_err();
    match panic.downcast::<String>() {
        Ok(payload) => *payload,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

/// A store with a host function, stacks that are counted, and two siblings which
/// are in the middle of something.
struct Panickers<T: 'static> {
    store: Store<T>,
    linker: Linker<T>,
    module: Module,
    stacks: CountedStacks,
    spinner: ThreadId,
    sum: ThreadId,
}

impl Panickers<()> {
    /// Those whose host function panics with `message`.
    fn saying(preemption: Preemption, message: &'static str) -> Panickers<()> {
        let mut panickers = Panickers::new(preemption, ());
        panickers
            .linker
            .func_wrap("", "host", move |_: i32| -> () { panic!("{message}") })
            .unwrap();
        panickers
    }
}

impl<T: Send + 'static> Panickers<T> {
    fn new(preemption: Preemption, data: T) -> Panickers<T> {
        let stacks = CountedStacks::default();
        let engine = stacks.engine(preemption);
        let turns = some_turns(preemption).to_string();
        let guests = Module::new(&engine, GUESTS).unwrap();
        let mut store = store_with_slice(&engine, data, shortest_slice(preemption));
        Panickers {
            spinner: spawn_spinner(&mut store, &guests).0,
            sum: spawn(&mut store, &guests, "sum", &[Val::I64(1_000)]),
            module: Module::new(&engine, PANICKERS.replace("TURNS", &turns)).unwrap(),
            linker: Linker::new(&engine),
            store,
            stacks,
        }
    }

    fn spawn(&mut self, export: &str, n: i32) -> ThreadId {
        let instance = {
            let instance = self.linker.instantiate_async(&mut self.store, &self.module);
            match pin!(instance).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(instance) => instance.unwrap(),
                Poll::Pending => unreachable!("nothing in it waits"),
            }
        };
        spawn_in(&mut self.store, instance, export, &[Val::I32(n)])
    }

    /// The panic of a run, of which nothing is left but the exit of `id`.
    fn panic_of_run(&mut self, id: ThreadId) -> String {
        let payload = payload(|| drop(self.store.run_wasm_threads_for(ms(10_000))));
        let exit = format!("{:?}", trapped(&mut self.store, id));
        assert!(exit.contains("panic"), "{exit}");
        payload
    }

    /// The others run on, and the store drops.
    fn finish(mut self) {
        let before = stats(&self.store, self.spinner).dispatches;
        run_until(&mut self.store, |store| finished(store, self.sum));
        assert_eq!(bits(&returned(&mut self.store, self.sum)), [500_500]);
        run_until(&mut self.store, |store| {
            stats(store, self.spinner).dispatches > before
        });
        drop(self.store);
        assert_eq!(self.stacks.live(), 0);
    }
}

for_each_preemption!(
    a_panic_unwinds_out_of_the_run_with_its_payload,
    a_panic_passes_through_nested_calls,
    a_panic_in_a_run_inside_a_run_ends_a_thread_of_each,
    a_panic_in_an_async_host_function_ends_its_thread_only,
    a_panic_in_a_thread_without_wasm_ends_its_thread_only,
    a_store_drops_right_after_a_panic,
    a_host_function_may_catch_the_panic_of_a_run,
);

fn a_panic_unwinds_out_of_the_run_with_its_payload(preemption: Preemption) {
    let mut panickers = Panickers::new(preemption, ());
    panickers
        .linker
        .func_wrap("", "host", |n: i32| -> () { panic!("panic number {n}") })
        .unwrap();
    let ids = [1, 2, 3].map(|n| panickers.spawn("run", n));
    // In any order: each was preempted on its way.
    let mut panics =
        ids.map(|_| payload(|| drop(panickers.store.run_wasm_threads_for(ms(10_000)))));
    panics.sort();
    assert_eq!(panics, [1, 2, 3].map(|n| format!("panic number {n}")));
    for id in ids {
        let exit = trapped(&mut panickers.store, id);
        assert!(exit.to_string().contains("panic"), "{exit:?}");
    }
    panickers.finish();
}

fn a_panic_passes_through_nested_calls(preemption: Preemption) {
    let mut panickers = Panickers::new(preemption, ());
    panickers
        .linker
        .func_wrap(
            "",
            "host",
            |mut caller: Caller<'_, ()>, n: i32| -> Result<()> {
                if n == 0 {
                    panic!("in the depth");
                }
                let run = caller.get_export("work").unwrap().into_func().unwrap();
                run.call(&mut caller, &[Val::I32(n - 1)], &mut [])
            },
        )
        .unwrap();
    let id = panickers.spawn("run", 5);
    assert_eq!(panickers.panic_of_run(id), "in the depth");
    panickers.finish();
}

fn a_panic_in_a_run_inside_a_run_ends_a_thread_of_each(preemption: Preemption) {
    let mut inner = Panickers::saying(preemption, "inside");
    let inner_id = inner.spawn("run", 0);
    let mut outer = Panickers::new(preemption, Some(inner));
    outer
        .linker
        .func_wrap(
            "",
            "host",
            |mut caller: Caller<'_, Option<Panickers<()>>>, _: i32| {
                let inner = &mut caller.data_mut().as_mut().unwrap().store;
                inner.run_wasm_threads_for(ms(10_000)).unwrap();
            },
        )
        .unwrap();
    let outer_id = outer.spawn("run", 0);
    assert_eq!(outer.panic_of_run(outer_id), "inside");
    let mut inner = outer.store.data_mut().take().unwrap();
    let exit = trapped(&mut inner.store, inner_id);
    assert!(exit.to_string().contains("panic"), "{exit:?}");
    outer.finish();
    inner.finish();
}

fn a_panic_in_an_async_host_function_ends_its_thread_only(preemption: Preemption) {
    for polls in [0, 3] {
        let mut panickers = Panickers::new(preemption, ());
        panickers
            .linker
            .func_wrap_async("", "host", move |_: Caller<'_, ()>, (_,): (i32,)| {
                let mut left = polls;
                Box::new(future::poll_fn(move |cx| {
                    if left == 0 {
                        panic!("in poll {polls}");
                    }
                    left -= 1;
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                }))
            })
            .unwrap();
        let id = panickers.spawn("run", 0);
        assert_eq!(panickers.panic_of_run(id), format!("in poll {polls}"));
        panickers.finish();
    }
}

fn a_panic_in_a_thread_without_wasm_ends_its_thread_only(preemption: Preemption) {
    let mut panickers = Panickers::new(preemption, ());
    let host = Func::wrap(&mut panickers.store, || -> () { panic!("at once") });
    let id = panickers.store.spawn_wasm_thread(host, &[]).unwrap();
    assert_eq!(panickers.panic_of_run(id), "at once");
    panickers.finish();
}

fn a_store_drops_right_after_a_panic(preemption: Preemption) {
    let mut panickers = Panickers::saying(preemption, "at last");
    for n in 0..3 {
        panickers.spawn("run", n);
    }
    let panic = payload(|| drop(panickers.store.run_wasm_threads_for(ms(10_000))));
    assert_eq!(panic, "at last");
    let Panickers { store, stacks, .. } = panickers;
    drop(store);
    assert_eq!(stacks.live(), 0);
}

fn a_host_function_may_catch_the_panic_of_a_run(preemption: Preemption) {
    let mut inner = Panickers::saying(preemption, "inside");
    let inner_id = inner.spawn("run", 0);
    let mut outer = Panickers::new(preemption, Some((inner, inner_id)));
    type Data = Option<(Panickers<()>, ThreadId)>;
    outer
        .linker
        .func_wrap("", "host", |mut caller: Caller<'_, Data>, _: i32| {
            let (mut inner, id) = caller.data_mut().take().unwrap();
            assert_eq!(inner.panic_of_run(id), "inside");
            inner.finish();
        })
        .unwrap();
    let id = outer.spawn("run", 0);
    run_until(&mut outer.store, |store| finished(store, id));
    returned(&mut outer.store, id);
    outer.finish();
}
