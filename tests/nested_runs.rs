//! A host function of a guest thread runs the guest threads of another store.

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// A guest whose host function runs another store, and which spins then.
const OUTER: &str = r#"
(module
  (import "" "run_inner" (func $run_inner))
  (global $turns (export "turns") (mut i64) (i64.const 0))
  (func (export "run")
    (call $run_inner)
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again)))
  (func (export "once") (call $run_inner)))
"#;

/// A store that runs the one in its data for some time.
struct Inner {
    store: Option<Box<Store<Inner>>>,
    time: Duration,
    /// It is run again until this.
    until: fn(&mut Store<Inner>) -> bool,
    runs: Vec<RunSummary>,
}

fn store(engine: &Engine, inner: Option<Store<Inner>>, time: Duration) -> Store<Inner> {
    let data = Inner {
        store: inner.map(Box::new),
        time,
        until: |_| true,
        runs: Vec::new(),
    };
    let mut store = Store::new(engine, data);
    let slices = sources().into_iter().map(short_slice);
    let set: Vec<_> = slices
        .filter(|slice| store.wasm_threads().set_slice(*slice).is_ok())
        .collect();
    assert!(!set.is_empty());
    store
}

fn spawn_outer(store: &mut Store<Inner>, export: &str) -> ThreadId {
    let module = Module::new(store.engine(), OUTER).unwrap();
    let mut linker = Linker::new(store.engine());
    linker
        .func_wrap("", "run_inner", |mut caller: Caller<'_, Inner>| {
            let data = caller.data_mut();
            let inner = data.store.as_mut().unwrap();
            loop {
                let run = inner.run_wasm_threads_for(data.time)?;
                data.runs.push(run);
                if (data.until)(inner) {
                    return Ok(());
                }
            }
        })
        .unwrap();
    spawn_linked(store, &linker, &module, export, &[])
}

/// Each source in each.
fn pairs() -> impl Iterator<Item = (Preemption, Preemption)> {
    let inside = |outer| sources().into_iter().map(move |inner| (outer, inner));
    sources().into_iter().flat_map(inside)
}

/// Two spinners, a sum and a trap.
struct Threads {
    spinners: [ThreadId; 2],
    sum: ThreadId,
    trap: ThreadId,
}

impl Threads {
    fn new(store: &mut Store<Inner>) -> Threads {
        let guests = Module::new(store.engine(), GUESTS).unwrap();
        Threads {
            spinners: [(); 2].map(|()| spawn_spinner(store, &guests).0),
            sum: spawn(store, &guests, "sum", &[Val::I64(100_000)]),
            trap: spawn(store, &guests, "sum_then_trap", &[Val::I64(1_000)]),
        }
    }

    /// Whether all got their turns.
    fn done(&self, store: &Store<Inner>) -> bool {
        let preempted = |id: &ThreadId| stats(store, *id).preemptions > 1;
        finished(store, self.sum)
            && finished(store, self.trap)
            && self.spinners.iter().all(preempted)
    }

    fn check(self, store: &mut Store<Inner>) {
        run_until(store, |store| self.done(store));
        assert_eq!(bits(&returned(store, self.sum)), [5_000_050_000]);
        trapped(store, self.trap);
    }
}

#[test]
fn a_run_inside_a_run_ends_slices_in_both() {
    for (outer, inner) in pairs() {
        let mut inside = store(&engine(inner), None, ms(0));
        let inner_threads = Threads::new(&mut inside);
        let mut outside = store(&engine(outer), Some(inside), ms(20));
        outside.data_mut().until = |inside| {
            let took_turns = |thread: &ThreadInfo| thread.stats.preemptions > 1;
            let (finished, others): (Vec<_>, Vec<_>) = inside
                .wasm_threads()
                .iter()
                .partition(|thread| thread.state == ThreadState::Finished);
            finished.len() == 2 && others.iter().all(took_turns)
        };
        let id = spawn_outer(&mut outside, "run");
        let outer_threads = Threads::new(&mut outside);

        // The one that ran the other store is preempted afterwards.
        run_until(&mut outside, |store| stats(store, id).preemptions > 1);
        outer_threads.check(&mut outside);
        let runs = &outside.data().runs;
        assert!(runs.iter().all(|run| run.end == RunEnd::TimeUp));
        assert_eq!(runs.iter().map(|run| run.finished).sum::<u64>(), 2);
        let inside = outside.data_mut().store.as_mut().unwrap();
        assert!(inner_threads.done(inside));
        inner_threads.check(inside);
    }
}

#[test]
fn stores_of_one_engine_run_inside_each_other() {
    for preemption in sources() {
        let engine = engine(preemption);
        let mut inmost = store(&engine, None, ms(0));
        let inmost_threads = Threads::new(&mut inmost);
        let mut middle = store(&engine, Some(inmost), ms(20));
        spawn_outer(&mut middle, "run");
        let middle_threads = Threads::new(&mut middle);
        let mut outer = store(&engine, Some(middle), ms(50));
        spawn_outer(&mut outer, "run");
        let outer_threads = Threads::new(&mut outer);

        outer_threads.check(&mut outer);
        let middle = outer.data_mut().store.as_mut().unwrap();
        middle_threads.check(middle);
        let inmost = middle.data_mut().store.as_mut().unwrap();
        inmost_threads.check(inmost);
    }
}

#[test]
fn threads_that_were_suspended_inside_a_run_go_on_outside_and_back() {
    for (outer, inner) in pairs() {
        let mut inside = store(&engine(inner), None, ms(0));
        let guests = Module::new(inside.engine(), GUESTS).unwrap();
        let (spinner, _) = spawn_spinner(&mut inside, &guests);
        let fib = spawn(&mut inside, &guests, "fib", &[Val::I32(32)]);
        // First in the open, ...
        run_until(&mut inside, |store| stats(store, spinner).preemptions > 0);
        let mut dispatches = vec![stats(&inside, spinner).dispatches];
        let mut outside = store(&engine(outer), Some(inside), ms(5));
        // ... then inside, ...
        spawn_outer(&mut outside, "once");
        spawn_outer(&mut outside, "once");
        assert_eq!(run_all(&mut outside).finished, 2);
        let mut inside = outside.data_mut().store.take().unwrap();
        drop(outside);
        // ... and in the open to the end.
        dispatches.push(stats(&inside, spinner).dispatches);
        while fib.info(&*inside).unwrap().state != ThreadState::Finished {
            inside.run_wasm_threads_for(ms(20)).unwrap();
        }
        dispatches.push(stats(&inside, spinner).dispatches);
        // It may have finished inside.
        assert!(dispatches.is_sorted(), "{dispatches:?}");
        assert!(dispatches[0] < dispatches[1], "{dispatches:?}");
        assert_eq!(bits(&returned(&mut inside, fib)), [2_178_309]);
    }
}

#[test]
fn a_store_that_is_run_already_cannot_be_run_from_inside() {
    for preemption in sources() {
        let engine = engine(preemption);
        let mut store = Store::new(&engine, ());
        let host = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| -> Result<()> {
            let mut store = caller.as_context_mut();
            let error = store.run_wasm_threads_for(ms(1)).unwrap_err();
            assert!(error.to_string().contains("run"), "{error}");
            let error = store.shutdown_wasm_threads().unwrap_err();
            assert!(error.to_string().contains("shut"), "{error}");
            Ok(())
        });
        let id = store.spawn_wasm_thread(host, &[]).unwrap();
        run_all(&mut store);
        returned(&mut store, id);
    }
}

#[test]
fn a_host_function_of_a_plain_call_runs_the_threads_of_its_own_store() {
    for preemption in sources() {
        let (mut store, module) = guests(preemption);
        let sum = spawn(&mut store, &module, "sum", &[Val::I64(1_000_000)]);
        let (spinner, _) = spawn_spinner(&mut store, &module);
        let run = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| -> Result<i64> {
            let mut store = caller.as_context_mut();
            let mut finished = 0;
            while finished == 0 {
                finished += store.run_wasm_threads_for(ms(20))?.finished;
            }
            assert_eq!(finished, 1);
            store.shutdown_wasm_threads()?;
            Ok(7)
        });
        let module = Module::new(
            store.engine(),
            r#"(module
                (import "" "run" (func $run (result i64)))
                (func (export "call") (param i64) (result i64) (local $i i32)
                  (local.set $i (i32.const 100000))
                  (local.set 0 (i64.mul (call $run) (local.get 0)))
                  (loop $again
                    (local.set 0 (i64.add (local.get 0) (i64.const 1)))
                    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                  (local.get 0)))"#,
        )
        .unwrap();
        let plain = Instance::new(&mut store, &module, &[run.into()]).unwrap();
        let plain = plain
            .get_typed_func::<i64, i64>(&mut store, "call")
            .unwrap();
        assert_eq!(plain.call(&mut store, 6).unwrap(), 100_042);
        assert_eq!(bits(&returned(&mut store, sum)), [500_000_500_000]);
        assert_killed(&mut store, spinner);
    }
}
