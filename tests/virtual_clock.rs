//! A virtual clock: timed waits take as long as the guests' fuel says.

use crate::support::*;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

const HOUR: Duration = Duration::from_secs(3600);

const GUEST: &str = r#"(module
  (import "host" "sleep" (func $sleep (param i64) (result i64)))
  (import "host" "suspend" (func $suspend (param i64)))
  (memory 1 1 shared)
  (func (export "suspend") (param i64) (call $suspend (local.get 0)))
  (func (export "sleep") (param i64) (result i64) (call $sleep (local.get 0)))
  (func (export "sleep on") (loop $again (drop (call $sleep (i64.const 1))) (br $again)))
  (func (export "wait") (param i64) (result i32)
    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "spin") (result i64) (local $i i32)
    (loop $again
      (br_if $again
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000))))
    (call $sleep (i64.const 0))))"#;

struct Guests {
    store: Store<VirtualClock>,
    linker: Linker<VirtualClock>,
    module: Module,
}

impl Guests {
    fn new() -> Guests {
        let engine = Engine::new(&config_with_shared_memory(Preemption::Fuel)).unwrap();
        let mut linker = Linker::<VirtualClock>::new(&engine);
        // Returns what the clock shows afterwards.
        linker
            .func_wrap_concurrent("host", "sleep", |caller, (nanos,): (u64,)| {
                Box::pin(async move {
                    caller.sleep(Duration::from_nanos(nanos)).await?;
                    caller.with(|mut caller| {
                        caller.wasm_threads().update_virtual_clock();
                        caller.data().now().as_nanos() as u64
                    })
                })
            })
            .unwrap();
        let suspend = |mut caller: Caller<'_, VirtualClock>, id: u64| {
            ThreadId::from_u64(id).suspend(&mut caller)
        };
        linker.func_wrap("host", "suspend", suspend).unwrap();
        let module = Module::new(&engine, GUEST).unwrap();
        let clock = VirtualClock::new();
        let mut store = Store::new(&engine, clock.clone());
        store.wasm_threads().set_virtual_clock(clock).unwrap();
        store.wasm_threads().set_slice(Slice::Fuel(1000)).unwrap();
        Guests {
            store,
            linker,
            module,
        }
    }

    fn spawn(&mut self, name: &str, params: &[Val]) -> ThreadId {
        let instance = self.linker.instantiate(&mut self.store, &self.module);
        let func = instance.unwrap().get_func(&mut self.store, name).unwrap();
        self.store.spawn_wasm_thread(func, params).unwrap()
    }

    fn finish(&mut self) {
        let end = self.store.run_wasm_threads_for(HOUR).unwrap().end;
        assert_eq!(end, RunEnd::AllFinished);
    }

    fn returned(&mut self, id: ThreadId) -> u64 {
        returned(&mut self.store, id)[0].unwrap_i64() as u64
    }
}

fn nanos(time: Duration) -> Val {
    Val::I64(time.as_nanos() as i64)
}

#[test]
fn sleepers_take_no_time_and_the_same_by_their_clock() {
    let run = || {
        let mut guests = Guests::new();
        let ids = [3, 1, 2].map(|hours| guests.spawn("sleep", &[nanos(hours * HOUR)]));
        guests.finish();
        ids.map(|id| guests.returned(id))
    };
    let started = Instant::now();
    let first = run();
    assert!(started.elapsed() < HOUR);
    for (woken, hours) in first.iter().zip([3, 1, 2]) {
        let woken = Duration::from_nanos(*woken);
        let late = woken - hours * HOUR;
        assert!(late < Duration::from_micros(10), "{late:?}");
    }
    assert_eq!(run(), first);
}

#[test]
fn the_clock_follows_fuel_while_somebody_runs() {
    let mut guests = Guests::new();
    let spinner = guests.spawn("spin", &[]);
    let sleeper = guests.spawn("sleep", &[nanos(Duration::from_micros(50))]);
    guests.finish();
    let (spun, woken) = (guests.returned(spinner), guests.returned(sleeper));
    assert!((400_000..2_000_000).contains(&spun), "{spun}");
    // It is woken within a slice, and not when the other one is done.
    assert!((50_000..60_000).contains(&woken), "{woken}");
    assert_eq!(guests.store.data().now().as_nanos() as u64, spun.max(woken));
}

#[test]
fn atomic_waits_time_out_by_it() {
    let started = Instant::now();
    let mut guests = Guests::new();
    let id = guests.spawn("wait", &[nanos(HOUR)]);
    guests.finish();
    assert!(started.elapsed() < HOUR);
    const TIMED_OUT: i32 = 2;
    let [Val::I32(TIMED_OUT)] = returned(&mut guests.store, id)[..] else {
        panic!("not timed out");
    };
    assert!(guests.store.data().now() >= HOUR);
}

#[test]
fn nobody_is_woken_for_a_suspended_sleeper() {
    let mut guests = Guests::new();
    let id = guests.spawn("sleep", &[nanos(HOUR)]);
    // It has the second turn.
    let suspends = guests.spawn("suspend", &[Val::I64(id.as_u64() as i64)]);
    let end = guests.store.run_wasm_threads_for(HOUR).unwrap().end;
    assert_eq!(end, RunEnd::AllSuspended);
    assert!(finished(&guests.store, suspends));
    assert!(guests.store.data().now() < HOUR);
    id.resume(&mut guests.store).unwrap();
    guests.finish();
    assert!(guests.returned(id) >= HOUR.as_nanos() as u64);
}

#[test]
fn those_who_only_sleep_do_not_outlast_the_run() {
    must_end(|| {
        let mut guests = Guests::new();
        guests.spawn("sleep on", &[]);
        let run = guests.store.run_wasm_threads_for(ms(5)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        // Nor do they keep an executor from its other tasks.
        let mut run = pin!(guests.store.run_wasm_threads_async(HOUR));
        assert!(now(poll_fn(|cx| Poll::Ready(
            run.as_mut().poll(cx).is_pending()
        ))));
    });
}

#[test]
fn a_plain_call_sleeps_by_the_os_and_the_clock_skips() {
    let mut guests = Guests::new();
    let instance = guests.linker.instantiate(&mut guests.store, &guests.module);
    let sleep = instance.unwrap().get_func(&mut guests.store, "sleep");
    let mut results = [Val::I64(0)];
    let time = Duration::from_millis(20);
    let started = Instant::now();
    let call = sleep.unwrap();
    let params = [nanos(time)];
    let slept = call.call_async(&mut guests.store, &params, &mut results);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(slept).unwrap();
    assert!(started.elapsed() >= time);
    assert!(results[0].unwrap_i64() as u128 >= time.as_nanos());
}

const SLEEPS: &str = r#"(module
  (import "preempt" "sleep" (func $sleep (param i64)))
  (func (export "sleep") (call $sleep (i64.const 3600000000000))))"#;

#[test]
fn slices_of_time_and_sleepers_are_in_the_way() {
    for source in timed_sources() {
        let mut store = Store::new(&engine(source), ());
        let error = store.wasm_threads().set_virtual_clock(VirtualClock::new());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("`Preemption::{source:?}`")),
            "{error}"
        );
    }
    let mut store = Store::new(&engine(Preemption::Fuel), ());
    let module = Module::new(store.engine(), SLEEPS).unwrap();
    let mut linker = Linker::new(store.engine());
    wasmtime_preempt::imports::add_to_linker(&mut linker).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let func = instance.get_func(&mut store, "sleep").unwrap();
    let id = store.spawn_wasm_thread(func, &[]).unwrap();
    run_until_parked(&mut store, &[id]);
    let set = store.wasm_threads().set_virtual_clock(VirtualClock::new());
    let error = set.unwrap_err().to_string();
    assert!(error.contains("waits for a time"), "{error}");
}
