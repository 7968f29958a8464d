//! A scheduler of the embedder's: it is told of everything, its picks are followed,
//! and one that makes no sense loses no thread.

use crate::support::*;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use wasmtime::preempt::*;
use wasmtime::*;

/// Runs threads in the order of a queue, writes down what it is told, and answers with
/// `answers` first.
#[derive(Default)]
struct Scripted {
    log: Arc<Mutex<Vec<String>>>,
    ready: VecDeque<ThreadId>,
    answers: VecDeque<Option<Pick>>,
    slice: Option<u64>,
    /// Panics when it is told this.
    panics: Option<&'static str>,
    clock: u64,
}

impl Scripted {
    fn told(&mut self, now: u64, what: &'static str, thread: ThreadId) {
        assert!(now >= self.clock, "the clock goes back: {now}");
        self.clock = now;
        self.log.lock().unwrap().push(format!("{what} {thread}"));
        assert_ne!(self.panics, Some(what));
    }
}

impl ThreadScheduler for Scripted {
    fn spawned(&mut self, now: u64, thread: ThreadId, _: &ThreadParams) {
        self.ready.push_back(thread);
        self.told(now, "spawned", thread);
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        assert!(used > 0);
        self.ready.push_back(thread);
        self.told(now, "preempted", thread);
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, _used: u64) {
        self.ready.push_back(thread);
        self.told(now, "yielded", thread);
    }

    fn parked(&mut self, now: u64, thread: ThreadId, _used: u64) {
        self.ready.retain(|ready| *ready != thread);
        self.told(now, "parked", thread);
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        self.ready.push_back(thread);
        self.told(now, "woken", thread);
    }

    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        assert_eq!(params.weight, 7);
        self.told(now, "changed", thread);
    }

    fn finished(&mut self, now: u64, thread: ThreadId, _used: u64) {
        self.ready.retain(|ready| *ready != thread);
        self.told(now, "finished", thread);
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        assert!(now >= self.clock, "the clock goes back: {now}");
        assert_ne!(self.panics, Some("next"));
        if let Some(answer) = self.answers.pop_front() {
            return answer;
        }
        let (thread, slice) = (self.ready.pop_front()?, self.slice);
        Some(Pick { thread, slice })
    }
}

/// A store with `threads` that need several slices, under `scheduler`.
fn store(preemption: Preemption, scheduler: Scripted) -> (Store<()>, Vec<ThreadId>) {
    let (mut store, module) = guests(preemption);
    store.wasm_threads().set_scheduler(scheduler).unwrap();
    let turns = Val::I64(some_turns(preemption).into());
    let ids = (0..3)
        .map(|_| spawn(&mut store, &module, "sum", &[turns]))
        .collect();
    (store, ids)
}

fn sum(preemption: Preemption) -> i64 {
    let turns = i64::from(some_turns(preemption));
    turns * (turns + 1) / 2
}

fn assert_all_return(preemption: Preemption, store: &mut Store<()>, ids: &[ThreadId]) {
    let run = store
        .run_wasm_threads_for(std::time::Duration::MAX)
        .unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    for id in ids {
        assert_eq!(returned(store, *id)[0].unwrap_i64(), sum(preemption));
    }
}

for_each_preemption!(
    picks_are_followed,
    a_scheduler_is_told_of_all_threads_when_it_is_set,
    no_pick_makes_a_run_fail_and_loses_nothing,
    a_wrong_pick_makes_a_run_fail_and_loses_nothing,
    a_panic_loses_nothing,
    a_scheduler_cannot_be_replaced_in_a_run,
);

#[test]
fn a_scheduler_is_told_of_everything_in_order() {
    let scheduler = Scripted::default();
    let log = scheduler.log.clone();
    let (mut store, ids) = store(Preemption::Fuel, scheduler);
    store.wasm_threads().set_slice(Slice::Fuel(5_000)).unwrap();
    let params = |weight| {
        let mut params = ThreadParams::default();
        params.weight = weight;
        params
    };
    ids[0].set_params(&mut store, params(7)).unwrap();
    let error = ids[0].set_params(&mut store, params(0)).unwrap_err();
    assert!(error.to_string().contains("weight of 0"), "{error}");
    ids[1].suspend(&mut store).unwrap();
    ids[1].suspend(&mut store).unwrap();
    ids[2].kill(&mut store).unwrap();
    ids[1].resume(&mut store).unwrap();
    assert_all_return(Preemption::Fuel, &mut store, &ids[..2]);
    let mut expected = vec!["spawned 1", "spawned 2", "spawned 3"];
    expected.extend(["changed 1", "parked 2", "finished 3", "woken 2"]);
    let turns = ["preempted 1", "preempted 2"];
    expected.extend(turns.repeat(2));
    expected.extend(["finished 1", "finished 2"]);
    assert_eq!(*log.lock().unwrap(), expected);
}

fn picks_are_followed(preemption: Preemption) {
    let (mut store, ids) = store(preemption, Scripted::default());
    let pick = |thread| {
        Some(Pick {
            thread,
            slice: None,
        })
    };
    let scheduler = store.wasm_threads().scheduler_mut::<Scripted>().unwrap();
    scheduler.answers.extend([pick(ids[2]), pick(ids[1])]);
    scheduler.ready = [ids[0]].into();
    store
        .run_wasm_threads_for(std::time::Duration::MAX)
        .unwrap();
    let log = store
        .wasm_threads()
        .scheduler_mut::<Scripted>()
        .unwrap()
        .log
        .clone();
    let told: Vec<String> = log.lock().unwrap()[3..6].to_vec();
    let who: Vec<&str> = told
        .iter()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(who, ["3", "2", "1"]);
    for id in ids {
        assert_eq!(returned(&mut store, id)[0].unwrap_i64(), sum(preemption));
    }
}

#[test]
fn slices_are_those_of_the_scheduler_in_the_unit_of_the_source() {
    let scheduler = Scripted {
        slice: Some(500),
        ..Scripted::default()
    };
    let (mut store, ids) = store(Preemption::Fuel, scheduler);
    store
        .wasm_threads()
        .set_slice(Slice::Fuel(1_000_000))
        .unwrap();
    assert_all_return(Preemption::Fuel, &mut store, &ids[..0]);
    let stats = stats(&store, ids[0]);
    let slices = stats.fuel_consumed / 500;
    assert!(
        stats.preemptions.abs_diff(slices) <= slices / 20 + 1,
        "{stats:?}"
    );
}

#[test]
fn a_slice_that_cannot_be_measured_is_the_nearest_that_can() {
    for slice in [0, 1, u64::MAX] {
        for preemption in [Preemption::Fuel, Preemption::Epoch, Preemption::Signal] {
            if preemption == Preemption::Signal && Preemption::for_this_host() != preemption {
                continue;
            }
            let scheduler = Scripted {
                slice: Some(slice),
                ..Scripted::default()
            };
            let engine = engine(preemption);
            let module = Module::new(&engine, GUESTS).unwrap();
            let mut store = Store::new(&engine, ());
            store.wasm_threads().set_scheduler(scheduler).unwrap();
            let id = spawn(&mut store, &module, "sum", &[Val::I64(1_000)]);
            spawn(&mut store, &module, "answer", &[]);
            store
                .run_wasm_threads_for(std::time::Duration::MAX)
                .unwrap();
            assert_eq!(returned(&mut store, id)[0].unwrap_i64(), 500_500);
        }
    }
}

fn a_scheduler_is_told_of_all_threads_when_it_is_set(preemption: Preemption) {
    let (mut store, ids) = store(preemption, Scripted::default());
    ids[1].suspend(&mut store).unwrap();
    store.run_wasm_threads_for(ms(1)).unwrap();
    let scheduler = Scripted::default();
    let log = scheduler.log.clone();
    store.wasm_threads().set_scheduler(scheduler).unwrap();
    let told = log.lock().unwrap().join(", ");
    let live: Vec<ThreadId> = store
        .wasm_threads()
        .iter()
        .filter(|thread| thread.state != ThreadState::Finished)
        .map(|thread| thread.id)
        .collect();
    for id in &live {
        assert!(told.contains(&format!("spawned {id}")), "{told}");
    }
    assert!(told.contains("parked 2"), "{told}");
    ids[1].resume(&mut store).unwrap();
    assert_all_return(preemption, &mut store, &ids);
}

/// Each of these schedulers is wrong once; another one is set, and all goes on.
fn assert_recovers(
    preemption: Preemption,
    wrong: impl FnOnce(&[ThreadId]) -> Option<Pick>,
    says: &str,
) {
    let (mut store, ids) = store(preemption, Scripted::default());
    let answer = wrong(&ids);
    let scheduler = store.wasm_threads().scheduler_mut::<Scripted>().unwrap();
    scheduler.answers.push_back(answer);
    let error = store.run_wasm_threads_for(ms(1_000)).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(store.wasm_threads().iter().count(), 3);
    store
        .wasm_threads()
        .set_scheduler(Scripted::default())
        .unwrap();
    assert_all_return(preemption, &mut store, &ids);
}

fn no_pick_makes_a_run_fail_and_loses_nothing(preemption: Preemption) {
    assert_recovers(
        preemption,
        |_| None,
        "has picked no guest thread, but 3 are ready",
    );
}

fn a_wrong_pick_makes_a_run_fail_and_loses_nothing(preemption: Preemption) {
    let pick = |thread| {
        Some(Pick {
            thread,
            slice: None,
        })
    };
    let nobody = ThreadId::from_u64(u64::MAX);
    assert_recovers(preemption, |_| pick(nobody), "is not in this store");
    assert_recovers(
        preemption,
        |_| pick(ThreadId::from_u64(0)),
        "is not in this store",
    );

    let (mut store, ids) = store(preemption, Scripted::default());
    ids[0].suspend(&mut store).unwrap();
    ids[1].kill(&mut store).unwrap();
    for (id, says) in [(ids[0], "is suspended"), (ids[1], "has finished")] {
        let scheduler = store.wasm_threads().scheduler_mut::<Scripted>().unwrap();
        scheduler.answers.push_back(pick(id));
        let error = store.run_wasm_threads_for(ms(1)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    ids[0].resume(&mut store).unwrap();
    assert_all_return(preemption, &mut store, &[ids[0], ids[2]]);
}

fn a_panic_loses_nothing(preemption: Preemption) {
    for what in ["next", "preempted", "finished"] {
        // On a busy machine a run may be over before the timer thread gets the CPU.
        let panicked = (0..50).find_map(|_| {
            let scheduler = Scripted {
                panics: Some(what),
                ..Scripted::default()
            };
            let (mut store, ids) = store(preemption, scheduler);
            let run = || store.run_wasm_threads_for(std::time::Duration::MAX);
            let panicked = catch_unwind(AssertUnwindSafe(run)).is_err();
            panicked.then_some((store, ids))
        });
        let (mut store, ids) = panicked.expect(what);
        store
            .wasm_threads()
            .set_scheduler(Scripted::default())
            .unwrap();
        assert_all_return(preemption, &mut store, &ids);
    }
    let scheduler = Scripted {
        panics: Some("spawned"),
        ..Scripted::default()
    };
    let (mut store, module) = guests(preemption);
    store.wasm_threads().set_scheduler(scheduler).unwrap();
    let spawning = || spawn(&mut store, &module, "answer", &[]);
    assert!(catch_unwind(AssertUnwindSafe(spawning)).is_err());
    store
        .wasm_threads()
        .set_scheduler(Scripted::default())
        .unwrap();
    store.run_wasm_threads_for(ms(1_000)).unwrap();
    let id = ThreadId::from_u64(1);
    assert_eq!(returned(&mut store, id)[0].unwrap_i32(), 42);
}

fn a_scheduler_cannot_be_replaced_in_a_run(preemption: Preemption) {
    let engine = engine(preemption);
    let mut store = Store::new(&engine, ());
    let replace = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
        let mut store = caller.as_context_mut();
        let error = store
            .wasm_threads()
            .set_scheduler(Scripted::default())
            .unwrap_err();
        assert!(error.to_string().contains("between two runs"), "{error}");
        assert!(store.wasm_threads().scheduler_mut::<Scripted>().is_none());
    });
    let id = store.spawn_wasm_thread(replace, &[]).unwrap();
    store.run_wasm_threads_for(ms(1_000)).unwrap();
    assert!(returned(&mut store, id).is_empty());
}

#[test]
fn only_a_scheduler_of_the_right_type_is_handed_out() {
    struct Other;
    impl ThreadScheduler for Other {
        fn spawned(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
        fn preempted(&mut self, _: u64, _: ThreadId, _: u64) {}
        fn yielded(&mut self, _: u64, _: ThreadId, _: u64) {}
        fn parked(&mut self, _: u64, _: ThreadId, _: u64) {}
        fn woken(&mut self, _: u64, _: ThreadId) {}
        fn changed(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
        fn finished(&mut self, _: u64, _: ThreadId, _: u64) {}
        fn next(&mut self, _: u64) -> Option<Pick> {
            None
        }
    }
    let (mut store, _) = guests(Preemption::Fuel);
    assert!(store.wasm_threads().scheduler_mut::<Other>().is_none());
    store.wasm_threads().set_scheduler(Other).unwrap();
    assert!(store.wasm_threads().scheduler_mut::<Scripted>().is_none());
    assert!(store.wasm_threads().scheduler_mut::<Other>().is_some());
    // Without threads there is nothing to pick.
    assert_eq!(
        store.run_wasm_threads_for(HANG).unwrap().end,
        RunEnd::AllFinished
    );
}

/// Asks for the death of each thread that it picks.
struct Killer {
    handles: Arc<Mutex<Vec<RemoteThread>>>,
    ready: Scripted,
}

impl ThreadScheduler for Killer {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.ready.spawned(now, thread, params);
    }
    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.ready.preempted(now, thread, used.max(1));
    }
    fn yielded(&mut self, _: u64, _: ThreadId, _: u64) {}
    fn parked(&mut self, _: u64, _: ThreadId, _: u64) {}
    fn woken(&mut self, _: u64, _: ThreadId) {}
    fn changed(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
    fn finished(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.ready.finished(now, thread, used);
    }
    fn next(&mut self, now: u64) -> Option<Pick> {
        let pick = self.ready.next(now)?;
        let handles = self.handles.lock().unwrap();
        let handle = handles.iter().find(|handle| handle.id() == pick.thread);
        handle.unwrap().kill();
        Some(pick)
    }
}

#[test]
fn a_kill_by_the_scheduler_itself_is_not_lost() {
    for preemption in sources() {
        let (mut store, module) = guests(preemption);
        let (id, _) = spawn_spinner(&mut store, &module);
        let handle = id.remote(&mut store).unwrap();
        store
            .wasm_threads()
            .set_scheduler(Killer {
                handles: Arc::new(Mutex::new(vec![handle])),
                ready: Scripted::default(),
            })
            .unwrap();
        let run = store
            .run_wasm_threads_for(std::time::Duration::from_secs(60))
            .unwrap();
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 1));
        assert_killed(&mut store, id);
    }
}

#[test]
fn a_scheduler_may_panic_while_a_host_function_does() {
    for preemption in sources() {
        let scheduler = Scripted {
            panics: Some("finished"),
            ..Scripted::default()
        };
        let engine = engine(preemption);
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_scheduler(scheduler).unwrap();
        let host = Func::wrap(&mut store, || -> () { panic!("of the host function") });
        let id = store.spawn_wasm_thread(host, &[]).unwrap();
        // A thread without Wasm catches its panic; the scheduler's comes out of the run.
        let run = || store.run_wasm_threads_for(ms(1_000));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(finished(&store, id));

        let wat = r#"(module (import "" "" (func $host)) (func (export "run") (call $host)))"#;
        let module = Module::new(&engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        let id = store.spawn_wasm_thread(run, &[]).unwrap();
        let run = || store.run_wasm_threads_for(ms(1_000));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(finished(&store, id));
    }
}
