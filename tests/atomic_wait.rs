//! A guest thread that waits for an atomic is parked: its siblings run on.

mod queue;

use crate::support::*;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

const WAITER: &str = r#"
(module
  (memory 1 1 shared)
  (func (export "wait32") (param i64) (result i32)
    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "wait64") (param i64) (result i32)
    (memory.atomic.wait64 (i32.const 0) (i64.const 0) (local.get 0))))
"#;

const NOTIFIER: &str = r#"
(module
  (import "" "memory" (memory 1 1 shared))
  (func (export "wait32") (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "notify") (param i32 i32) (result i32)
    (memory.atomic.notify (local.get 0) (local.get 1))))
"#;

fn a_thread_is_parked_until_it_is_notified(preemption: Preemption) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let module = Module::new(&engine, NOTIFIER).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let mut store = Store::new(&engine, ());
    store.wasm_threads().own_memory(&memory).unwrap();
    let spawn = |store: &mut Store<()>, name: &str, params: &[Val]| {
        let instance = Instance::new(&mut *store, &module, &[memory.clone().into()]).unwrap();
        let func = instance.get_func(&mut *store, name).unwrap();
        store.spawn_wasm_thread(func, params).unwrap()
    };
    let wait = [Val::I32(16), Val::I32(0), Val::I64(-1)];
    let waiters = [(); 3].map(|()| spawn(&mut store, "wait32", &wait));
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::Deadlock);
    assert_eq!(run.deadlocked, waiters.map(|id| (id, WaitFor::Atomic(16))));

    let notifier = spawn(&mut store, "notify", &[Val::I32(16), Val::I32(2)]);
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::Deadlock);
    assert_eq!(run.deadlocked, [(waiters[2], WaitFor::Atomic(16))]);
    for (id, expected) in [(notifier, 2), (waiters[0], 0), (waiters[1], 0)] {
        let exit = id.take_exit(&mut store);
        let Some(Exit::Returned(values)) = exit else {
            panic!("{exit:?}");
        };
        assert_eq!(values[0].unwrap_i32(), expected);
    }
    assert_eq!(memory.atomic_notify(16, 9).unwrap(), 1, "one is left");
    assert_eq!(
        store.run_wasm_threads_for(Duration::MAX).unwrap().end,
        RunEnd::AllFinished
    );
    assert_eq!(memory.atomic_notify(16, 9).unwrap(), 0, "and none now");
}

fn a_plain_call_waits_as_it_always_did(preemption: Preemption) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let module = Module::new(&engine, WAITER).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let wait = instance
        .get_typed_func::<i64, i32>(&mut store, "wait32")
        .unwrap();
    assert_eq!(wait.call(&mut store, 1_000).unwrap(), 2, "timed out");
}

#[test]
fn a_thread_is_parked_until_it_is_notified_under_each_source() {
    for source in sources() {
        a_thread_is_parked_until_it_is_notified(source);
        a_plain_call_waits_as_it_always_did(source);
    }
}

/// What there is to wait with, over the memory that it is given.
const GUEST: &str = r#"
(module
  (import "" "memory" (memory 1 4 shared))
  (import "" "call" (func $call))
  (func (export "wait32") (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "wait64") (param i32 i64 i64) (result i32)
    (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "notify") (param i32 i32) (result i32)
    (memory.atomic.notify (local.get 0) (local.get 1)))
  (func (export "call") (call $call))
  (func $burn (param i32)
    (loop $again
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0))))
  (func (export "burn") (param i32) (call $burn (local.get 0)))
  ;; Uses the same fuel whether or not it has to wait.
  (func (export "burn_wait_burn") (param i32 i32) (result i32)
    (local $turns i32)
    (call $burn (local.get 0))
    (local.set $turns (local.get 0))
    (loop $again
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $again (local.get $turns)))
    (drop (memory.atomic.wait32 (i32.const 0) (local.get 1) (i64.const -1)))
    (local.set $turns (local.get 0))
    (loop $again
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $again (local.get $turns)))
    (local.get $turns))
  (func (export "spin") (loop (br 0))))
"#;

struct Guests {
    store: Store<Option<Instance>>,
    module: Module,
    memory: SharedMemory,
    linker: Linker<Option<Instance>>,
}

impl Guests {
    fn new(source: Preemption) -> Guests {
        Guests::with(&config_with_shared_memory(source))
    }

    fn with(config: &Config) -> Guests {
        let engine = Engine::new(config).unwrap();
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 4)).unwrap();
        Guests::sharing(&engine, memory)
    }

    fn sharing(engine: &Engine, memory: SharedMemory) -> Guests {
        let module = Module::new(engine, GUEST).unwrap();
        let mut store = Store::new(engine, None);
        let mut linker = Linker::new(engine);
        linker
            .define(&mut store, "", "memory", memory.clone())
            .unwrap();
        linker.func_wrap("", "call", |_: Caller<'_, _>| {}).unwrap();
        Guests {
            store,
            module,
            memory,
            linker,
        }
    }

    fn spawn(&mut self, name: &str, params: &[Val]) -> ThreadId {
        let instance = self
            .linker
            .instantiate(&mut self.store, &self.module)
            .unwrap();
        let func = instance.get_func(&mut self.store, name).unwrap();
        self.store.spawn_wasm_thread(func, params).unwrap()
    }

    fn wait(&mut self, address: i32) -> ThreadId {
        self.spawn("wait32", &[Val::I32(address), Val::I32(0), Val::I64(-1)])
    }

    fn run(&mut self, time: Duration) -> RunSummary {
        self.store.run_wasm_threads_for(time).unwrap()
    }

    fn returned(&mut self, id: ThreadId) -> i32 {
        match id.take_exit(&mut self.store) {
            Some(Exit::Returned(values)) => values[0].unwrap_i32(),
            exit => panic!("{exit:?}"),
        }
    }

    fn trapped(&mut self, id: ThreadId) -> String {
        match id.take_exit(&mut self.store) {
            Some(Exit::Trapped(error)) => error.root_cause().to_string(),
            exit => panic!("{exit:?}"),
        }
    }
}

const OK: i32 = 0;

const MISMATCH: i32 = 1;

const TIMED_OUT: i32 = 2;

for_each_preemption!(
    waiting_neither_makes_nor_loses_fuel,
    a_wait_gives_what_it_should,
    what_is_no_address_of_an_atomic_traps,
    a_run_that_sleeps_is_woken_by_another_os_thread_and_another_store,
    one_that_was_notified_has_its_turn_beside_one_that_never_yields,
    a_guest_that_a_host_function_has_called_can_look_and_not_wait,
);

fn waiting_neither_makes_nor_loses_fuel(source: Preemption) {
    let mut config = config_with_fuel(source);
    config.shared_memory(true);
    let consumed = |has_to_wait: bool| {
        let mut guests = Guests::with(&config);
        guests.store.set_fuel(10_000_000).unwrap();
        let expected = Val::I32(i32::from(!has_to_wait));
        let waiter = guests.spawn("burn_wait_burn", &[Val::I32(1_000), expected]);
        guests.spawn("burn", &[Val::I32(100_000)]);
        if has_to_wait {
            guests.spawn("notify", &[Val::I32(0), Val::I32(1)]);
        }
        let run = guests.run(HANG);
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        let used = guests
            .store
            .wasm_threads()
            .iter()
            .map(|t| t.stats.fuel_consumed);
        let used: u64 = used.sum();
        let left = guests.store.get_fuel().unwrap();
        assert_eq!(left, 10_000_000 - used, "{source}, {has_to_wait}");
        let waiter = waiter.info(&guests.store).unwrap();
        waiter.stats.fuel_consumed
    };
    assert_eq!(consumed(true), consumed(false), "{source}");
}

fn a_wait_gives_what_it_should(source: Preemption) {
    let mut guests = Guests::new(source);
    let one = |guests: &mut Guests, name: &str, params: &[Val]| {
        let id = guests.spawn(name, params);
        let start = Instant::now();
        let run = guests.run(HANG);
        assert_eq!(run.end, RunEnd::AllFinished, "{source} {name} {params:?}");
        (guests.returned(id), start.elapsed())
    };
    for timeout in [0, 1, 1_000, 20_000_000, i64::MAX, -1, i64::MIN] {
        let timeout = Val::I64(timeout);
        let params = [Val::I32(8), Val::I32(1), timeout];
        assert_eq!(one(&mut guests, "wait32", &params).0, MISMATCH);
        let params = [Val::I32(8), Val::I64(1), timeout];
        assert_eq!(one(&mut guests, "wait64", &params).0, MISMATCH);
        // The upper half is looked at too.
        let params = [Val::I32(8), Val::I64(1 << 32), timeout];
        assert_eq!(one(&mut guests, "wait64", &params).0, MISMATCH);
    }
    for timeout in [0, 1, 1_000, 20_000_000] {
        let least = Duration::from_nanos(timeout as u64);
        let timeout = Val::I64(timeout);
        for (name, zero) in [("wait32", Val::I32(0)), ("wait64", Val::I64(0))] {
            let (result, took) = one(&mut guests, name, &[Val::I32(8), zero, timeout]);
            assert_eq!(result, TIMED_OUT, "{source}");
            assert!(took >= least, "{took:?}");
        }
    }
    // For ever, and for so long that it might as well be.
    for timeout in [i64::MAX, -1, i64::MIN] {
        let timeout = Val::I64(timeout);
        let ids = [
            guests.spawn("wait32", &[Val::I32(8), Val::I32(0), timeout]),
            guests.spawn("wait64", &[Val::I32(8), Val::I64(0), timeout]),
        ];
        run_until_parked(&mut guests.store, &ids);
        assert_eq!(guests.run(ms(20)).end, RunEnd::TimeUp, "{source}");
        assert_eq!(guests.memory.atomic_notify(8, 9).unwrap(), 2);
        assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
        for id in ids {
            assert_eq!(guests.returned(id), OK);
        }
    }
}

fn what_is_no_address_of_an_atomic_traps(source: Preemption) {
    let mut guests = Guests::new(source);
    for (name, address, says) in [
        ("wait32", 2, "unaligned atomic"),
        ("wait64", 4, "unaligned atomic"),
        ("wait32", 65_536, "out of bounds"),
        ("wait64", -8, "out of bounds"),
    ] {
        let expected = match name {
            "wait32" => Val::I32(0),
            _ => Val::I64(0),
        };
        let params = [Val::I32(address), expected, Val::I64(-1)];
        let id = guests.spawn(name, &params);
        assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
        let error = guests.trapped(id);
        assert!(error.contains(says), "{source}: {error}");
    }
    // As for those that wait in a memory which nobody else can see.
    let wat = r#"(module (memory 1)
            (func (export "f") (drop
                (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))"#;
    let module = Module::new(guests.store.engine(), wat).unwrap();
    let instance = Instance::new(&mut guests.store, &module, &[]).unwrap();
    let func = instance.get_func(&mut guests.store, "f").unwrap();
    let id = guests.store.spawn_wasm_thread(func, &[]).unwrap();
    assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
    let error = guests.trapped(id);
    assert!(error.contains("non-shared memory"), "{source}: {error}");
}

fn a_run_that_sleeps_is_woken_by_another_os_thread_and_another_store(source: Preemption) {
    let mut guests = Guests::new(source);
    let ids = [guests.wait(0), guests.wait(0)];
    let memory = guests.memory.clone();
    let engine = guests.store.engine().clone();
    let notifier = thread::spawn(move || {
        thread::sleep(ms(20));
        spin_until(|| memory.atomic_notify(0, 1).unwrap() == 1);
        let mut other = Guests::sharing(&engine, memory);
        other.spawn("notify", &[Val::I32(0), Val::I32(1)]);
        other.run(Duration::MAX).end
    });
    let run = guests.run(Duration::MAX);
    assert_eq!(notifier.join().unwrap(), RunEnd::AllFinished);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.dispatches <= 6, "{source}: {}", run.dispatches);
    for id in ids {
        assert_eq!(guests.returned(id), OK, "{source}");
    }
}

fn one_that_was_notified_has_its_turn_beside_one_that_never_yields(source: Preemption) {
    let mut guests = Guests::new(source);
    let [elsewhere, by_sibling] = [guests.wait(0), guests.wait(8)];
    run_until_parked(&mut guests.store, &[elsewhere, by_sibling]);
    guests.spawn("spin", &[]);
    let memory = guests.memory.clone();
    let notifier = thread::spawn(move || {
        thread::sleep(ms(30));
        memory.atomic_notify(0, 1).unwrap()
    });
    run_until(&mut guests.store, |store| finished(store, elsewhere));
    assert_eq!(notifier.join().unwrap(), 1, "{source}");
    assert_eq!(guests.returned(elsewhere), OK, "{source}");
    guests.spawn("notify", &[Val::I32(8), Val::I32(1)]);
    run_until(&mut guests.store, |store| finished(store, by_sibling));
    assert_eq!(guests.returned(by_sibling), OK, "{source}");
}

fn a_guest_that_a_host_function_has_called_can_look_and_not_wait(source: Preemption) {
    for (expected, timeout, result) in [
        (1, -1, Ok(MISMATCH)),
        (0, 0, Ok(TIMED_OUT)),
        (0, -1, Err(())),
    ] {
        let mut guests = Guests::new(source);
        let nested = move |mut caller: Caller<'_, Option<Instance>>| -> Result<()> {
            let instance = caller.data().unwrap();
            let wait = instance
                .get_typed_func::<(i32, i32, i64), i32>(&mut caller, "wait32")
                .unwrap();
            let waited = wait.call(&mut caller, (0, expected, timeout));
            match result {
                Ok(result) => assert_eq!(waited?, result),
                Err(()) => {
                    let error = waited.unwrap_err().root_cause().to_string();
                    assert!(error.contains("cannot wait for an atomic"), "{error}");
                }
            }
            Ok(())
        };
        guests.linker.allow_shadowing(true);
        guests.linker.func_wrap("", "call", nested).unwrap();
        let instance = guests
            .linker
            .instantiate(&mut guests.store, &guests.module)
            .unwrap();
        *guests.store.data_mut() = Some(instance);
        let id = guests.spawn("call", &[]);
        assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
        let exit = id.take_exit(&mut guests.store);
        assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
        assert_eq!(guests.memory.atomic_notify(0, 9).unwrap(), 0);
    }
}
