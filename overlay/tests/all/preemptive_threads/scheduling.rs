//! Who is next, and for how long.

use super::{MODULE, assert_returned, each, engine, spawn, store};
use std::sync::Mutex;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn spinning_threads_do_not_starve_others() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        spawn(&mut store, &module, "spin", &[])?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(20)])?;
        spawn(&mut store, &module, "spin", &[])?;
        while fib.info(&store).unwrap().state != ThreadState::Finished {
            let run = store.run_wasm_threads_for(Duration::from_millis(10))?;
            assert_eq!(run.end, RunEnd::TimeUp);
        }
        match fib.take_exit(&mut store) {
            Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), 6765),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.shutdown_wasm_threads(), 2);
        Ok(())
    })
}

#[test]
fn a_start_function_is_preempted() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, "(module (func $spin (loop (br 0))) (start $spin))")?;
        let pre = Linker::new(&engine).instantiate_pre(&module)?;
        let mut store = store(&engine, preemption)?;
        let options = ThreadOptions::new;
        let spin = options().spawn_instance(&mut store, &pre, |_, _| unreachable!())?;
        let others = Module::new(&engine, MODULE)?;
        let fib = spawn(&mut store, &others, "fib", &[Val::I32(15)])?;
        while fib.info(&store).unwrap().state != ThreadState::Finished {
            store.run_wasm_threads_for(Duration::from_millis(10))?;
        }
        assert_returned(&mut store, fib);
        assert_eq!(store.shutdown_wasm_threads(), 1);
        assert!(matches!(spin.take_exit(&mut store), Some(Exit::Killed)));
        Ok(())
    })
}

#[test]
fn a_run_inside_a_run_suspends_threads_of_both() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut inner = store(&engine, preemption)?;
        let ids = [
            spawn(&mut inner, &module, "spin", &[])?,
            spawn(&mut inner, &module, "spin", &[])?,
        ];
        let mut outer = store(&engine, preemption)?;
        let spin = spawn(&mut outer, &module, "spin", &[])?;
        let inner = Mutex::new(inner);
        let host = Func::wrap(&mut outer, move || -> Result<u32> {
            let mut inner = inner.lock().unwrap();
            // Until each has been preempted.
            while ids
                .iter()
                .any(|id| id.info(&*inner).unwrap().stats.dispatches < 2)
            {
                inner.run_wasm_threads_for(Duration::from_millis(5))?;
            }
            Ok(inner.shutdown_wasm_threads() as u32)
        });
        let host = outer.spawn_wasm_thread(host, &[])?;
        while host.info(&outer).unwrap().state != ThreadState::Finished {
            outer.run_wasm_threads_for(Duration::from_millis(5))?;
        }
        match host.take_exit(&mut outer) {
            Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), 2),
            other => panic!("{other:?}"),
        }
        assert!(spin.info(&outer).unwrap().stats.dispatches > 0);
        Ok(())
    })
}

#[test]
fn slices_do_not_bring_an_embedders_deadline_nearer() -> Result<()> {
    let engine = engine(Preemption::Epoch)?;
    let module = Module::new(&engine, MODULE)?;
    let mut store = store(&engine, Preemption::Epoch)?;
    store.set_epoch_deadline(1);
    let ids = [
        spawn(&mut store, &module, "spin", &[])?,
        spawn(&mut store, &module, "spin", &[])?,
    ];
    while ids
        .iter()
        .any(|id| id.info(&store).unwrap().stats.preemptions < 5)
    {
        let run = store.run_wasm_threads_for(Duration::from_millis(10))?;
        assert_eq!(run.finished, 0);
    }
    engine.increment_epoch();
    let run = store.run_wasm_threads_for(Duration::MAX)?;
    assert_eq!(run.finished, 2);
    for id in ids {
        match id.take_exit(&mut store) {
            Some(Exit::Trapped(error)) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt))
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// The highest priority first, and the oldest among equals.
#[derive(Default)]
struct Priorities(std::collections::BTreeMap<ThreadId, (i32, bool)>);

impl Priorities {
    fn set_ready(&mut self, thread: ThreadId, is_ready: bool) {
        if let Some((_, ready)) = self.0.get_mut(&thread) {
            *ready = is_ready;
        }
    }
}

impl ThreadScheduler for Priorities {
    fn spawned(&mut self, _: u64, thread: ThreadId, params: &ThreadParams) {
        self.0.insert(thread, (params.priority, true));
    }
    fn preempted(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.set_ready(thread, true);
    }
    fn yielded(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.set_ready(thread, true);
    }
    fn parked(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.set_ready(thread, false);
    }
    fn woken(&mut self, _: u64, thread: ThreadId) {
        self.set_ready(thread, true);
    }
    fn changed(&mut self, _: u64, thread: ThreadId, params: &ThreadParams) {
        if let Some((priority, _)) = self.0.get_mut(&thread) {
            *priority = params.priority;
        }
    }
    fn finished(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.0.remove(&thread);
    }
    fn next(&mut self, _: u64) -> Option<Pick> {
        let ready = self.0.iter().filter(|(_, (_, ready))| *ready);
        let (thread, _) =
            ready.max_by_key(|(id, (priority, _))| (*priority, u64::MAX - id.as_u64()))?;
        let thread = *thread;
        self.set_ready(thread, false);
        Some(Pick {
            thread,
            slice: None,
        })
    }
}

#[test]
fn a_scheduler_decides_who_is_next() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        store.wasm_threads().set_scheduler(Priorities::default())?;
        store.wasm_threads().set_trace(10_000)?;
        for priority in [1, 3, 2] {
            let instance = Instance::new(&mut store, &module, &[])?;
            let fib = instance.get_func(&mut store, "fib").unwrap();
            let options = ThreadOptions::new().priority(priority);
            options.spawn(&mut store, fib, &[Val::I32(18)])?;
        }
        store.run_wasm_threads_for(Duration::MAX)?;
        let trace = store.wasm_threads().take_trace().unwrap();
        let returned = trace.events.iter().filter(|e| e.what == Traced::Returned);
        let order: Vec<u64> = returned.map(|e| e.thread.as_u64()).collect();
        assert_eq!(order, [2, 3, 1]);
        Ok(())
    })
}
