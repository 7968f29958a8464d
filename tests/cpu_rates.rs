//! CPU rates: threads, groups and tenants that have used up their time on the CPU wait until more
//! of it is there, and nothing that they do gets them more.

mod tenants;
mod throttled;
mod virtual_time;

use crate::support::*;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

/// So little that a spinner is throttled soon, and for longer than any test takes: when less than
/// a portion is left.
const ONCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

/// What it uses at least.
const LEAST: Duration = Duration::from_micros(500);

fn once() -> ThreadOptions {
    ThreadOptions::new().cpu_rate(ONCE.0, ONCE.1)
}

/// Slices of fuel are about as long as a portion. With less, what is missing of a portion when a
/// thread is throttled is little, and has refilled soon.
fn guests(source: Preemption) -> (Store<()>, Module) {
    let (mut store, module) = crate::support::guests(source);
    if source == Preemption::Fuel {
        let slice = Slice::Fuel(100_000);
        store.wasm_threads().set_slice(slice).unwrap();
    }
    (store, module)
}

fn spin(store: &mut Store<()>, module: &Module, options: ThreadOptions) -> ThreadId {
    spawn_with(store, module, "spin", &[], options)
}

fn state(store: &Store<()>, id: ThreadId) -> ThreadState {
    id.info(store).unwrap().state
}

/// Runs until `id`, which has a rate of [`ONCE`], has used that up.
fn run_until_throttled(store: &mut Store<()>, id: ThreadId) {
    run_until(store, |store| state(store, id) == ThreadState::Parked);
}

for_each_preemption!(
    a_throttled_thread_waits_and_its_siblings_run,
    a_run_of_throttled_threads_sleeps,
    host_calls_in_a_row_get_a_thread_no_more_time,
    leaving_the_cpu_early_gets_a_thread_no_more_time,
    a_group_is_throttled_as_one,
    a_thread_that_never_ran_is_throttled_with_its_group,
);

fn a_throttled_thread_waits_and_its_siblings_run(source: Preemption) {
    let (mut store, module) = guests(source);
    let id = spin(&mut store, &module, once());
    let (free, turns) = spawn_spinner(&mut store, &module);
    run_until_throttled(&mut store, id);
    let info = id.info(&store).unwrap();
    let Some(wait @ WaitFor::CpuRate(_)) = info.waits_for else {
        panic!("{info:?}");
    };
    assert_eq!(wait.to_string(), "its CPU rate");
    let before = info.stats;
    assert!(
        before.throttles == 1 && before.cpu_time >= LEAST,
        "{before:?}"
    );
    let turns_before = turns.get(&mut store).unwrap_i64();
    run_until(&mut store, |store| {
        turns.get(&mut *store).unwrap_i64() > turns_before + 1_000
    });
    let after = stats(&store, id);
    assert_eq!(after.dispatches, before.dispatches);
    assert_eq!(after.cpu_time, before.cpu_time);
    assert_eq!(stats(&store, free).throttles, 0);
}

fn a_run_of_throttled_threads_sleeps(source: Preemption) {
    let (mut store, module) = guests(source);
    let ids = [(); 3].map(|()| spin(&mut store, &module, once()));
    ids.iter()
        .for_each(|id| run_until_throttled(&mut store, *id));
    let throttles: u64 = ids.iter().map(|id| stats(&store, *id).throttles).sum();
    assert_eq!(throttles, 3);
    let start = os_thread_cpu_time();
    let run = store.run_wasm_threads_for(ms(300)).unwrap();
    assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0), "{run:?}");
    assert!(run.elapsed >= ms(300), "{run:?}");
    let used = os_thread_cpu_time() - start;
    assert!(used < ms(100), "{used:?}");
}

/// Calls the host after each bit of work.
const WORKER: &str = r#"(module
  (import "" "check" (func $check))
  (func (export "run") (local $i i32)
    (loop $again
      (local.set $i (i32.const 20000))
      (loop $more
        (br_if $more (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (call $check)
      (br $again))))"#;

/// Whenever it runs, a thread has used no more than its rate has allowed by then: what it has used
/// beyond that, it has waited for.
fn gets_its_rate_at_most(source: Preemption, linker: &mut Linker<Instant>) {
    let rate = (ms(1), ms(5));
    let engine = linker.engine().clone();
    let module = Module::new(&engine, WORKER).unwrap();
    let mut store = store_with_slice(&engine, Instant::now(), short_slice(source));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let options = ThreadOptions::new().cpu_rate(rate.0, rate.1);
    *store.data_mut() = Instant::now();
    let id = options.spawn(&mut store, run, &[]).unwrap();
    run_until(&mut store, |store| stats_of(store, id).throttles >= 20);
    assert!(!has_finished(&store, id), "{:?}", id.take_exit(&mut store));
    assert!(stats_of(&store, id).throttled_time > Duration::ZERO);
}

fn check(mut caller: Caller<'_, Instant>) -> Result<()> {
    let id = caller.wasm_threads().current().unwrap();
    let used = id.info(&caller).unwrap().stats.cpu_time;
    let may = ms(1) + caller.data().elapsed() / 5;
    ensure!(used <= may, "{used:?} of {may:?}");
    Ok(())
}

fn stats_of(store: &Store<Instant>, id: ThreadId) -> ThreadStats {
    stats(store, id)
}

fn has_finished(store: &Store<Instant>, id: ThreadId) -> bool {
    finished(store, id)
}

fn host_calls_in_a_row_get_a_thread_no_more_time(source: Preemption) {
    let mut linker = Linker::new(&engine(source));
    linker.func_wrap("", "check", check).unwrap();
    gets_its_rate_at_most(source, &mut linker);
}

fn leaving_the_cpu_early_gets_a_thread_no_more_time(source: Preemption) {
    let mut linker = Linker::<Instant>::new(&engine(source));
    linker
        .func_wrap_concurrent("", "check", |caller, ()| {
            Box::pin(async move {
                caller.sleep(Duration::from_nanos(1)).await?;
                caller.with(|mut caller| {
                    let id = caller.wasm_threads().current().unwrap();
                    let used = id.info(&caller).unwrap().stats.cpu_time;
                    let may = ms(1) + caller.data().elapsed() / 5;
                    ensure!(used <= may, "{used:?} of {may:?}");
                    Ok(())
                })?
            })
        })
        .unwrap();
    gets_its_rate_at_most(source, &mut linker);
}

fn a_group_is_throttled_as_one(source: Preemption) {
    let (mut store, module) = guests(source);
    let limits = ThreadLimits::new().cpu_rate(ONCE.0, ONCE.1);
    store.wasm_threads().set_group_limits(7, limits).unwrap();
    let members = [(); 4].map(|()| spin(&mut store, &module, ThreadOptions::new().group(7)));
    let other = spin(&mut store, &module, ThreadOptions::new().group(8));
    run_until(&mut store, |store| {
        let is_throttled = |id: &ThreadId| state(store, *id) == ThreadState::Parked;
        members.iter().all(is_throttled)
    });
    let used = |store: &Store<()>| members.map(|id| stats(store, id).cpu_time);
    let before = used(&store);
    // None of them has had to wait for the others' waits.
    assert!(before.iter().sum::<Duration>() >= LEAST, "{before:?}");
    let dispatches = stats(&store, other).dispatches;
    run_until(&mut store, |store| {
        stats(store, other).dispatches > dispatches + 3
    });
    assert_eq!(used(&store), before);
}

fn a_thread_that_never_ran_is_throttled_with_its_group(source: Preemption) {
    let (mut store, module) = guests(source);
    let limits = ThreadLimits::new().cpu_rate(ONCE.0, ONCE.1);
    store.wasm_threads().set_group_limits(7, limits).unwrap();
    let first = spin(&mut store, &module, ThreadOptions::new().group(7));
    run_until_throttled(&mut store, first);
    let late = spin(&mut store, &module, ThreadOptions::new().group(7));
    let run = store.run_wasm_threads_for(ms(20)).unwrap();
    assert_eq!((run.dispatches, run.throttles), (0, 1));
    assert_eq!(state(&store, late), ThreadState::Parked);
    // In no group it has no rate.
    late.set_params(&mut store, ThreadParams::default())
        .unwrap();
    assert_eq!(state(&store, late), ThreadState::Ready);
    store.run_wasm_threads_for(ms(20)).unwrap();
    assert!(stats(&store, late).dispatches > 0);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let (mut store, module) = guests(Preemption::Epoch);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let spin = instance.get_func(&mut store, "spin").unwrap();
    let us = Duration::from_micros;
    for (quota, period, says) in [
        (
            ms(0),
            ms(100),
            "0ns per 100ms: the time must be at least 100µs",
        ),
        (
            us(99),
            ms(100),
            "99µs per 100ms: the time must be at least 100µs",
        ),
        (
            ms(1),
            ms(0),
            "1ms per 0ns: the period must be from 1ms to 3600s",
        ),
        (ms(1), us(999), "1ms per 999µs: the period must be"),
        (ms(1), Duration::MAX, "the period must be from 1ms to 3600s"),
        (ms(101), ms(100), "101ms per 100ms limits nothing"),
    ] {
        let limits = ThreadLimits::new().cpu_rate(quota, period);
        let options = ThreadOptions::new().limits(limits);
        let of_thread = options
            .spawn(&mut store, spin, &[])
            .unwrap_err()
            .to_string();
        assert!(
            of_thread.contains(says) && of_thread.contains("guest thread's"),
            "{of_thread}"
        );
        let of_group = store.wasm_threads().set_group_limits(1, limits);
        let of_group = of_group.unwrap_err().to_string();
        assert!(
            of_group.contains(says) && of_group.contains("group's"),
            "{of_group}"
        );
    }
    assert!(store.wasm_threads().is_empty());
    let error = Tenant::new(ms(0), ms(100)).unwrap_err().to_string();
    assert!(
        error.contains("tenant's CPU rate of 0ns per 100ms"),
        "{error}"
    );
}
