//! A guest that came back in through a host function is not switched away from
//! until that host function returns (rule I1), and is preempted soon afterwards.

use crate::support::*;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use wasmtime::preempt::*;
use wasmtime::*;

const NESTING: &str = r#"
(module
  (import "" "enter" (func $enter (param i32)))
  (global $turns (export "turns") (mut i64) (i64.const 0))
  ;; Enters once, and spins then.
  (func (export "run") (param i32)
    (call $enter (local.get 0))
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again)))
  (func (export "once") (param i32) (call $enter (local.get 0)))
  ;; What is entered: takes a while.
  (func (export "work")
    (local $n i32)
    (local.set $n (i32.const 300000))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "trap") unreachable)
  (func $overflow (export "overflow") (call $overflow)))
"#;

/// A store beside the one of the threads, and what is called there.
type Other = (Store<()>, TypedFunc<i64, i64>);

/// What host functions want to know: the counter of a sibling, and how often
/// they were called.
#[derive(Default)]
struct Data {
    sibling: Option<Global>,
    calls: u32,
    other: Option<Box<Other>>,
}

impl Data {
    fn sibling_turns(mut store: impl AsContextMut<Data = Data>) -> i64 {
        let sibling = store.as_context().data().sibling.unwrap();
        sibling.get(&mut store).unwrap_i64()
    }
}

struct Nesting {
    store: Store<Data>,
    linker: Linker<Data>,
    module: Module,
    sibling: ThreadId,
}

impl Nesting {
    fn new(engine: &Engine, slice: Slice) -> Nesting {
        let mut store = store_with_slice(engine, Data::default(), slice);
        let guests = Module::new(engine, GUESTS).unwrap();
        let (sibling, turns) = spawn_spinner(&mut store, &guests);
        store.data_mut().sibling = Some(turns);
        Nesting {
            store,
            linker: Linker::new(engine),
            module: Module::new(engine, NESTING).unwrap(),
            sibling,
        }
    }

    /// With `enter` for the host function.
    fn with(
        preemption: Preemption,
        enter: impl Fn(Caller<'_, Data>, i32) -> Result<()> + Send + Sync + 'static,
    ) -> Nesting {
        let mut this = Nesting::new(&engine(preemption), short_slice(preemption));
        this.linker.func_wrap("", "enter", enter).unwrap();
        this
    }

    fn spawn(&mut self, export: &str, n: i32) -> ThreadId {
        spawn_linked(
            &mut self.store,
            &self.linker,
            &self.module,
            export,
            &[Val::I32(n)],
        )
    }

    /// Runs until the host function was called so often, and no more often.
    fn run_until_called(&mut self, calls: u32) {
        run_until(&mut self.store, |store| store.data().calls >= calls);
        assert_eq!(self.store.data().calls, calls);
    }

    /// Both the thread that has entered and its sibling get their turns now.
    fn assert_both_run_on(&mut self, id: ThreadId) {
        let ids = [id, self.sibling];
        let before = ids.map(|id| stats(&self.store, id).preemptions);
        run_until(&mut self.store, |store| {
            let now = ids.map(|id| stats(store, id).preemptions);
            now.iter().zip(before).all(|(now, before)| *now > before)
        });
    }
}

fn export(caller: &mut Caller<'_, Data>, name: &str) -> TypedFunc<(), ()> {
    let func = caller.get_export(name).unwrap().into_func().unwrap();
    func.typed(caller).unwrap()
}

for_each_preemption!(
    a_nested_call_is_not_switched_away_from,
    a_nested_call_that_traps_ends_alone,
    entries_nest_deeply,
    a_plain_call_of_another_store_is_not_switched_away_from,
    a_nested_async_call_is_not_switched_away_from,
    a_nested_call_spawns_and_inspects_threads,
    a_host_function_between_two_guests_shows_in_the_backtrace,
);

fn a_nested_call_is_not_switched_away_from(preemption: Preemption) {
    let mut nesting = Nesting::with(preemption, |mut caller, _| {
        let before = Data::sibling_turns(&mut caller);
        let id = caller.wasm_threads().current();
        let work = export(&mut caller, "work");
        // Many slices, of whatever kind.
        let start = Instant::now();
        while start.elapsed() < ms(10) {
            work.call(&mut caller, ())?;
        }
        assert_eq!(Data::sibling_turns(&mut caller), before);
        assert_eq!(caller.wasm_threads().current(), id);
        caller.data_mut().calls += 1;
        Ok(())
    });
    let id = nesting.spawn("run", 0);
    nesting.run_until_called(1);
    nesting.assert_both_run_on(id);
}

fn a_nested_call_that_traps_ends_alone(preemption: Preemption) {
    let mut nesting = Nesting::with(preemption, |mut caller, _| {
        for (name, trap) in [
            ("trap", Trap::UnreachableCodeReached),
            ("overflow", Trap::StackOverflow),
        ] {
            let error = export(&mut caller, name).call(&mut caller, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&trap));
        }
        caller.data_mut().calls += 1;
        Ok(())
    });
    let id = nesting.spawn("run", 0);
    nesting.run_until_called(1);
    nesting.assert_both_run_on(id);
}

fn entries_nest_deeply(preemption: Preemption) {
    let mut nesting = Nesting::with(preemption, |mut caller, n| {
        let before = Data::sibling_turns(&mut caller);
        caller.data_mut().calls += 1;
        export(&mut caller, "work").call(&mut caller, ())?;
        if n > 0 {
            let once = caller.get_export("once").unwrap().into_func().unwrap();
            once.call(&mut caller, &[Val::I32(n - 1)], &mut [])?;
        }
        export(&mut caller, "work").call(&mut caller, ())?;
        assert_eq!(Data::sibling_turns(&mut caller), before);
        Ok(())
    });
    let a = nesting.spawn("run", 20);
    let b = nesting.spawn("run", 5);
    nesting.run_until_called(21 + 6);
    nesting.assert_both_run_on(a);
    nesting.assert_both_run_on(b);
}

fn a_plain_call_of_another_store_is_not_switched_away_from(preemption: Preemption) {
    // Of the same engine, and with code of the same module.
    let engine = engine(preemption);
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut nesting = Nesting::new(&engine, short_slice(preemption));
    nesting
        .linker
        .func_wrap("", "enter", |mut caller: Caller<'_, Data>, n: i32| {
            let before = Data::sibling_turns(&mut caller);
            let (other, sum) = &mut **caller.data_mut().other.as_mut().unwrap();
            assert_eq!(other.as_context_mut().wasm_threads().current(), None);
            let start = Instant::now();
            while start.elapsed() < ms(10) {
                let n = i64::from(n);
                assert_eq!(sum.call(&mut *other, n).unwrap(), n * (n + 1) / 2);
            }
            assert_eq!(Data::sibling_turns(&mut caller), before);
            caller.data_mut().calls += 1;
        })
        .unwrap();
    let mut other = Store::new(&engine, ());
    let sum = Instance::new(&mut other, &guests, &[]).unwrap();
    let sum = sum.get_typed_func(&mut other, "sum").unwrap();
    nesting.store.data_mut().other = Some(Box::new((other, sum)));

    let id = nesting.spawn("run", 100_000);
    nesting.run_until_called(1);
    nesting.assert_both_run_on(id);
}

fn a_nested_async_call_is_not_switched_away_from(preemption: Preemption) {
    let mut nesting = Nesting::new(&engine(preemption), short_slice(preemption));
    nesting
        .linker
        .func_wrap_async("", "enter", |mut caller: Caller<'_, Data>, (n,): (i32,)| {
            Box::new(async move {
                let before = Data::sibling_turns(&mut caller);
                let work = export(&mut caller, "work");
                let start = Instant::now();
                while start.elapsed() < ms(10) {
                    work.call_async(&mut caller, ()).await.unwrap();
                }
                if n > 0 {
                    // One that enters in turn.
                    let once = caller.get_export("once").unwrap().into_func().unwrap();
                    let once = once.typed::<i32, ()>(&caller).unwrap();
                    once.call_async(&mut caller, n - 1).await.unwrap();
                }
                assert_eq!(Data::sibling_turns(&mut caller), before);
                caller.data_mut().calls += 1;
            })
        })
        .unwrap();
    let id = spawn_async(&mut nesting, "run", 2);
    nesting.run_until_called(3);
    nesting.assert_both_run_on(id);
}

/// As `Nesting::spawn`, for a store that needs async entry points.
fn spawn_async(nesting: &mut Nesting, export: &str, n: i32) -> ThreadId {
    let instance = nesting
        .linker
        .instantiate_async(&mut nesting.store, &nesting.module);
    let instance = match pin!(instance).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(instance) => instance.unwrap(),
        Poll::Pending => unreachable!("nothing in it waits"),
    };
    spawn_in(&mut nesting.store, instance, export, &[Val::I32(n)])
}

fn a_nested_call_spawns_and_inspects_threads(preemption: Preemption) {
    let mut nesting = Nesting::with(preemption, |mut caller, n| {
        if n > 0 {
            let once = caller.get_export("once").unwrap().into_func().unwrap();
            return once.call(&mut caller, &[Val::I32(n - 1)], &mut []);
        }
        let work = *export(&mut caller, "work").func();
        let id = caller.spawn_wasm_thread(work, &[])?;
        assert_eq!(id.info(&caller).unwrap().state, ThreadState::Ready);
        assert_eq!(caller.wasm_threads().iter().count(), 3);
        caller.data_mut().calls += 1;
        Ok(())
    });
    // `work` has nothing to do with the state of the instance.
    nesting
        .store
        .wasm_threads()
        .set_sharing_allowed(true)
        .unwrap();
    let id = nesting.spawn("run", 3);
    nesting.run_until_called(1);
    run_until(&mut nesting.store, |store| {
        store
            .wasm_threads()
            .iter()
            .any(|thread| thread.state == ThreadState::Finished)
    });
    nesting.assert_both_run_on(id);
}

fn a_host_function_between_two_guests_shows_in_the_backtrace(preemption: Preemption) {
    let mut nesting = Nesting::with(preemption, |mut caller, _| {
        let trap = export(&mut caller, "trap");
        trap.call(&mut caller, ())
    });
    let id = nesting.spawn("once", 0);
    run_until(&mut nesting.store, |store| finished(store, id));
    let error = trapped(&mut nesting.store, id);
    assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    let frames = error.downcast_ref::<WasmBacktrace>().unwrap().frames();
    assert_eq!(frames.len(), 2, "{error:?}");
}

/// A store whose embedder yields at each deadline, and a thread that reaches one
/// in a nested call.
fn yields_in_nested_call(
    enter: impl Fn(Caller<'_, Data>, i32) -> Result<()> + Send + Sync + 'static,
) -> Error {
    let mut nesting = Nesting::with(Preemption::Epoch, move |mut caller, n| {
        caller.engine().increment_epoch();
        caller.data_mut().calls += 1;
        enter(caller, n)
    });
    let id = nesting.spawn("once", 0);
    nesting
        .store
        .epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    nesting.store.set_epoch_deadline(1);
    let mut store = must_end(move || {
        run_until(&mut nesting.store, |store| finished(store, id));
        nesting.store
    });
    assert_eq!(store.data().calls, 1);
    trapped(&mut store, id)
}

#[test]
fn an_embedders_yield_in_a_nested_call_is_an_error() {
    let error = yields_in_nested_call(|mut caller, _| {
        let work = export(&mut caller, "work");
        work.call(&mut caller, ())
    });
    let message = format!("{error:?}");
    assert!(
        message.contains("yield") || message.contains("Yield"),
        "{message}"
    );
}

#[test]
fn an_embedders_yield_in_a_nested_async_call_that_is_polled_by_hand_yields_to_that() {
    // The future of the nested call is pending once, and then done.
    let error = yields_in_nested_call(|mut caller, _| {
        let work = export(&mut caller, "work");
        let mut call = pin!(work.call_async(&mut caller, ()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut pending = 0;
        while call.as_mut().poll(&mut cx)?.is_pending() {
            pending += 1;
        }
        Err(Error::msg(format!("{pending} times pending")))
    });
    assert_eq!(error.root_cause().to_string(), "1 times pending");
}
