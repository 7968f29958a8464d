//! What only a suspended thread refers to is alive (rule I3).

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

const COLLECTORS: [Collector; 2] = [Collector::DeferredReferenceCounting, Collector::Copying];

/// Guests that hold the only references to their objects in locals, on the
/// operand stack and in the frames of their callers, across loops in which they
/// are preempted, and one that allocates and collects all the time.
const HOLDERS: &str = r#"
(module
  (import "" "gc" (func $gc))
  (type $list (struct (field i64) (field (ref null $list))))
  (type $numbers (array (mut i64)))
  (type $boxes (array (mut (ref null $list))))
  (type $function (func (result i64)))

  (func $spin (param $n i32)
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))

  (func $list (param $n i64) (result (ref null $list))
    (local $list (ref null $list))
    (loop $again
      (local.set $list (struct.new $list (local.get $n) (local.get $list)))
      (br_if $again (i32.wrap_i64 (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
    (local.get $list))

  (func $sum (param $list (ref null $list)) (result i64)
    (local $sum i64)
    (block $end
      (loop $again
        (br_if $end (ref.is_null (local.get $list)))
        (local.set $sum (i64.add (local.get $sum) (struct.get $list 0 (local.get $list))))
        (local.set $list (struct.get $list 1 (local.get $list)))
        (br $again)))
    (local.get $sum))

  (func (export "in_locals") (param $spin i32) (result i64)
    (local $a (ref null $list)) (local $b (ref null $list))
    (local.set $a (call $list (i64.const 100)))
    (call $spin (local.get $spin))
    (local.set $b (call $list (i64.const 10)))
    (call $spin (local.get $spin))
    (i64.add (call $sum (local.get $a)) (i64.mul (i64.const 1000000) (call $sum (local.get $b)))))

  (func (export "on_the_operand_stack") (param $spin i32) (result i64)
    (call $list (i64.const 100))
    (call $spin (local.get $spin))
    (call $sum))

  ;; Each frame of a recursion has a list of its own.
  (func $frames (param $n i64) (param $spin i32) (result i64)
    (local $list (ref null $list))
    (if (i64.eqz (local.get $n))
      (then (call $spin (local.get $spin)) (return (i64.const 0))))
    (local.set $list (call $list (local.get $n)))
    (i64.add
      (call $frames (i64.sub (local.get $n) (i64.const 1)) (local.get $spin))
      (call $sum (local.get $list))))
  (func (export "in_frames") (param $spin i32) (result i64)
    (call $frames (i64.const 20) (local.get $spin)))

  (func (export "in_arrays") (param $spin i32) (result i64)
    (local $numbers (ref $numbers)) (local $boxes (ref $boxes))
    (local.set $numbers (array.new $numbers (i64.const 7) (i32.const 1000)))
    (local.set $boxes (array.new $boxes (ref.null $list) (i32.const 10)))
    (array.set $boxes (local.get $boxes) (i32.const 3) (call $list (i64.const 50)))
    (call $spin (local.get $spin))
    (array.set $numbers (local.get $numbers) (i32.const 999) (i64.const 8))
    (call $spin (local.get $spin))
    (i64.add
      (call $sum (array.get $boxes (local.get $boxes) (i32.const 3)))
      (i64.add
        (array.get $numbers (local.get $numbers) (i32.const 0))
        (array.get $numbers (local.get $numbers) (i32.const 999)))))

  ;; Takes its list apart, a bit in each slice.
  (func (export "in_pieces") (param $spin i32) (result i64)
    (local $list (ref null $list)) (local $sum i64)
    (local.set $list (call $list (i64.const 200)))
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (struct.get $list 0 (local.get $list))))
      (local.set $list (struct.get $list 1 (local.get $list)))
      (call $spin (i32.add (i32.const 1) (i32.div_u (local.get $spin) (i32.const 200))))
      (br_if $again (i32.eqz (ref.is_null (local.get $list)))))
    (local.get $sum))

  (func (export "in_function_references") (param $spin i32) (result i64)
    (local $f (ref $function))
    (local.set $f (ref.func $answer))
    (call $spin (local.get $spin))
    (call_ref $function (local.get $f)))
  (elem declare func $answer)
  (func $answer (result i64) (i64.const 42))

  (func (export "collect")
    (loop $again
      (drop (call $list (i64.const 300)))
      (call $gc)
      (br $again)))

  (func (export "make") (param i64) (result (ref null $list)) (call $list (local.get 0)))
  (func (export "sum_of") (param $list (ref null $list)) (param $spin i32) (result i64)
    (call $spin (local.get $spin))
    (call $sum (local.get $list)))
  (func (export "give_back") (param $r externref) (param $spin i32) (result externref)
    (call $spin (local.get $spin))
    (local.get $r))
  (func (export "let_go") (param $r externref) (param $spin i32)
    (call $spin (local.get $spin))
    (local.set $r (ref.null extern))
    (call $spin (local.get $spin)))
)
"#;

/// The exports that hold on to something, and what they return.
const EXPECTED: [(&str, u128); 6] = [
    ("in_locals", 5_050 + 55 * 1_000_000),
    ("on_the_operand_stack", 5_050),
    ("in_frames", 1_540),
    ("in_arrays", 1_275 + 7 + 8),
    ("in_pieces", 20_100),
    ("in_function_references", 42),
];

/// How much a host function has collected.
type Collections = usize;

struct Holders {
    preemption: Preemption,
    store: Store<Collections>,
    instance: Instance,
}

impl Holders {
    fn new(preemption: Preemption, collector: Collector) -> Holders {
        let mut config = config(preemption);
        config
            .wasm_gc(true)
            .wasm_function_references(true)
            .collector(collector);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, HOLDERS).unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("", "gc", |mut caller: Caller<'_, Collections>| {
                *caller.data_mut() += 1;
                caller.gc(None)
            })
            .unwrap();
        let mut store = store_with_slice(&engine, 0, shortest_slice(preemption));
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Holders {
            preemption,
            store,
            instance,
        }
    }

    fn spawn(&mut self, export: &str, params: &[Val]) -> ThreadId {
        spawn_in(&mut self.store, self.instance, export, params)
    }

    fn spin(&self) -> Val {
        Val::I32(some_turns(self.preemption))
    }

    /// Runs until only the collecting thread is left.
    fn run_beside_collections(&mut self) {
        let id = self.spawn("collect", &[]);
        let before = *self.store.data();
        run_until(&mut self.store, |store| {
            let unfinished = |thread: &ThreadInfo| thread.state != ThreadState::Finished;
            let others = store.wasm_threads().iter().filter(unfinished).count() - 1;
            others == 0 && *store.data() > before + 3
        });
        assert_eq!(self.store.shutdown_wasm_threads(), 1);
        assert_killed(&mut self.store, id);
    }
}

for_each_preemption!(
    objects_live_while_their_thread_is_suspended,
    a_parameter_lives_until_its_thread_runs,
    a_result_lives_until_it_is_taken,
    host_data_lives_as_long_as_a_thread_holds_it,
    killed_threads_let_their_objects_go,
    a_typed_thread_takes_and_returns_references,
);

fn objects_live_while_their_thread_is_suspended(preemption: Preemption) {
    for collector in COLLECTORS {
        let mut holders = Holders::new(preemption, collector);
        let spin = holders.spin();
        until_preempted(50, || {
            let threads: Vec<_> = EXPECTED
                .iter()
                .chain(EXPECTED.iter().rev())
                .map(|(export, sum)| (export, holders.spawn(export, &[spin]), *sum))
                .collect();
            holders.run_beside_collections();
            let preemptions = holders
                .store
                .wasm_threads()
                .iter()
                .map(|t| t.stats.preemptions);
            let preemptions = preemptions.sum();
            for (export, id, sum) in threads {
                let found = bits(&returned(&mut holders.store, id));
                assert_eq!(found, [sum], "{export} under {collector:?}");
            }
            preemptions
        });
    }
}

fn a_parameter_lives_until_its_thread_runs(preemption: Preemption) {
    for collector in COLLECTORS {
        let mut holders = Holders::new(preemption, collector);
        let spin = holders.spin();
        let make = holders
            .instance
            .get_func(&mut holders.store, "make")
            .unwrap();
        let sum_of = holders
            .instance
            .get_func(&mut holders.store, "sum_of")
            .unwrap();
        let ids = {
            let mut scope = RootScope::new(&mut holders.store);
            [10, 20].map(|n| {
                let mut list = [Val::null_any_ref()];
                make.call(&mut scope, &[Val::I64(n)], &mut list).unwrap();
                let mut store = scope.as_context_mut();
                store.spawn_wasm_thread(sum_of, &[list[0], spin]).unwrap()
            })
        };
        // The scope in which they were rooted is gone.
        for _ in 0..3 {
            make.call(
                &mut holders.store,
                &[Val::I64(100)],
                &mut [Val::null_any_ref()],
            )
            .unwrap();
            holders.store.gc(None).unwrap();
        }
        holders.run_beside_collections();
        for (id, sum) in ids.into_iter().zip([55, 210]) {
            assert_eq!(bits(&returned(&mut holders.store, id)), [sum]);
        }
    }
}

fn a_result_lives_until_it_is_taken(preemption: Preemption) {
    for collector in COLLECTORS {
        let mut holders = Holders::new(preemption, collector);
        let id = holders.spawn("make", &[Val::I64(30)]);
        holders.run_beside_collections();
        holders.store.gc(None).unwrap();
        let mut scope = RootScope::new(&mut holders.store);
        let mut store = scope.as_context_mut();
        let Some(Exit::Returned(values)) = id.take_exit(&mut store) else {
            panic!("should have returned");
        };
        store.gc(None).unwrap();
        let list = values[0].unwrap_any_ref().unwrap();
        let list = list.unwrap_struct(&store).unwrap();
        assert_eq!(list.field(&mut store, 0).unwrap().unwrap_i64(), 1);
        let next = list.field(&mut store, 1).unwrap();
        let next = next
            .unwrap_any_ref()
            .unwrap()
            .unwrap_struct(&store)
            .unwrap();
        assert_eq!(next.field(&mut store, 0).unwrap().unwrap_i64(), 2);
    }
}

/// Spawns a thread with a reference to host data that nobody else has.
fn spawn_with_host_data(holders: &mut Holders, export: &str, count: &Counter) -> ThreadId {
    let spin = holders.spin();
    let func = holders
        .instance
        .get_func(&mut holders.store, export)
        .unwrap();
    let mut scope = RootScope::new(&mut holders.store);
    let data = ExternRef::new(&mut scope, count.counted()).unwrap();
    let params = [Val::ExternRef(Some(data)), spin];
    let mut store = scope.as_context_mut();
    store.spawn_wasm_thread(func, &params).unwrap()
}

fn host_data_lives_as_long_as_a_thread_holds_it(preemption: Preemption) {
    for collector in COLLECTORS {
        let data = Counter::default();
        let mut holders = Holders::new(preemption, collector);
        let kept = spawn_with_host_data(&mut holders, "give_back", &data);
        let dropped = spawn_with_host_data(&mut holders, "let_go", &data);
        holders.run_beside_collections();
        returned(&mut holders.store, dropped);
        {
            let mut scope = RootScope::new(&mut holders.store);
            let mut store = scope.as_context_mut();
            let Some(Exit::Returned(values)) = kept.take_exit(&mut store) else {
                panic!("should have returned");
            };
            let kept = values[0].unwrap_extern_ref().unwrap();
            let kept = kept.data(&store).unwrap().unwrap();
            assert!(kept.is::<Counted>());
        }
        holders.store.gc(None).unwrap();
        assert_eq!(data.live(), 0, "{collector:?}");
    }
}

fn killed_threads_let_their_objects_go(preemption: Preemption) {
    for collector in COLLECTORS {
        let data = Counter::default();
        let mut holders = Holders::new(preemption, collector);
        for _ in 0..2 {
            spawn_with_host_data(&mut holders, "give_back", &data);
        }
        // One of them has started.
        holders
            .store
            .run_wasm_threads_for(std::time::Duration::from_nanos(1))
            .unwrap();
        holders.store.gc(None).unwrap();
        assert_eq!(data.live(), 2);
        let killed = holders.store.shutdown_wasm_threads();
        assert!(killed > 0);
        let ids: Vec<_> = holders.store.wasm_threads().iter().map(|t| t.id).collect();
        for id in ids {
            let mut scope = RootScope::new(&mut holders.store);
            id.take_exit(scope.as_context_mut());
        }
        holders.store.gc(None).unwrap();
        assert_eq!(data.live(), 0, "{collector:?}");
    }
}

fn a_typed_thread_takes_and_returns_references(preemption: Preemption) {
    for collector in COLLECTORS {
        let mut holders = Holders::new(preemption, collector);
        let spin = some_turns(preemption);
        type Extern = Option<Rooted<ExternRef>>;
        let give_back = holders
            .instance
            .get_typed_func::<(Extern, i32), Extern>(&mut holders.store, "give_back")
            .unwrap();
        let ids = {
            let mut scope = RootScope::new(&mut holders.store);
            [None, Some("a"), Some("b")].map(|word| {
                let word = word.map(|word| ExternRef::new(&mut scope, word).unwrap());
                let mut store = scope.as_context_mut();
                ThreadOptions::new()
                    .spawn_typed(&mut store, &give_back, (word, spin))
                    .unwrap()
            })
        };
        holders.store.gc(None).unwrap();
        holders.run_beside_collections();
        for (id, word) in ids.into_iter().zip([None, Some("a"), Some("b")]) {
            match id.take_exit(&mut holders.store) {
                Some(TypedExit::Returned(found)) => {
                    let found = found.map(|found| found.data(&holders.store).unwrap().unwrap());
                    assert_eq!(found.and_then(|found| found.downcast_ref()), word.as_ref());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
