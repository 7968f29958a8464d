//! Programs in C that test POSIX threads, each a process of wasi-threads beside a sibling that never
//! yields: `fixtures/pthreads`.

use super::directives::FileRun;
use super::guests::SIBLING;
use super::source::Source;
use super::suites::Repeats;
use crate::support::HANG;
use preempt_wasi_threads::{Process, ProcessOptions, Program};
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

pub const PROGRAMS: &[&str] = &[
    "attr",
    "barrier",
    "cancel",
    "cond",
    "create",
    EXITS,
    "keys",
    "many",
    "mutex",
    "once",
    "rwlock",
    "semaphore",
    "spin",
    "tls",
];

/// Runs once for each way in which a process can end. The others tell what they have checked.
const EXITS: &str = "exits";

/// As in `expected.txt`.
pub fn path(program: &str) -> String {
    format!("pthreads/{program}.c")
}

/// What the programs run on.
pub struct Host {
    engine: Engine,
    sibling: Module,
}

/// What is left of a process.
struct Ended {
    end: End,
    stdout: String,
    preemptions: u64,
}

#[derive(Debug, PartialEq)]
enum End {
    Status(i32),
    Trap(Trap),
}

impl Host {
    pub fn new(source: Source) -> Host {
        let mut config = crate::support::plain_config();
        config.shared_memory(true);
        source.configure(&mut config);
        let engine = Engine::new(&config).unwrap();
        let sibling = Module::new(&engine, SIBLING).unwrap();
        Host { engine, sibling }
    }

    pub fn load(&self, program: &str) -> Module {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pthreads");
        Module::from_file(&self.engine, format!("{folder}/{program}.wasm")).unwrap()
    }

    pub fn run(&self, program: &str, module: &Module, source: Source, repeats: Repeats) -> FileRun {
        let mut run = FileRun {
            directives: Vec::new(),
            preemptions: 0,
        };
        if program == EXITS {
            for (number, (args, end, stdout)) in ways_to_end(repeats).into_iter().enumerate() {
                let as_expected = self.process(module, source, &args).and_then(|ended| {
                    run.preemptions += ended.preemptions;
                    ensure!(ended.end == end, "{args:?}: ended with {:?}", ended.end);
                    ensure!(
                        ended.stdout == stdout,
                        "{args:?}: printed {:?}",
                        ended.stdout
                    );
                    Ok(())
                });
                run.directives.push((number + 1, as_expected));
            }
            return run;
        }
        let times = match repeats {
            Repeats::Little => "1",
            Repeats::Much => "100",
        };
        let checked = self.process(module, source, &[times]).and_then(|ended| {
            run.preemptions = ended.preemptions;
            for line in ended.stdout.lines() {
                run.directives.push(parse(line)?);
            }
            let failed = run.directives.iter().any(|(_, result)| result.is_err());
            let expected = End::Status(failed.into());
            ensure!(ended.end == expected, "ended with {:?}", ended.end);
            Ok(())
        });
        if let Err(error) = checked {
            run.directives.push((0, Err(error)));
        }
        run
    }

    /// Runs a process to its end.
    fn process(&self, module: &Module, source: Source, args: &[&str]) -> Result<Ended> {
        let stdout = MemoryOutputPipe::new(1 << 20);
        let mut context = WasiCtxBuilder::new();
        context.arg("program").args(args).stdout(stdout.clone());
        let mut store = Store::new(&self.engine, context.build_p1());
        let slice = source.slice().expect("there are guest threads");
        store.wasm_threads().set_slice(slice)?;
        let sibling = Instance::new(&mut store, &self.sibling, &[])?;
        let spin = sibling.get_func(&mut store, "spin").expect("exported");
        let sibling = ThreadOptions::new().spawn(&mut store, spin, &[])?;

        let mut linker = Linker::new(&self.engine);
        preempt_wasi::p1::add_to_linker(&mut linker, |context: &mut WasiP1Ctx| context)?;
        let program = Program::new(module, &linker)?;
        let process = program.spawn(&mut store, ProcessOptions::new())?;
        let started = Instant::now();
        while !process.has_ended() || !process.threads().is_empty() {
            store.run_wasm_threads_for(Duration::from_millis(5))?;
            ensure!(
                started.elapsed() < HANG,
                "has not ended: {process:?}, printed {:?}",
                String::from_utf8_lossy(&stdout.contents())
            );
        }
        let info = sibling.info(&store).expect("it never ends");
        ensure!(info.stats.dispatches > 0, "the sibling has not run");
        ensure!(
            store.shutdown_wasm_threads() == 1,
            "only the sibling is left"
        );
        Ok(Ended {
            end: end_of(&process)?,
            stdout: String::from_utf8(stdout.contents().to_vec())?,
            preemptions: process.stats().preemptions,
        })
    }
}

fn end_of(process: &Process) -> Result<End> {
    let outcome = process.outcome().expect("it has ended");
    let error = match (&outcome.exit, outcome.error()) {
        (Exit::Returned(_), _) => return Ok(End::Status(0)),
        (_, Some(error)) => error,
        _ => bail!("nobody ends it, but: {outcome:?}"),
    };
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return Ok(End::Status(*status));
    }
    match error.downcast_ref() {
        Some(trap) => Ok(End::Trap(*trap)),
        None => bail!("{error:?}"),
    }
}

/// A line that a program prints: `ok 12 what` or `not ok 12 what: 7`.
fn parse(line: &str) -> Result<(usize, Result<()>)> {
    let (rest, result) = match line.strip_prefix("ok ") {
        Some(rest) => (Some(rest), Ok(())),
        None => (line.strip_prefix("not ok "), Err(format_err!("{line}"))),
    };
    let number = rest.and_then(|rest| rest.split(' ').next()?.parse().ok());
    let number = number.ok_or_else(|| format_err!("printed `{line}`"))?;
    Ok((number, result))
}

/// The arguments of `exits.c`, how the process ends, and what it prints.
fn ways_to_end(repeats: Repeats) -> Vec<([&'static str; 3], End, &'static str)> {
    const AT_EXIT: &str = "at exit\n";
    let mut ways = Vec::new();
    for place in ["spin", "wait", "sleep", "lock"] {
        ways.push((["first", "exit", place], End::Status(7), AT_EXIT));
        ways.push((["first", "return", place], End::Status(0), AT_EXIT));
        ways.push((["other", "exit", place], End::Status(7), AT_EXIT));
        for who in ["first", "other"] {
            let trap = End::Trap(Trap::UnreachableCodeReached);
            ways.push(([who, "trap", place], trap, ""));
        }
    }
    if repeats == Repeats::Little {
        // Each way to end it, and each place.
        ways = ways.into_iter().step_by(4).collect();
    }
    ways
}

#[test]
fn all_programs_are_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pthreads");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut sources: Vec<_> = names
        .filter_map(|name| Some(name.strip_suffix(".c")?.to_string()))
        .collect();
    sources.sort();
    assert_eq!(sources, PROGRAMS);
}
