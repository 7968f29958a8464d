//! Several processes in one store: what one does to itself is nothing to the others.

use crate::support::*;
use preempt_wasi_threads::ProcessOptions;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn one_traps_or_exits_and_the_others_go_on() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let exit = fixture(&engine, "exit");
        let queue = fixture(&engine, "queue");
        let options = |name: &str| ProcessOptions::new().name(name);
        let queue = |store: &mut Store<Host>, name| {
            spawn(store, &queue, &["3", "3", "1000"], options(name))
        };
        let first = queue(&mut store, "first");
        let traps = spawn(&mut store, &exit, &["trap"], options("traps"));
        let exits = spawn(&mut store, &exit, &["exit", "9"], options("exits"));
        let returns = spawn(&mut store, &exit, &["return"], options("returns"));
        let second = queue(&mut store, "second");
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        for queue in [first, second] {
            let end = ("1000 items, sum 500500".to_string(), 0);
            assert_eq!(queue.end(), end, "{source}");
        }
        assert_eq!(traps.last_line(), "traps");
        assert!(traps.outcome().error().unwrap().is::<Trap>());
        assert_eq!(exits.end(), ("exits".to_string(), 9), "{source}");
        assert_eq!(returns.end(), ("returns".to_string(), 0), "{source}");
    }
}

#[test]
fn processes_of_one_program_share_nothing() {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let wat = r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func (export "_start")
                (drop (call $spawn (i32.const 3)))
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
            (func (export "wasi_thread_start") (param i32) (param $n i32)
                (drop (i32.atomic.rmw.add (i32.const 0) (local.get $n)))
                (drop (memory.atomic.notify (i32.const 0) (i32.const -1)))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let program = preempt_wasi_threads::Program::new(&module, &Linker::new(&engine)).unwrap();
        let processes =
            [(); 20].map(|()| program.spawn(&mut store, ProcessOptions::new()).unwrap());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(
            (run.end, run.finished),
            (RunEnd::AllFinished, 40),
            "{source}"
        );
        for process in processes {
            assert_eq!(word(&process, 0), 3);
            assert!(process.outcome().unwrap().error().is_none());
        }
    }
}

#[test]
fn threads_have_names_parameters_and_a_group() {
    let engine = engine(Preemption::Fuel);
    let mut store = store(&engine);
    let module = fixture(&engine, "deadlock");
    let threads = ThreadOptions::new().weight(3).group(5);
    let options = ProcessOptions::new().name("stuck").threads(threads);
    let guest = spawn(&mut store, &module, &[], options);
    store.run_wasm_threads_for(LONG).unwrap();
    let names = guest.process.threads().into_iter().map(|(_, id)| {
        let thread = id.info(&store).unwrap();
        thread.name.unwrap_or_default().to_string()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["stuck", "stuck#1", "stuck#2"]);
    // Together they may use what the group may.
    store
        .wasm_threads()
        .set_group_limits(5, ThreadLimits::new().fuel(1))
        .unwrap();
    guest.process.kill();
    store.run_wasm_threads_for(LONG).unwrap();
    assert!(guest.process.has_ended());
}

#[test]
fn a_process_tells_what_its_threads_have_used() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let module = fixture(&engine, "barrier");
        let guests = [(); 2].map(|()| {
            let args = ["3", "50"];
            spawn(&mut store, &module, &args, ProcessOptions::new())
        });
        let run = store.run_wasm_threads_for(LONG).unwrap();
        let [one, other] = guests.map(|guest| guest.process.stats());
        assert_eq!(
            one.dispatches + other.dispatches,
            run.dispatches,
            "{source}"
        );
        assert_eq!(one.preemptions + other.preemptions, run.preemptions);
        assert!(one.cpu_time + other.cpu_time <= run.elapsed, "{source}");
        assert_eq!(one.fuel_consumed > 0, source == Preemption::Fuel);
    }
}
