//! The calls as guest threads side by side.

use super::host;
use super::outcome::{Call, Outcome};
use super::plan::{Plan, Step};
use crate::modules::{bits, limited_store, state};
use preempt_trace::check::{Checker, Order};
use preempt_trace::text::Text;
use std::time::Duration;
use wasmtime::preempt::{OverLimit, ThreadLimits};
use wasmtime::*;

/// Longer than anything here takes.
const HANG: Duration = Duration::from_secs(120);

/// Room for the events of a run. Older ones are lost.
const EVENTS: usize = 1 << 14;

/// A thread, and what is to become of it.
struct Thread<'a> {
    id: ThreadId,
    instance: Instance,
    call: &'a Call,
    limit: Option<u64>,
    killed: bool,
}

/// Returns what happened, in order.
pub fn run(plan: &Plan, module: &Module, calls: &[Call]) -> String {
    let mut store = limited_store(module.engine());
    if plan.counts_fuel {
        store.set_fuel(u64::MAX).expect("the engine counts fuel");
    }
    let mut settings = store.wasm_threads();
    settings.set_slice(plan.slice).expect("the slice is valid");
    settings.set_trace(EVENTS).expect("there is room");
    plan.set_policy(&mut store);

    let mut threads = spawn(plan, &mut store, module, calls);
    for &(micros, step) in &plan.steps {
        run_for(&mut store, Plan::step_time(micros));
        apply(&mut store, &mut threads, step);
    }
    for thread in &threads {
        // An error means that it has finished.
        let _ = thread.id.resume(&mut store);
    }
    let end = run_for(&mut store, HANG);
    assert_eq!(end, RunEnd::AllFinished, "{plan:?}");

    let trace = store.wasm_threads().take_trace().expect("it was recorded");
    let mut checker = Checker::new().tolerance(u64::MAX).all_finished(true);
    // Suspended threads, when they are resumed, are behind others.
    if plan.is_round_robin() {
        checker = checker.order(Order::RoundRobin);
    }
    let report = checker.check(&trace);
    assert!(report.is_ok(), "{report}\n{plan:?}");

    for thread in threads {
        check(plan, &mut store, thread);
    }
    assert!(store.wasm_threads().is_empty());
    Text(trace).to_string()
}

fn run_for(store: &mut Store<StoreLimits>, time: Duration) -> RunEnd {
    let run = store.run_wasm_threads_for(time);
    run.expect("the source works on this host").end
}

fn spawn<'a>(
    plan: &Plan,
    store: &mut Store<StoreLimits>,
    module: &Module,
    calls: &'a [Call],
) -> Vec<Thread<'a>> {
    let mut order: Vec<&Call> = Vec::new();
    for _ in 0..plan.copies {
        order.extend(calls);
    }
    if plan.reverse {
        order.reverse();
    }
    let limits = plan.limits.iter().cycle();
    let mut threads = Vec::new();
    for (call, &limit) in order.into_iter().zip(limits) {
        // What it may allocate is less than the plain call might: others have some.
        let Some(imports) = host::imports(store, module) else {
            continue;
        };
        let made = crate::polling::block_on(Instance::new_async(&mut *store, module, &imports));
        let Ok(instance) = made else {
            continue;
        };
        let func = instance.get_func(&mut *store, &call.export);
        let func = func.expect("the module exports it");
        let mut options = ThreadOptions::new()
            .weight(1 + threads.len() as u32 % 3)
            .priority(threads.len() as i32 % 2);
        if let Some(units) = limit {
            options = options.limits(ThreadLimits::new().fuel(units));
        }
        let id = options.spawn(&mut *store, func, &call.arguments);
        threads.push(Thread {
            id: id.expect("the thread shares nothing, and its arguments are of its types"),
            instance,
            call,
            limit,
            killed: false,
        });
    }
    threads
}

fn apply(store: &mut Store<StoreLimits>, threads: &mut [Thread<'_>], step: Step) {
    let (Step::Kill(index) | Step::Suspend(index) | Step::Resume(index)) = step else {
        if let Step::Collect = step {
            store.gc(None).expect("a collection works between two runs");
        }
        return;
    };
    let Some(thread) = threads.get_mut(index) else {
        return;
    };
    let id = thread.id;
    let state = id.info(&*store).expect("its exit is not taken").state;
    let done = match step {
        Step::Suspend(_) => id.suspend(&mut *store),
        Step::Resume(_) => id.resume(&mut *store),
        _ => {
            thread.killed = true;
            id.kill(&mut *store)
        }
    };
    let finished = state == preempt::ThreadState::Finished;
    assert_eq!(done.is_err(), finished, "{step:?} in state {state}");
}

/// The thread ended as it has to.
fn check(plan: &Plan, store: &mut Store<StoreLimits>, thread: Thread<'_>) {
    let expected = &thread.call.outcome;
    let used = thread.id.info(&*store).expect("its exit is not taken");
    let used = used.stats.fuel_consumed;
    let exit = thread.id.take_exit(&mut *store).expect("it has finished");
    let result = match exit {
        Exit::Returned(values) => Ok(bits(&values)),
        Exit::Trapped(error) => Err(error),
        Exit::Killed => {
            assert!(thread.killed, "nobody killed it: {plan:?}");
            return;
        }
        Exit::OverLimit(OverLimit::Fuel { limit, used, group }) => {
            assert_eq!((Some(limit), group), (thread.limit, false));
            assert!(used >= limit, "{used} of {limit}");
            if let (Some(needed), true) = (expected.fuel, expected.of_the_module) {
                assert!(needed >= limit, "{needed} are within {limit}: {plan:?}");
            }
            return;
        }
        exit => panic!("{exit:?}: {plan:?}"),
    };
    let state = state(store, thread.instance);
    let found = Outcome::new(result, plan.counts_fuel.then_some(used), state);
    if !found.of_the_module || !expected.of_the_module {
        return;
    }
    let expected = Outcome {
        fuel: expected.fuel.filter(|_| plan.counts_fuel),
        ..expected.clone()
    };
    assert_eq!(found, expected, "{}: {plan:?}", thread.call.export);
    if let (Some(limit), Some(used)) = (thread.limit, found.fuel) {
        assert!(used <= limit, "{used} used of {limit}: {plan:?}");
    }
}
