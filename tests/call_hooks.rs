//! Call hooks are told of each way into and out of Wasm, in pairs, whatever guest threads
//! do: preempted, parked, killed or trapped.

use crate::support::*;
use std::future;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// What a hook was told, of all threads together.
#[derive(Default)]
struct Calls {
    wasm: Pair,
    host: Pair,
    /// Which of the calls of the hook fails.
    fails_at: Option<u32>,
    calls: u32,
    /// Whom it kills, as soon as one of them leaves the CPU.
    kills: Vec<RemoteThread>,
}

#[derive(Default)]
struct Pair {
    calls: u32,
    returns: u32,
}

const GUEST: &str = r#"
(module
  (import "" "host" (func $host))
  (import "" "nap" (func $nap))
  (import "" "never" (func $never))
  (func (export "work") (param $n i32)
    (loop $again
      (call $host)
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "nap") (call $nap) (call $nap))
  (func (export "never") (call $never))
  (func (export "spin") (loop br 0))
  (func (export "trap") (call $host) unreachable))
"#;

fn store(source: Preemption) -> (Store<Calls>, InstancePre<Calls>) {
    let engine = engine(source);
    let mut store = store_with_slice(&engine, Calls::default(), short_slice(source));
    store.call_hook(|mut store, hook| {
        let calls = store.data_mut();
        match hook {
            CallHook::CallingWasm => calls.wasm.calls += 1,
            CallHook::ReturningFromWasm => calls.wasm.returns += 1,
            CallHook::CallingHost => calls.host.calls += 1,
            CallHook::ReturningFromHost => {
                calls.host.returns += 1;
                calls.kills.drain(..).for_each(|thread| thread.kill());
            }
        }
        calls.calls += 1;
        ensure!(calls.fails_at != Some(calls.calls), "the hook says no");
        Ok(())
    });
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "host", || {}).unwrap();
    linker
        .func_wrap_concurrent("", "nap", |accessor, ()| {
            Box::pin(async move { accessor.sleep(ms(2)).await })
        })
        .unwrap();
    linker
        .func_wrap_concurrent("", "never", |_, ()| {
            Box::pin(future::pending::<Result<()>>())
        })
        .unwrap();
    let module = Module::new(&engine, GUEST).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    (store, pre)
}

/// A new store has no deadline to reach, nor fuel to be given, at the first check.
#[test]
fn a_guest_that_calls_no_host_function_is_not_seen_to() {
    for source in sources() {
        for is_thread in [false, true] {
            let (mut store, _) = store(source);
            let module = Module::new(store.engine(), GUESTS).unwrap();
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let answer = instance.get_func(&mut store, "answer").unwrap();
            if is_thread {
                store.spawn_wasm_thread(answer, &[]).unwrap();
                run_all(&mut store);
            } else {
                answer.call(&mut store, &[], &mut [Val::I32(0)]).unwrap();
            }
            let Calls { wasm, host, .. } = store.data();
            assert_eq!((wasm.calls, wasm.returns), (1, 1), "{source}");
            assert_eq!((host.calls, host.returns), (0, 0), "{source}");
        }
    }
}

fn spawn_guest(
    store: &mut Store<Calls>,
    pre: &InstancePre<Calls>,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let instance = pre.instantiate(&mut *store).unwrap();
    spawn_in(store, instance, export, params)
}

fn assert_paired(store: &Store<Calls>, source: Preemption) {
    let Calls { wasm, host, .. } = store.data();
    assert_eq!(wasm.calls, wasm.returns, "{source}");
    assert_eq!(host.calls, host.returns, "{source}");
}

for_each_preemption!(
    they_come_in_pairs,
    one_that_fails_ends_its_thread_only,
    a_kill_in_the_middle_of_a_check_is_honoured,
);

fn they_come_in_pairs(source: Preemption) {
    let (mut store, pre) = store(source);
    for _ in 0..2 {
        spawn_guest(&mut store, &pre, "work", &[Val::I32(5_000)]);
        spawn_guest(&mut store, &pre, "nap", &[]);
        spawn_guest(&mut store, &pre, "trap", &[]);
        spawn_guest(&mut store, &pre, "never", &[]);
    }
    let spinner = spawn_guest(&mut store, &pre, "spin", &[]);
    while stats(&store, spinner).preemptions < 5 {
        store.run_wasm_threads_for(ms(20)).unwrap();
        // Between two runs nobody is in Wasm, nor in the host.
        assert_paired(&store, source);
    }
    let spinner = spinner.remote(&mut store).unwrap();
    spinner.kill();
    store.run_wasm_threads_for(ms(20)).unwrap();
    assert_paired(&store, source);
    assert!(store.shutdown_wasm_threads() >= 2);
    assert_paired(&store, source);
    assert!(store.data().wasm.calls > 5 && store.data().host.calls > 10);
}

fn one_that_fails_ends_its_thread_only(source: Preemption) {
    for fails_at in 1..60 {
        let (mut store, pre) = store(source);
        let threads = ["work", "nap", "work"].map(|export| {
            let params: &[Val] = match export {
                "work" => &[Val::I32(400)],
                _ => &[],
            };
            spawn_guest(&mut store, &pre, export, params)
        });
        store.data_mut().fails_at = Some(fails_at);
        run_all(&mut store);
        let failed = threads.iter().filter(|id| match id.take_exit(&mut store) {
            Some(Exit::Returned(_)) => false,
            Some(Exit::Trapped(error)) => {
                assert!(format!("{error:?}").contains("says no"), "{error:?}");
                true
            }
            exit => panic!("{exit:?}"),
        });
        assert_eq!(failed.count(), 1, "{source}, call {fails_at}");
    }
}

fn a_kill_in_the_middle_of_a_check_is_honoured(source: Preemption) {
    let (mut store, pre) = store(source);
    let threads = [(), ()].map(|()| spawn_guest(&mut store, &pre, "spin", &[]));
    store.data_mut().kills = threads
        .iter()
        .map(|id| id.remote(&mut store).unwrap())
        .collect();
    run_all(&mut store);
    for id in threads {
        assert_killed(&mut store, id);
    }
    assert_paired(&store, source);
}

/// The thread that has just been interrupted, at any instruction, counts as running in a hook.
#[test]
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
fn hooks_around_a_preemption_may_grow_the_table_in_use() {
    const JUNK: u64 = 0x5a5a_5a5a_5a5a_5a5a;
    let engine = engine(Preemption::Signal);
    let mut store = Store::new(&engine, (None::<Func>, Vec::new(), 0));
    store.call_hook(|mut store, hook| {
        if let (CallHook::ReturningFromHost, Some(grow)) = (hook, store.data().0) {
            grow.call(&mut store, &[], &mut [])?;
            let (_, junk, times) = store.data_mut();
            *times += 1;
            junk.extend([1, 2, 4, 8, 16, 32, 64].map(|len| vec![JUNK; len]));
        }
        Ok(())
    });
    let wat = r#"(module
        (table $t 1 funcref)
        (type $f (func (result i32)))
        (elem (table $t) (i32.const 0) func $f)
        (func $f (type $f) (i32.const 1))
        (func (export "grow")
            (if (i32.lt_u (table.size $t) (i32.const 64))
                (then (drop (table.grow $t (ref.func $f) (table.size $t))))))
        (func (export "run")
            (loop $again
                (br_if $again (call_indirect $t (type $f) (i32.const 0)))))
        (func (export "set")
            (loop $again (table.set $t (i32.const 0) (ref.func $f)) (br $again))))"#;
    let module = Module::new(&engine, wat).unwrap();
    for n in 0..200 {
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let export = ["run", "set"][n % 2];
        let id = spawn_in(&mut store, instance, export, &[]);
        store.data_mut().0 = instance.get_func(&mut store, "grow");
        store
            .run_wasm_threads_for(Duration::from_millis(2))
            .unwrap();
        store.data_mut().0 = None;
        assert!(
            id.kill(&mut store).is_ok(),
            "{:?}",
            id.take_exit(&mut store)
        );
    }
    let (_, junk, times) = store.data();
    assert!(*times > 100, "{times}");
    assert!(junk.iter().flatten().all(|word| *word == JUNK));
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
#[test]
fn hooks_around_an_epoch_deadline_cannot_move_a_memory() {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.epoch_delivery(EpochDelivery::Signal);
    let engine = Engine::new(&config).unwrap();
    let mut store = Store::new(&engine, (None::<Memory>, 0));
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    store.call_hook(|mut store, hook| {
        if let (CallHook::CallingHost | CallHook::ReturningFromHost, Some(memory)) =
            (hook, store.data().0)
        {
            assert!(memory.grow(&mut store, 1).is_err(), "{hook:?}");
            store.data_mut().1 += 1;
            ensure!(store.data().1 < 20, "that is enough");
        }
        Ok(())
    });
    let wat = r#"(module (memory (export "memory") 1) (func (export "spin") (loop br 0)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    store.data_mut().0 = instance.get_memory(&mut store, "memory");
    let spin = instance
        .get_typed_func::<(), ()>(&mut store, "spin")
        .unwrap();
    store.set_epoch_deadline(1);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| spin.call(&mut store, ()).unwrap_err());
        while !call.is_finished() {
            engine.increment_epoch();
            std::thread::sleep(Duration::from_micros(300));
        }
        assert!(format!("{:?}", call.join().unwrap()).contains("enough"));
    });
}
