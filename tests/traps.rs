//! A trap ends its own thread only, with the error that a plain call would have
//! returned.

use crate::support::*;
use std::fmt;
use wasmtime::*;

for_each_preemption!(
    each_trap_is_found_in_its_thread,
    the_backtrace_names_the_frames_of_the_thread,
    an_error_of_a_host_function_is_the_hosts_own,
    a_trap_in_the_first_instruction_ends_the_thread,
    memory_and_globals_are_as_the_trap_left_them,
);
for_each_preemption!(an_uncaught_exception_ends_its_thread_only);

const TRAPS: &str = r#"
(module
  (import "" "fail" (func $fail))
  (type $nothing (func))
  (type $something (func (param i32)))
  (memory (export "memory") 1)
  (table (export "table") 2 2 funcref)
  (elem (i32.const 1) $nothing_at_all)
  (func $nothing_at_all)
  (func $work
    (local $n i32)
    (local.set $n (i32.const TURNS))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "unreachable") (call $work) unreachable)
  (func (export "divide") (call $work) (drop (i32.div_u (i32.const 1) (i32.const 0))))
  (func (export "divide_overflow") (call $work)
    (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))))
  (func (export "convert") (call $work) (drop (i32.trunc_f32_s (f32.const nan))))
  (func (export "memory_access") (call $work) (drop (i32.load (i32.const 65533))))
  (func (export "table_access") (call $work) (call_indirect (type $nothing) (i32.const 2)))
  (func (export "null_call") (call $work) (call_indirect (type $nothing) (i32.const 0)))
  (func (export "wrong_type") (call $work)
    (call_indirect (type $something) (i32.const 0) (i32.const 1)))
  (func $inner (call $work) (call $work) unreachable)
  (func $middle (call $work) (call $inner) (call $work))
  (func $outer (export "outer") (call $work) (call $middle) (call $work))
  (func $calls_fail (export "calls_fail") (call $work) (call $fail) (call $work))
  (func (export "at_once") unreachable)
  (func (export "write_then_trap")
    (i32.store (i32.const 8) (i32.const 7)) (call $work) (call $work)
    (i32.store (i32.const 12) (i32.const 8)) unreachable))
"#;

#[derive(Debug, PartialEq)]
struct HostError(u32);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host error {}", self.0)
    }
}

impl std::error::Error for HostError {}

struct Traps {
    store: Store<()>,
    linker: Linker<()>,
    module: Module,
}

impl Traps {
    fn new(preemption: Preemption) -> Traps {
        let engine = engine(preemption);
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("", "fail", || -> Result<()> { Err(HostError(5).into()) })
            .unwrap();
        let turns = some_turns(preemption).to_string();
        let module = Module::new(&engine, TRAPS.replace("TURNS", &turns)).unwrap();
        let store = store_with_slice(&engine, (), shortest_slice(preemption));
        Traps {
            store,
            linker,
            module,
        }
    }

    fn spawn(&mut self, export: &str) -> ThreadId {
        spawn_linked(&mut self.store, &self.linker, &self.module, export, &[])
    }
}

fn each_trap_is_found_in_its_thread(preemption: Preemption) {
    let mut traps = Traps::new(preemption);
    let expected = [
        ("unreachable", Trap::UnreachableCodeReached),
        ("divide", Trap::IntegerDivisionByZero),
        ("divide_overflow", Trap::IntegerOverflow),
        ("convert", Trap::BadConversionToInteger),
        ("memory_access", Trap::MemoryOutOfBounds),
        ("table_access", Trap::TableOutOfBounds),
        ("null_call", Trap::IndirectCallToNull),
        ("wrong_type", Trap::BadSignature),
    ];
    until_preempted(20, || {
        let threads: Vec<_> = expected
            .iter()
            .chain(expected.iter().rev())
            .map(|(export, trap)| (traps.spawn(export), *trap))
            .collect();
        let run = run_all(&mut traps.store);
        for (id, trap) in threads {
            let error = trapped(&mut traps.store, id);
            assert_eq!(error.downcast_ref(), Some(&trap), "{error:?}");
        }
        run.preemptions
    });
}

/// The names of the functions in a backtrace, from the innermost.
fn frames(error: &Error) -> Vec<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
    let frames = backtrace.frames().iter();
    frames
        .map(|frame| frame.func_name().unwrap_or("?").to_owned())
        .collect()
}

fn the_backtrace_names_the_frames_of_the_thread(preemption: Preemption) {
    let mut traps = Traps::new(preemption);
    until_preempted(20, || {
        let ids: Vec<_> = (0..3).map(|_| traps.spawn("outer")).collect();
        let run = run_all(&mut traps.store);
        for id in ids {
            let error = trapped(&mut traps.store, id);
            // And none of the threads beside it.
            assert_eq!(frames(&error), ["inner", "middle", "outer"]);
        }
        run.preemptions
    });
}

fn an_error_of_a_host_function_is_the_hosts_own(preemption: Preemption) {
    let mut traps = Traps::new(preemption);
    let id = traps.spawn("calls_fail");
    let sibling = traps.spawn("outer");
    run_all(&mut traps.store);
    let error = trapped(&mut traps.store, id);
    assert_eq!(error.downcast_ref(), Some(&HostError(5)));
    assert_eq!(frames(&error), ["calls_fail"]);
    let error = trapped(&mut traps.store, sibling);
    assert!(error.downcast_ref::<HostError>().is_none());
}

fn a_trap_in_the_first_instruction_ends_the_thread(preemption: Preemption) {
    let mut traps = Traps::new(preemption);
    let ids: Vec<_> = (0..50).map(|_| traps.spawn("at_once")).collect();
    let run = run_all(&mut traps.store);
    assert_eq!(run.finished, 50);
    for id in ids {
        trapped(&mut traps.store, id);
    }
}

fn memory_and_globals_are_as_the_trap_left_them(preemption: Preemption) {
    let mut traps = Traps::new(preemption);
    let Traps {
        store,
        linker,
        module,
    } = &mut traps;
    let instance = linker.instantiate(&mut *store, module).unwrap();
    let id = spawn_in(store, instance, "write_then_trap", &[]);
    traps.spawn("outer");
    run_all(&mut traps.store);
    trapped(&mut traps.store, id);
    let memory = instance.get_memory(&mut traps.store, "memory").unwrap();
    assert_eq!(memory.data(&traps.store)[8..16], [7, 0, 0, 0, 8, 0, 0, 0]);
}

fn an_uncaught_exception_ends_its_thread_only(preemption: Preemption) {
    let mut config = config(preemption);
    config.wasm_exceptions(true);
    let engine = Engine::new(&config).unwrap();
    let wat = r#"(module
            (tag $thrown (param i32))
            (func $work (param $n i32)
              (loop $again
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
            (func (export "throw") (param i32)
              (call $work (i32.const TURNS))
              (throw $thrown (local.get 0)))
            (func (export "catch") (param i32) (result i32)
              (block $caught (result i32)
                (try_table (catch $thrown $caught)
                  (call $work (i32.const TURNS))
                  (throw $thrown (local.get 0)))
                (unreachable))))"#;
    let turns = some_turns(preemption).to_string();
    let module = Module::new(&engine, wat.replace("TURNS", &turns)).unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    until_preempted(20, || {
        let threads: Vec<_> = (0..10)
            .map(|n| {
                let export = if n % 2 == 0 { "throw" } else { "catch" };
                (n, spawn_in(&mut store, instance, export, &[Val::I32(n)]))
            })
            .collect();
        let run = run_all(&mut store);
        for (n, id) in threads {
            if n % 2 == 0 {
                assert!(trapped(&mut store, id).is::<ThrownException>());
            } else {
                assert_eq!(bits(&returned(&mut store, id)), [n as u128]);
            }
        }
        run.preemptions
    });
}
