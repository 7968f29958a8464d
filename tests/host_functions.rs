//! What host functions may do to the store while one of its threads calls them.

use crate::support::*;
use std::thread;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_thread_runs_a_host_function_without_its_siblings,
    a_host_function_knows_its_thread,
    a_host_function_is_a_thread_by_itself,
    a_host_function_spawns_a_thread,
    a_thread_that_was_alone_is_preempted_once_it_has_spawned_another,
    a_host_function_spawns_from_a_plain_call,
    a_host_function_takes_the_exit_of_another_thread,
    a_host_function_changes_memory_of_the_guest,
    threads_can_spawn_threads_in_turn,
);

/// A guest that calls `host` once, and then spins.
const CALLER: &str = r#"
(module
  (import "" "host" (func $host (param i32)))
  (memory (export "memory") 1)
  (func (export "once") (param i32) (call $host (local.get 0)))
  (func (export "then_spin") (param i32) (call $host (local.get 0)) (loop br 0))
  (func (export "read_back") (result i32)
    (call $host (i32.const 0)) (i32.load (i32.const 16))))
"#;

struct Host<T: 'static> {
    store: Store<T>,
    linker: Linker<T>,
    module: Module,
    guests: Module,
}

impl<T: 'static> Host<T> {
    fn new<R: WasmRet>(
        preemption: Preemption,
        data: T,
        host: impl Fn(Caller<'_, T>, i32) -> R + Send + Sync + 'static,
    ) -> Host<T> {
        let engine = engine(preemption);
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "host", host).unwrap();
        let store = store_with_slice(&engine, data, short_slice(preemption));
        Host {
            store,
            linker,
            module: Module::new(&engine, CALLER).unwrap(),
            guests: Module::new(&engine, GUESTS).unwrap(),
        }
    }

    /// To call from the host.
    fn once(&mut self) -> TypedFunc<i32, ()> {
        let instance = self.linker.instantiate(&mut self.store, &self.module);
        let once = instance.unwrap().get_typed_func(&mut self.store, "once");
        once.unwrap()
    }

    fn spawn(&mut self, export: &str, params: &[Val]) -> ThreadId {
        spawn_linked(&mut self.store, &self.linker, &self.module, export, params)
    }
}

fn a_thread_runs_a_host_function_without_its_siblings(preemption: Preemption) {
    let mut host = Host::new(
        preemption,
        None,
        |mut caller: Caller<'_, Option<Global>>, _| {
            let turns = caller.data().unwrap();
            let before = turns.get(&mut caller).unwrap_i64();
            // Longer than many slices of time.
            thread::sleep(ms(5));
            assert_eq!(turns.get(&mut caller).unwrap_i64(), before);
        },
    );
    let (_, turns) = spawn_spinner(&mut host.store, &host.guests);
    *host.store.data_mut() = Some(turns);
    let id = host.spawn("then_spin", &[Val::I32(0)]);
    // And afterwards they go on, both.
    run_until(&mut host.store, |store| stats(store, id).preemptions > 1);
    assert!(turns.get(&mut host.store).unwrap_i64() > 0);
}

fn a_host_function_knows_its_thread(preemption: Preemption) {
    let mut host = Host::new(
        preemption,
        Vec::new(),
        |mut caller: Caller<'_, Vec<_>>, n| {
            let id = caller.wasm_threads().current();
            if let Some(id) = id {
                let this = id.info(&caller).unwrap();
                assert_eq!(this.state, ThreadState::Running);
                assert!(this.stats.dispatches > 0);
                let running = caller
                    .wasm_threads()
                    .iter()
                    .filter(|thread| thread.state == ThreadState::Running);
                assert_eq!(running.count(), 1);
            }
            caller.data_mut().push((n, id));
        },
    );
    let a = host.spawn("once", &[Val::I32(1)]);
    let b = host.spawn("once", &[Val::I32(2)]);
    run_all(&mut host.store);
    let plain = host.once();
    plain.call(&mut host.store, 3).unwrap();
    assert_eq!(*host.store.data(), [(1, Some(a)), (2, Some(b)), (3, None)]);
}

fn a_host_function_is_a_thread_by_itself(preemption: Preemption) {
    let mut host = Host::new(preemption, 0, |_: Caller<'_, i32>, _| {});
    let func = Func::wrap(
        &mut host.store,
        |mut caller: Caller<'_, i32>, a: i32, b: i64| {
            *caller.data_mut() += 1;
            (b + 1, a + 1)
        },
    );
    let id = host
        .store
        .spawn_wasm_thread(func, &[Val::I32(5), Val::I64(7)])
        .unwrap();
    let fails = Func::wrap(&mut host.store, || -> Result<()> { Err(Error::msg("no")) });
    let fails = host.store.spawn_wasm_thread(fails, &[]).unwrap();
    let run = run_all(&mut host.store);
    assert_eq!((run.dispatches, run.finished), (2, 2));
    assert_eq!(bits(&returned(&mut host.store, id)), [8, 6]);
    assert_eq!(trapped(&mut host.store, fails).to_string(), "no");
    assert_eq!(*host.store.data(), 1);
}

type Spawned = (Option<Func>, Vec<ThreadId>);

fn spawns(preemption: Preemption) -> Host<Spawned> {
    let mut host = Host::new(preemption, Spawned::default(), |mut caller, n| {
        for _ in 0..n {
            let func = caller.data().0.unwrap();
            let id = caller.spawn_wasm_thread(func, &[]).unwrap();
            caller.data_mut().1.push(id);
        }
    });
    let instance = stateless(&mut host.store);
    host.store.data_mut().0 = instance.get_func(&mut host.store, "answer");
    host
}

fn a_host_function_spawns_a_thread(preemption: Preemption) {
    let mut host = spawns(preemption);
    let id = host.spawn("once", &[Val::I32(3)]);
    let run = run_all(&mut host.store);
    assert_eq!(run.finished, 4);
    returned(&mut host.store, id);
    for id in host.store.data().1.clone() {
        assert_eq!(bits(&returned(&mut host.store, id)), [42]);
    }
}

fn a_thread_that_was_alone_is_preempted_once_it_has_spawned_another(preemption: Preemption) {
    let mut host = spawns(preemption);
    let id = host.spawn("then_spin", &[Val::I32(1)]);
    // In one run: between two it would be easy.
    let (mut store, run) = must_end(move || {
        let run = host.store.run_wasm_threads_for(ms(300)).unwrap();
        (host.store, run)
    });
    assert_eq!((run.finished, run.end), (1, RunEnd::TimeUp));
    let spawned = store.data().1[0];
    assert_eq!(bits(&returned(&mut store, spawned)), [42]);
    assert!(stats(&store, id).preemptions >= 1);
}

fn a_host_function_spawns_from_a_plain_call(preemption: Preemption) {
    let mut host = spawns(preemption);
    let plain = host.once();
    plain.call(&mut host.store, 2).unwrap();
    assert_eq!(host.store.wasm_threads().iter().count(), 2);
    assert_eq!(run_all(&mut host.store).finished, 2);
}

fn a_host_function_takes_the_exit_of_another_thread(preemption: Preemption) {
    let mut host = Host::new(
        preemption,
        (None, 0),
        |mut caller: Caller<'_, (Option<ThreadId>, u128)>, _| {
            let id = caller.data().0.unwrap();
            match id.take_exit(&mut caller) {
                Some(Exit::Returned(values)) => caller.data_mut().1 = bits(&values)[0],
                other => panic!("{other:?}"),
            }
            // Its own is not to be had.
            let this = caller.wasm_threads().current().unwrap();
            assert!(this.take_exit(&mut caller).is_none());
        },
    );
    let answer = spawn(&mut host.store, &host.guests, "answer", &[]);
    host.store.data_mut().0 = Some(answer);
    let id = host.spawn("once", &[Val::I32(0)]);
    run_all(&mut host.store);
    assert_eq!(host.store.data().1, 42);
    assert!(answer.info(&host.store).is_none());
    returned(&mut host.store, id);
}

fn a_host_function_changes_memory_of_the_guest(preemption: Preemption) {
    let mut host = Host::new(preemption, (), |mut caller: Caller<'_, ()>, _| {
        let memory = caller.get_export("memory").unwrap().into_memory().unwrap();
        memory.grow(&mut caller, 3).unwrap();
        memory.write(&mut caller, 16, &[1, 2, 3, 4]).unwrap();
    });
    let ids = [(); 3].map(|()| host.spawn("read_back", &[]));
    run_all(&mut host.store);
    for id in ids {
        assert_eq!(bits(&returned(&mut host.store, id)), [0x0403_0201]);
    }
}

fn threads_can_spawn_threads_in_turn(preemption: Preemption) {
    // Each but the last spawns two: a tree of 2^10 - 1.
    let mut host = Host::new(
        preemption,
        (None, 0),
        |mut caller: Caller<'_, (Option<Func>, u32)>, n: i32| {
            caller.data_mut().1 += 1;
            for _ in 0..if n > 0 { 2 } else { 0 } {
                let func = caller.data().0.unwrap();
                let options = ThreadOptions::new().detached(true);
                options
                    .spawn(&mut caller, func, &[Val::I32(n - 1)])
                    .unwrap();
            }
        },
    );
    let instance = host
        .linker
        .instantiate(&mut host.store, &host.module)
        .unwrap();
    let once = instance.get_func(&mut host.store, "once");
    host.store.data_mut().0 = once;
    // It does not use its memory.
    host.store.wasm_threads().set_sharing_allowed(true).unwrap();
    host.spawn("once", &[Val::I32(9)]);
    assert_eq!(run_all(&mut host.store).finished, 1023);
    assert_eq!(host.store.data().1, 1023);
    assert_eq!(host.store.wasm_threads().iter().count(), 1);
}
