//! A scheduler is told of all that happens to threads that wait, are suspended, resumed,
//! notified and killed, in whatever order: what it knows is what is so.

use crate::support::*;
use preempt_trace::check::Checker;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Ready,
    Running,
    Blocked,
}

/// Picks anyone who is ready, and takes note of what makes no sense.
struct Checking {
    known: HashMap<ThreadId, Known>,
    dice: Random,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Checking {
    fn go(&mut self, id: ThreadId, from: &[Option<Known>], to: Option<Known>) {
        let before = self.known.get(&id).copied();
        if !from.contains(&before) {
            let wrong = format!("thread {id}: {before:?} to {to:?}");
            self.wrong.lock().unwrap().push(wrong);
        }
        match to {
            Some(to) => self.known.insert(id, to),
            None => self.known.remove(&id),
        };
    }
}

const READY: Option<Known> = Some(Known::Ready);
const RUNNING: Option<Known> = Some(Known::Running);
const BLOCKED: Option<Known> = Some(Known::Blocked);

impl ThreadScheduler for Checking {
    fn spawned(&mut self, _: u64, id: ThreadId, _: &ThreadParams) {
        self.go(id, &[None], READY);
    }
    fn preempted(&mut self, _: u64, id: ThreadId, _: u64) {
        self.go(id, &[RUNNING], READY);
    }
    fn yielded(&mut self, _: u64, id: ThreadId, _: u64) {
        self.go(id, &[RUNNING], READY);
    }
    fn parked(&mut self, _: u64, id: ThreadId, _: u64) {
        self.go(id, &[RUNNING, READY], BLOCKED);
    }
    fn woken(&mut self, _: u64, id: ThreadId) {
        self.go(id, &[BLOCKED], READY);
    }
    fn changed(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
    fn finished(&mut self, _: u64, id: ThreadId, _: u64) {
        self.go(id, &[RUNNING, READY, BLOCKED], None);
    }
    fn next(&mut self, _: u64) -> Option<Pick> {
        let ready = self
            .known
            .iter()
            .filter(|(_, known)| **known == Known::Ready);
        let mut ready: Vec<ThreadId> = ready.map(|(id, _)| *id).collect();
        if ready.is_empty() {
            let wrong = format!("nobody is ready: {:?}", self.known);
            self.wrong.lock().unwrap().push(wrong);
            return None;
        }
        ready.sort();
        let thread = ready[self.dice.below(ready.len() as u64) as usize];
        self.go(thread, &[READY], RUNNING);
        Some(Pick {
            thread,
            slice: None,
        })
    }
}

const THREADS: u64 = 12;

const GUEST: &str = r#"
(module
  (import "" "memory" (memory 1 1 shared))
  (import "" "choose" (func $choose (result i32)))
  (import "" "meddle" (func $meddle))
  (import "" "await" (func $await (param i32)))
  (func (export "run") (param $turns i32)
    (local $burn i32)
    (loop $again
      (block $done
        (block $await
          (block $meddle
            (block $notify
              (block $wait_long
                (block $wait
                  (block $burn
                    (br_table $burn $wait $wait_long $notify $meddle $await (call $choose)))
                  (local.set $burn (i32.const 3000))
                  (loop $more
                    (local.set $burn (i32.sub (local.get $burn) (i32.const 1)))
                    (br_if $more (local.get $burn)))
                  (br $done))
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 50000)))
                (br $done))
              (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 3000000)))
              (br $done))
            (drop (memory.atomic.notify (i32.const 0) (i32.const 2)))
            (br $done))
          (call $meddle)
          (br $done))
        (call $await (call $choose)))
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $again (local.get $turns)))))
"#;

/// Does something to some thread: it may be any, finished ones included.
fn meddle(store: &mut StoreContextMut<'_, Random>) {
    let id = ThreadId::from_u64(1 + store.data_mut().below(THREADS));
    // One that has finished says so.
    let _ = match store.data_mut().below(16) {
        0 => id.kill(&mut *store),
        1 => id.remote(&mut *store).map(|handle| handle.kill()),
        2 => id.remote(&mut *store).map(|handle| handle.preempt_now()),
        3..8 => id.suspend(&mut *store),
        _ => id.resume(&mut *store),
    };
}

fn round(source: Preemption, seed: u64) {
    let what = format!("{source}, seed {seed}");
    let engine = Engine::new(&config_with_shared_memory(source)).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let mut store = Store::new(&engine, Random::new(seed));
    let mut linker = Linker::<Random>::new(&engine);
    linker.define(&store, "", "memory", memory.clone()).unwrap();
    linker
        .func_wrap("", "choose", |mut caller: Caller<'_, Random>| {
            caller.data_mut().below(6) as i32
        })
        .unwrap()
        .func_wrap("", "meddle", |mut caller: Caller<'_, Random>| {
            meddle(&mut caller.as_context_mut());
        })
        .unwrap()
        .func_wrap_concurrent("", "await", |accessor, (how,): (u32,)| {
            Box::pin(async move {
                match how {
                    0 | 1 => {
                        let micros = accessor.with(|mut caller| caller.data_mut().below(2_000))?;
                        accessor.sleep(Duration::from_micros(micros)).await
                    }
                    2 => {
                        let other = accessor.with(|mut caller| caller.data_mut().below(THREADS))?;
                        // Not for itself.
                        let _ = accessor.join(ThreadId::from_u64(1 + other)).await;
                        Ok(())
                    }
                    _ => {
                        accessor.yield_now().await;
                        accessor.with(|mut caller| meddle(&mut caller.as_context_mut()))
                    }
                }
            })
        })
        .unwrap();
    let module = Module::new(&engine, GUEST).unwrap();
    store
        .wasm_threads()
        .set_slice(crate::support::short_slice(source))
        .unwrap();
    store.wasm_threads().set_trace(1_000_000).unwrap();
    let wrong = Arc::new(Mutex::new(Vec::new()));
    store
        .wasm_threads()
        .set_scheduler(Checking {
            known: HashMap::new(),
            dice: Random::new(!seed),
            wrong: wrong.clone(),
        })
        .unwrap();
    for _ in 0..THREADS {
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        store.spawn_wasm_thread(run, &[Val::I32(40)]).unwrap();
    }
    let mut dice = Random::new(seed ^ 0xff);
    for _ in 0..40 {
        let time = Duration::from_micros(dice.below(3_000));
        let run = store.run_wasm_threads_for(time).unwrap();
        let known = store.wasm_threads().scheduler_mut::<Checking>().unwrap();
        let known = known.known.clone();
        for thread in store.wasm_threads().iter() {
            // One that was paused is running, as far as the scheduler is told.
            let is_paused = source == Preemption::Fuel
                && thread.state == ThreadState::Ready
                && known.get(&thread.id) == Some(&Known::Running);
            let expected = match thread.state {
                ThreadState::Ready if is_paused => Some(Known::Running),
                ThreadState::Ready => READY,
                ThreadState::Finished => None,
                _ => BLOCKED,
            };
            assert_eq!(
                known.get(&thread.id).copied(),
                expected,
                "{what}: {thread:?}"
            );
        }
        let ready = known.values().filter(|known| **known == Known::Ready);
        assert!(
            run.end == RunEnd::TimeUp || ready.count() == 0,
            "{what}: {run:?}"
        );
        assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new(), "{what}");
        match dice.below(4) {
            0 => drop(memory.atomic_notify(0, 1).unwrap()),
            1 => meddle(&mut store.as_context_mut()),
            _ => {}
        }
    }
    let left = store
        .wasm_threads()
        .iter()
        .filter(|t| t.state != ThreadState::Finished);
    let left = left.count();
    assert_eq!(store.shutdown_wasm_threads(), left, "{what}");
    assert_eq!(memory.atomic_notify(0, 99).unwrap(), 0, "{what}");
    let run = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{what}");
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new(), "{what}");
    let trace = store.wasm_threads().take_trace().unwrap();
    let checker = Checker::new().tolerance(u64::MAX).all_finished(true);
    let report = checker.check(&trace);
    assert!(report.is_ok(), "{what}: {report}");
}

#[test]
fn what_a_scheduler_is_told_is_what_happens() {
    let all = [Preemption::Fuel, Preemption::Epoch, Preemption::Signal];
    for source in all {
        if Engine::new(&config(source)).is_ok() {
            (0..6).for_each(|seed| round(source, seed));
        }
    }
}

#[test]
fn under_fuel_threads_that_wait_for_each_other_make_the_same_trace_each_time() {
    let trace = |_| {
        let engine = Engine::new(&config_with_shared_memory(Preemption::Fuel)).unwrap();
        let mut linker = Linker::<Random>::new(&engine);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        let mut store = Store::new(&engine, Random::new(7));
        linker.define(&store, "", "memory", memory.clone()).unwrap();
        store.wasm_threads().own_memory(&memory).unwrap();
        linker
            .func_wrap_concurrent("", "wait", |accessor, ()| {
                Box::pin(async move {
                    let other = accessor.with(|mut caller| caller.data_mut().below(20))?;
                    // Only for those that are older, so that it comes to an end.
                    let me = accessor.current_thread()?.unwrap();
                    let other = ThreadId::from_u64(1 + other);
                    if other < me {
                        return accessor.join(other).await;
                    }
                    accessor.yield_now().await;
                    Ok(())
                })
            })
            .unwrap();
        let wat = r#"(module
            (import "" "memory" (memory 1 1 shared))
            (import "" "wait" (func $wait))
            (func (export "run") (param $turns i32)
              (local $burn i32)
              (loop $again
                (local.set $burn (i32.mul (local.get $turns) (i32.const 50)))
                (loop $more
                  (br_if $more (local.tee $burn (i32.sub (local.get $burn) (i32.const 1)))))
                ;; Every other one notifies the one that waits.
                (if (i32.and (i32.atomic.rmw.add (i32.const 0) (i32.const 1)) (i32.const 1))
                  (then (drop (memory.atomic.notify (i32.const 8) (i32.const 2))))
                  (else (drop (memory.atomic.wait32
                    (i32.const 8) (i32.const 0) (i64.const 0)))))
                (call $wait)
                (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))"#;
        let module = Module::new(&engine, wat).unwrap();
        store.wasm_threads().set_slice(Slice::Fuel(500)).unwrap();
        store.wasm_threads().set_trace(100_000).unwrap();
        for i in 0..20 {
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            store.spawn_wasm_thread(run, &[Val::I32(5 + i)]).unwrap();
        }
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished);
        let trace = store.wasm_threads().take_trace().unwrap();
        assert!(
            trace
                .events
                .iter()
                .any(|event| event.what == Traced::Parked)
        );
        trace.events
    };
    let traces = [0, 1, 2].map(trace);
    assert_eq!(traces[0], traces[1]);
    assert_eq!(traces[0], traces[2]);
}
