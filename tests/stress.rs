//! Random sequences of all that can be done to several stores, on several OS
//! threads: every thread ends as it should, and nothing is left over.

use crate::support::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::*;

/// One thing that is done to one of the stores.
#[derive(Clone, Debug)]
enum Op {
    Spawn {
        work: Work,
        n: u16,
        own_slice: Option<u16>,
        detached: bool,
    },
    Run {
        micros: u16,
        elsewhere: bool,
    },
    SetSlice {
        slice: u16,
    },
    SetThreadSlice {
        thread: prop::sample::Index,
        slice: u16,
    },
    TakeExits,
    PlainCall {
        n: u16,
    },
    Collect,
    SetFuel,
    IncrementEpoch,
    Shutdown,
    Replace,
}

/// What a thread does.
#[derive(Clone, Copy, Debug)]
enum Work {
    Sum,
    SumThenTrap,
    Overflow,
    Spin,
    Nested,
    Awaits,
}

fn op() -> impl Strategy<Value = Op> {
    let work = prop_oneof![
        4 => Just(Work::Sum),
        1 => Just(Work::SumThenTrap),
        1 => Just(Work::Overflow),
        1 => Just(Work::Spin),
        1 => Just(Work::Nested),
        1 => Just(Work::Awaits),
    ];
    let spawn = (
        work,
        any::<u16>(),
        any::<Option<u16>>(),
        prop::bool::weighted(0.2),
    );
    prop_oneof![
        10 => spawn.prop_map(|(work, n, own_slice, detached)| {
            Op::Spawn { work, n, own_slice, detached }
        }),
        8 => (0..5_000_u16, any::<bool>())
            .prop_map(|(micros, elsewhere)| Op::Run { micros, elsewhere }),
        2 => any::<u16>().prop_map(|slice| Op::SetSlice { slice }),
        2 => (any::<prop::sample::Index>(), any::<u16>())
            .prop_map(|(thread, slice)| Op::SetThreadSlice { thread, slice }),
        2 => Just(Op::TakeExits),
        2 => any::<u16>().prop_map(|n| Op::PlainCall { n }),
        1 => Just(Op::Collect),
        1 => Just(Op::SetFuel),
        1 => Just(Op::IncrementEpoch),
        1 => Just(Op::Shutdown),
        1 => Just(Op::Replace),
    ]
}

/// Does what a `u16` says, most often something short.
fn slice(preemption: Preemption, n: u16) -> Slice {
    match preemption {
        Preemption::Fuel => Slice::Fuel(1 + u64::from(n % 500)),
        Preemption::Signal => Slice::Time(Duration::from_nanos(50_000 + u64::from(n))),
        _ => Slice::Time(Duration::from_nanos(1 + u64::from(n))),
    }
}

const GUESTS: &str = r#"
(module
  (import "" "nested" (func $nested (param i64) (result i64)))
  (import "" "awaits" (func $awaits (param i64) (result i64)))
  ;; 1 + 2 + ... + n, in objects that nobody else refers to.
  (type $box (struct (field i64)))
  (func $sum (export "sum") (param $n i64) (result i64)
    (local $sum (ref $box))
    (local.set $sum (struct.new $box (i64.const 0)))
    (loop $again
      (if (i64.eqz (local.get $n))
        (then (return (struct.get $box 0 (local.get $sum)))))
      (local.set $sum (struct.new $box
        (i64.add (struct.get $box 0 (local.get $sum)) (local.get $n))))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br $again))
    unreachable)
  (func (export "trap") (param i64) (result i64)
    (drop (call $sum (local.get 0))) unreachable)
  (func $overflow (export "overflow") (param i64) (result i64)
    (i64.add (i64.const 1) (call $overflow (local.get 0))))
  (func (export "spin") (param i64) (result i64) (loop br 0) unreachable)
  (func (export "nested") (param i64) (result i64)
    (i64.add (call $nested (local.get 0)) (call $sum (local.get 0))))
  (func (export "awaits") (param i64) (result i64)
    (i64.add (call $awaits (local.get 0)) (call $sum (local.get 0)))))
"#;

/// A store, and what its threads are to end with.
struct Model {
    preemption: Preemption,
    store: Option<Store<()>>,
    instance: Instance,
    expected: HashMap<ThreadId, Work>,
    sums: HashMap<ThreadId, i64>,
    preemptions: u64,
}

impl Model {
    fn new(engine: &Engine, preemption: Preemption) -> Model {
        let module = Module::new(engine, GUESTS).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1 << 40);
        store
            .wasm_threads()
            .set_slice(slice(preemption, 50))
            .unwrap();
        let mut linker = Linker::new(engine);
        linker
            .func_wrap_async("", "nested", |mut caller: Caller<'_, ()>, (n,): (i64,)| {
                Box::new(async move {
                    let sum = caller.get_export("sum").unwrap().into_func().unwrap();
                    let sum = sum.typed::<i64, i64>(&caller)?;
                    sum.call_async(&mut caller, n).await
                })
            })
            .unwrap();
        linker
            .func_wrap_async("", "awaits", |_: Caller<'_, ()>, (n,): (i64,)| {
                Box::new(async move {
                    let mut polled = false;
                    std::future::poll_fn(move |cx| {
                        if std::mem::replace(&mut polled, true) {
                            return std::task::Poll::Ready(());
                        }
                        let waker = cx.waker().clone();
                        thread::spawn(move || waker.wake());
                        std::task::Poll::Pending
                    })
                    .await;
                    n
                })
            })
            .unwrap();
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        Model {
            preemption,
            store: Some(store),
            instance,
            expected: HashMap::new(),
            sums: HashMap::new(),
            preemptions: 0,
        }
    }

    fn store(&mut self) -> &mut Store<()> {
        self.store.as_mut().unwrap()
    }

    fn apply(&mut self, op: Op) {
        let preemption = self.preemption;
        match op {
            Op::Spawn {
                work,
                n,
                own_slice,
                detached,
            } => {
                self.spawn(work, n, own_slice, detached);
            }
            Op::Run { micros, elsewhere } => {
                let time = Duration::from_micros(micros.into());
                let mut store = self.store.take().unwrap();
                let run = move || {
                    let run = store.run_wasm_threads_for(time).unwrap();
                    (store, run)
                };
                let (store, run) = match elsewhere {
                    true => thread::spawn(run).join().unwrap(),
                    false => run(),
                };
                self.store = Some(store);
                self.preemptions += run.preemptions;
            }
            Op::SetSlice { slice: n } => {
                self.store()
                    .wasm_threads()
                    .set_slice(slice(preemption, n))
                    .unwrap();
            }
            Op::SetThreadSlice { thread, slice: n } => {
                let ids: Vec<_> = self.expected.keys().copied().collect();
                if !ids.is_empty() {
                    // Not of one that has finished.
                    let id = ids[thread.index(ids.len())];
                    let _ = id.set_slice(self.store(), slice(preemption, n));
                }
            }
            Op::TakeExits => self.take_exits(false),
            Op::PlainCall { n } => {
                let n = i64::from(n % 500);
                let instance = self.instance;
                let store = self.store();
                let sum = instance
                    .get_typed_func::<i64, i64>(&mut *store, "sum")
                    .unwrap();
                let sum = block_on(sum.call_async(store, n)).unwrap();
                assert_eq!(sum, n * (n + 1) / 2);
            }
            Op::Collect => block_on(self.store().gc_async(None)).unwrap(),
            Op::SetFuel => drop(self.store().set_fuel(u64::MAX)),
            Op::IncrementEpoch => self.store().engine().increment_epoch(),
            Op::Shutdown => {
                self.store().shutdown_wasm_threads();
                self.take_exits(true);
                assert!(self.expected.is_empty());
                assert_eq!(self.store().wasm_threads().iter().count(), 0);
            }
            Op::Replace => {
                let engine = self.store().engine().clone();
                let preemptions = self.preemptions;
                *self = Model::new(&engine, preemption);
                self.preemptions = preemptions;
            }
        }
    }

    fn spawn(&mut self, work: Work, n: u16, own_slice: Option<u16>, detached: bool) {
        if self.expected.len() > 50 {
            return;
        }
        let n = i64::from(n % 3_000);
        let (export, sum) = match work {
            Work::Sum => ("sum", n * (n + 1) / 2),
            Work::SumThenTrap => ("trap", 0),
            Work::Overflow => ("overflow", 0),
            Work::Spin => ("spin", 0),
            Work::Nested => ("nested", n * (n + 1)),
            Work::Awaits => ("awaits", n + n * (n + 1) / 2),
        };
        let mut options = ThreadOptions::new().detached(detached).name(export);
        if let Some(own_slice) = own_slice {
            options = options.slice(slice(self.preemption, own_slice));
        }
        let instance = self.instance;
        let store = self.store();
        let func = instance.get_func(&mut *store, export).unwrap();
        let id = options.spawn(&mut *store, func, &[Val::I64(n)]).unwrap();
        if !detached {
            self.expected.insert(id, work);
            self.sums.insert(id, sum);
        }
    }

    /// Each thread that has ended has done so as it should.
    fn take_exits(&mut self, shut_down: bool) {
        let mut store = self.store.take().unwrap();
        let sums = &self.sums;
        self.expected.retain(|id, &mut work| {
            let exit = id.take_exit(&mut store);
            match (&exit, work) {
                (None, _) => return true,
                (Some(Exit::Killed), _) => assert!(shut_down),
                (Some(Exit::Returned(values)), Work::Sum | Work::Nested | Work::Awaits) => {
                    assert_eq!(values[0].unwrap_i64(), sums[id], "{id} {work:?}");
                }
                (Some(Exit::Trapped(error)), Work::SumThenTrap) => {
                    assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
                }
                (Some(Exit::Trapped(error)), Work::Overflow) => {
                    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
                }
                _ => panic!("{id} {work:?}: {exit:?}"),
            }
            false
        });
        self.store = Some(store);
    }
}

/// Polls a future that waits for nothing but its turn.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// Applies `ops` to two stores of one engine and one of another. Returns how
/// often their threads were preempted.
fn apply(preemption: Preemption, collector: Collector, ops: Vec<(usize, Op)>) -> u64 {
    let stacks = CountedStacks::default();
    let mut preemptions = 0;
    {
        let [one, other] = [(); 2].map(|()| {
            let mut config = config(preemption);
            config
                .wasm_gc(true)
                .wasm_function_references(true)
                .collector(collector);
            config.with_host_stack(std::sync::Arc::new(stacks.clone()));
            Engine::new(&config).unwrap()
        });
        let mut models = [&one, &one, &other].map(|engine| Model::new(engine, preemption));
        for (store, op) in ops {
            models[store % 3].apply(op);
        }
        for model in &mut models {
            model.apply(Op::TakeExits);
            model.apply(Op::Run {
                micros: 1_000,
                elsewhere: true,
            });
            preemptions += model.preemptions;
        }
    }
    assert_eq!(stacks.live(), 0);
    preemptions
}

/// Until there were so many preemptions, in sequences of at most `length`.
fn soak(preemption: Preemption, length: usize, preemptions: u64) {
    let config = ProptestConfig {
        cases: 4,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let ops = (
        any::<bool>(),
        prop::collection::vec((0..3_usize, op()), 1..length),
    );
    let start = Instant::now();
    let found = Cell::new(0);
    while found.get() < preemptions {
        let done = TestRunner::new(config.clone()).run(&ops, |(copying, ops)| {
            let collector = match copying {
                true => Collector::Copying,
                false => Collector::DeferredReferenceCounting,
            };
            found.set(found.get() + apply(preemption, collector, ops));
            Ok(())
        });
        if let Err(failure) = done {
            panic!("{failure}");
        }
        assert!(start.elapsed() < HANG, "{}", found.get());
    }
}

for_each_preemption!(stores_survive_whatever_is_done_to_them);

fn stores_survive_whatever_is_done_to_them(preemption: Preemption) {
    soak(
        preemption,
        100,
        match preemption {
            Preemption::Fuel => 5_000,
            _ => 100,
        },
    );
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn stores_survive_millions_of_preemptions() {
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| soak(Preemption::Fuel, 300, 1_000_000));
            for source in timed_sources() {
                scope.spawn(move || soak(source, 300, 20_000));
            }
        }
    });
}
