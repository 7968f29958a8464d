//! However a thread ends, the others go on.

use super::{MODULE, assert_returned, each, engine, spawn, store};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn a_trap_ends_its_thread_only() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(18)])?;
        let trap = spawn(&mut store, &module, "trap", &[])?;
        store.run_wasm_threads_for(Duration::MAX)?;
        match trap.take_exit(&mut store) {
            Some(Exit::Trapped(error)) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
                assert!(error.is::<WasmBacktrace>());
            }
            other => panic!("{other:?}"),
        }
        assert_returned(&mut store, fib);
        Ok(())
    })
}

#[test]
fn a_panic_of_a_host_function_unwinds_out_of_the_run() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(18)])?;
        let panics = Func::wrap(&mut store, || -> () { panic!("on purpose") });
        let panics = store.spawn_wasm_thread(panics, &[])?;
        let run = std::panic::AssertUnwindSafe(|| store.run_wasm_threads_for(Duration::MAX));
        let panic = std::panic::catch_unwind(run).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        assert!(matches!(
            panics.take_exit(&mut store),
            Some(Exit::Trapped(_))
        ));
        store.run_wasm_threads_for(Duration::MAX)?;
        assert_returned(&mut store, fib);
        Ok(())
    })
}

#[test]
fn a_limit_ends_its_own_thread_only() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let spin = instance.get_func(&mut store, "spin").unwrap();
        let limit = Duration::from_millis(5);
        let options = ThreadOptions::new().cpu_limit(limit);
        let limited = options.spawn(&mut store, spin, &[])?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(20)])?;
        let run = store.run_wasm_threads_for(Duration::MAX)?;
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 2));
        match limited.take_exit(&mut store) {
            Some(Exit::OverLimit(OverLimit::CpuTime { used, .. })) => assert!(used >= limit),
            other => panic!("{other:?}"),
        }
        assert_returned(&mut store, fib);
        Ok(())
    })
}

#[test]
fn another_os_thread_can_kill_a_guest_thread() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let id = spawn(&mut store, &module, "spin", &[])?;
        let handle = id.remote(&mut store)?;
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            handle.kill();
        });
        store.run_wasm_threads_for(Duration::MAX)?;
        killer.join().unwrap();
        assert!(matches!(id.take_exit(&mut store), Some(Exit::Killed)));
        Ok(())
    })
}

#[test]
fn dropping_a_store_unwinds_its_threads() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        for _ in 0..10 {
            spawn(&mut store, &module, "spin", &[])?;
        }
        store.run_wasm_threads_for(Duration::from_millis(5))?;
        spawn(&mut store, &module, "spin", &[])?;
        std::thread::spawn(move || drop(store)).join().unwrap();
        Ok(())
    })
}
