//! A slice that is over while the host is at work ends on the way back to the
//! guest thread's own code, and not before (I1).

use super::*;
use wasmtime::preempt::ThreadState;

/// `look` is told of the round, after the host function `work` and some turns in
/// the thread's own code.
const CALLER: &str = r#"
(module
  (import "" "work" (func $work))
  (import "" "look" (func $look))
  (func (export "run") (param $rounds i32) (param $turns i32) (local $n i32)
    (loop $again
      (call $work)
      (if (local.get $turns) (then
        (local.set $n (local.get $turns))
        (loop $turn
          (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
      (call $look)
      (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1))))))
  (func (export "busy") (loop $again (call $look) (br $again)))
  (func $nothing (export "nothing")))
"#;

/// What the host functions look at.
#[derive(Default)]
struct Data {
    sibling: Option<Global>,
    /// The sibling's turns when `work` was over.
    worked: Vec<i64>,
    /// And when `look` was called.
    looked: Vec<i64>,
    looks: u64,
    other: Option<Box<Store<()>>>,
    func: Option<Func>,
}

fn sibling_turns(caller: &mut Caller<'_, Data>) -> i64 {
    let sibling = caller.data().sibling.unwrap();
    sibling.get(caller).unwrap_i64()
}

/// A thread whose host function does `work`, and a sibling that counts its turns.
struct Host {
    store: Store<Data>,
    module: Module,
    linker: Linker<Data>,
}

impl Host {
    fn new(
        engine: &Engine,
        slice: Duration,
        work: impl Fn(&mut Caller<'_, Data>) -> Result<()> + Send + Sync + 'static,
    ) -> Host {
        let mut store = store_with_slice(engine, Data::default(), Slice::Time(slice));
        let guests = Module::new(engine, GUESTS).unwrap();
        store.data_mut().sibling = Some(spawn_spinner(&mut store, &guests).1);
        let mut linker = Linker::new(engine);
        linker
            .func_wrap("", "work", move |mut caller: Caller<'_, Data>| {
                let before = sibling_turns(&mut caller);
                work(&mut caller)?;
                let after = sibling_turns(&mut caller);
                // I1: nobody else has run.
                assert_eq!(before, after);
                caller.data_mut().worked.push(after);
                Ok(())
            })
            .unwrap();
        linker
            .func_wrap("", "look", |mut caller: Caller<'_, Data>| {
                caller.data_mut().looks += 1;
                if !caller.data().worked.is_empty() {
                    let turns = sibling_turns(&mut caller);
                    caller.data_mut().looked.push(turns);
                }
            })
            .unwrap();
        Host {
            store,
            module: Module::new(engine, CALLER).unwrap(),
            linker,
        }
    }

    fn spawn(&mut self, export: &str, params: &[Val]) -> ThreadId {
        spawn_linked(&mut self.store, &self.linker, &self.module, export, params)
    }

    /// `work` takes longer than a slice: the sibling has run between it and `look`.
    fn assert_sibling_runs_after_work(mut self, rounds: i32, turns: i32) {
        let id = self.spawn("run", &[Val::I32(rounds), Val::I32(turns)]);
        while id.info(&self.store).unwrap().state != ThreadState::Finished {
            self.store.run_wasm_threads_for(ms(1_000)).unwrap();
        }
        returned(&mut self.store, id);
        let Data { worked, looked, .. } = self.store.data();
        assert_eq!(
            (worked.len(), looked.len()),
            (rounds as usize, rounds as usize)
        );
        for (worked, looked) in worked.iter().zip(looked) {
            assert!(worked < looked, "{worked} {looked}");
        }
    }
}

/// More turns than a slice of 50 us has, and the switch to the sibling and back.
const A_WHILE: i32 = 2_000_000;

#[test]
fn a_signal_in_a_host_function_ends_the_slice_on_the_way_back() {
    let host = Host::new(&engine(), us(200), |_| {
        busy_for(ms(1));
        Ok(())
    });
    // At once: not one instruction of the guest later.
    host.assert_sibling_runs_after_work(30, 0);
}

#[test]
fn a_guest_that_lives_in_tiny_host_calls_is_preempted() {
    let mut host = Host::new(&engine(), ms(1), |_| Ok(()));
    let ids = [(); 2].map(|()| host.spawn("busy", &[]));
    assert_slices_end(&mut host.store, ms(1), &ids);
    assert!(
        host.store.data().looks > 1_000,
        "{}",
        host.store.data().looks
    );
}

/// Loops over one instruction which compiled code leaves to the host, or has
/// pointers in registers during.
const LIBCALLS: [(&str, &str); 10] = [
    (
        "memory.copy",
        "(memory.copy (i32.const 5) (i32.const 70000) (i32.const 1000000))",
    ),
    (
        "memory.copy of 60 MiB",
        "(memory.copy (i32.const 0) (i32.const 65536) (i32.const 62914560))",
    ),
    (
        "memory.fill",
        "(memory.fill (i32.const 1) (i32.const 7) (i32.const 1000000))",
    ),
    (
        "memory.fill of 60 MiB",
        "(memory.fill (i32.const 0) (i32.const 7) (i32.const 62914560))",
    ),
    ("memory.grow", "(drop (memory.grow (i32.const 0)))"),
    (
        "memory.grow that fails",
        "(drop (memory.grow (i32.const 70000)))",
    ),
    ("table.get", "(drop (table.get 0 (i32.const 3)))"),
    ("table.set", "(table.set 0 (i32.const 3) (ref.func $f))"),
    (
        "table.fill",
        "(table.fill 0 (i32.const 10) (ref.func $f) (i32.const 900))",
    ),
    (
        "table.copy",
        "(table.copy 0 0 (i32.const 10) (i32.const 20) (i32.const 900))",
    ),
];

#[test]
fn guests_that_live_in_libcalls_are_preempted() {
    let engine = engine();
    let guests = Module::new(&engine, GUESTS).unwrap();
    for (name, instruction) in LIBCALLS {
        let wat = format!(
            r#"(module
                (memory 1000) (table 1000 1000 funcref) (elem declare func $f) (func $f)
                (global $turns (export "turns") (mut i64) (i64.const 0))
                (func (export "spin")
                  (loop $again
                    {instruction}
                    (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
                    (br $again))))"#
        );
        let module = Module::new(&engine, wat).unwrap();
        let mut store = store(&engine, ());
        let (sibling, sibling_turns) = spawn_spinner(&mut store, &guests);
        let (id, turns) = spawn_spinner(&mut store, &module);
        // Until it was preempted a few times: one that is not never comes back. A long operation
        // is done in pieces.
        crate::support::run_until(&mut store, |store| {
            stats(store, id).preemptions >= 5 && turns.get(store).unwrap_i64() > 0
        });
        assert!(stats(&store, sibling).preemptions >= 3, "{name}");
        assert!(sibling_turns.get(&mut store).unwrap_i64() > 0, "{name}");
    }
}

/// Each turn of the guest calls the embedder's callback, which takes longer than a signal that was
/// put off takes to come again.
#[test]
fn guests_that_live_in_the_callback_of_an_epoch_are_preempted() {
    let mut config = config();
    config.epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine, ());
    store.set_epoch_deadline(0);
    store.epoch_deadline_callback(|_| {
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_micros(500) {}
        Ok(UpdateDeadline::Continue(0))
    });
    let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &guests));
    crate::support::run_until(&mut store, |store| {
        let mut spinners = spinners.iter();
        spinners.all(|(id, turns)| {
            stats(store, *id).preemptions >= 20 && turns.get(&mut *store).unwrap_i64() > 0
        })
    });
    // About one per callback: it is longer than a slice.
    let preempted = |(id, turns): &(ThreadId, Global)| {
        let turns = turns.get(&mut store).unwrap_i64() as u64;
        (turns, stats(&store, *id).preemptions)
    };
    for (turns, preemptions) in spinners.iter().map(preempted).collect::<Vec<_>>() {
        assert!(turns < 10 * preemptions, "{turns}, {preemptions}");
    }
}

#[test]
fn a_memory_grows_in_full_beside_preemptions() {
    let engine = engine();
    let module = Module::new(
        &engine,
        r#"(module
            (memory 1 2000)
            (func (export "run") (result i32) (local $page i32)
              (loop $again
                (i32.store (i32.mul (local.get $page) (i32.const 65536)) (local.get $page))
                (local.set $page (memory.grow (i32.const 1)))
                (br_if $again (i32.ne (local.get $page) (i32.const -1))))
              (loop $check
                (if (i32.ne (local.get $page) (i32.const -1)) (then
                  (if (i32.ne (local.get $page)
                      (i32.load (i32.mul (local.get $page) (i32.const 65536))))
                    (then unreachable))))
                (br_if $check (i32.lt_u
                  (local.tee $page (i32.add (local.get $page) (i32.const 1)))
                  (i32.const 2000))))
              (memory.size)))"#,
    )
    .unwrap();
    let mut store = store(&engine, ());
    let ids = [(); 3].map(|()| spawn(&mut store, &module, "run", &[]));
    let run = run_all(&mut store);
    assert!(run.preemptions > 10, "{run:?}");
    for id in ids {
        assert_eq!(bits(&returned(&mut store, id)), [2_000]);
    }
}

#[test]
fn a_nested_call_is_not_switched_away_from() {
    let engine = engine();
    let mut host = Host::new(&engine, us(50), |caller| {
        let fib = caller.data().func.unwrap();
        // The code of the sibling's module, in the same store.
        let mut result = [Val::I32(0)];
        fib.call(caller, &[Val::I32(29)], &mut result)?;
        assert_eq!(bits(&result), [514_229]);
        Ok(())
    });
    let guests = Module::new(&engine, GUESTS).unwrap();
    let instance = Instance::new(&mut host.store, &guests, &[]).unwrap();
    host.store.data_mut().func = instance.get_func(&mut host.store, "fib");
    host.assert_sibling_runs_after_work(5, A_WHILE);
}

#[test]
fn a_plain_call_in_another_store_is_not_switched_away_from() {
    let engine = engine();
    let mut host = Host::new(&engine, us(50), |caller| {
        let fib = caller.data().func.unwrap();
        let other = caller.data_mut().other.as_mut().unwrap();
        let mut result = [Val::I32(0)];
        fib.call(&mut **other, &[Val::I32(29)], &mut result)?;
        assert_eq!(bits(&result), [514_229]);
        Ok(())
    });
    let mut other = Store::new(&engine, ());
    let guests = Module::new(&engine, GUESTS).unwrap();
    let instance = Instance::new(&mut other, &guests, &[]).unwrap();
    host.store.data_mut().func = instance.get_func(&mut other, "fib");
    host.store.data_mut().other = Some(Box::new(other));
    host.assert_sibling_runs_after_work(5, A_WHILE);
}

#[test]
fn a_run_of_another_store_switches_between_its_own_threads_only() {
    let engine = engine();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut host = Host::new(&engine, us(50), |caller| {
        let other = caller.data_mut().other.as_mut().unwrap();
        let mut preemptions = 0;
        while preemptions <= 5 {
            preemptions += other.run_wasm_threads_for(ms(20))?.preemptions;
        }
        Ok(())
    });
    let mut other = store(&engine, ());
    for _ in 0..2 {
        spawn_spinner(&mut other, &guests);
    }
    host.store.data_mut().other = Some(Box::new(other));
    host.assert_sibling_runs_after_work(5, A_WHILE);
}

/// Spawns a host function as a thread of its own, which takes 5 slices, beside a
/// sibling, and ends it when its slice is over. It may have ended by itself.
fn kill_a_host_function(mut store: impl AsContextMut<Data = ()>) {
    let mut store = store.as_context_mut();
    let guests = Module::new(store.engine(), GUESTS).unwrap();
    let instance = Instance::new(&mut store, &guests, &[]).unwrap();
    let spin = instance.get_func(&mut store, "spin").unwrap();
    let host = Func::wrap(&mut store, || busy_for(ms(1)));
    let ids = [host, spin].map(|func| store.spawn_wasm_thread(func, &[]).unwrap());
    store.run_wasm_threads_for(us(500)).unwrap();
    store.shutdown_wasm_threads().unwrap();
    let exits = ids.map(|id| id.take_exit(&mut store));
    assert!(
        matches!(exits[0], Some(Exit::Killed | Exit::Returned(_))),
        "{exits:?}"
    );
    assert!(matches!(exits[1], Some(Exit::Killed)), "{exits:?}");
}

#[test]
fn a_host_function_that_is_a_thread_is_killed_after_its_slice() {
    let name = "a_host_function_that_is_a_thread_is_killed_after_its_slice";
    in_own_process(module_path!(), name, || {
        for _ in 0..10 {
            kill_a_host_function(store(&engine(), ()));
        }
    });
}

#[test]
fn a_host_function_that_is_a_thread_is_killed_beneath_a_plain_call() {
    let name = "a_host_function_that_is_a_thread_is_killed_beneath_a_plain_call";
    in_own_process(module_path!(), name, || {
        let engine = engine();
        let mut store = store(&engine, ());
        let module = Module::new(
            &engine,
            r#"(module
                (import "" "host" (func $host))
                (func (export "run") (result i32) (call $host) (i32.const 42)))"#,
        )
        .unwrap();
        let host = Func::wrap(&mut store, |caller: Caller<'_, ()>| {
            kill_a_host_function(caller)
        });
        let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let run = instance
            .get_typed_func::<(), i32>(&mut store, "run")
            .unwrap();
        for _ in 0..10 {
            assert_eq!(run.call(&mut store, ()).unwrap(), 42);
        }
    });
}

#[test]
fn a_host_function_that_is_a_thread_returns_or_fails_in_its_own_time() {
    let mut store = store(&engine(), ());
    let guests = Module::new(store.engine(), GUESTS).unwrap();
    spawn_spinner(&mut store, &guests);
    let host = Func::wrap(&mut store, |n: i32| -> Result<i32> {
        busy_for(us(300));
        if n < 0 {
            Err(Error::msg("negative"))
        } else {
            Ok(n + 1)
        }
    });
    for _ in 0..20 {
        let ids = [41, -1].map(|n| store.spawn_wasm_thread(host, &[Val::I32(n)]).unwrap());
        while ids
            .iter()
            .any(|&id| id.info(&store).unwrap().state != ThreadState::Finished)
        {
            store.run_wasm_threads_for(ms(1)).unwrap();
        }
        assert_eq!(bits(&returned(&mut store, ids[0])), [42]);
        assert_eq!(trapped(&mut store, ids[1]).to_string(), "negative");
    }
}
