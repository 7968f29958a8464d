//! Preempted before every single instruction in turn: result, frames and
//! cancellation are right at each, prologues, epilogues, calls and traps included.

pub mod cases;

use self::cases::{CASES, Case, guests};
use super::stepping::{self, Plan};
use super::support::*;
use std::panic::{self, AssertUnwindSafe};

struct World {
    stacks: CountedStacks,
    engine: Engine,
    module: Module,
    linker: Linker<()>,
}

impl World {
    fn new() -> World {
        let stacks = CountedStacks::default();
        let engine = stacks.engine(Preemption::Signal);
        let module = Module::new(&engine, guests()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "start", stepping::start).unwrap();
        linker.func_wrap("", "stop", stepping::stop).unwrap();
        linker.func_wrap("", "add_one", |n: i32| n + 1).unwrap();
        let fail = |_: i32| -> Result<i32> {
            stepping::stop();
            Err(format_err!("refused"))
        };
        linker.func_wrap("", "fail", fail).unwrap();
        let leave = || -> () { panic::resume_unwind(Box::new("left")) };
        linker.func_wrap("", "leave", leave).unwrap();
        World {
            stacks,
            engine,
            module,
            linker,
        }
    }

    /// A store in which nothing is preempted but by the test.
    fn store(&self) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        let slice = Slice::Time(Duration::from_secs(1_000));
        store.wasm_threads().set_slice(slice).unwrap();
        store
    }

    fn func(&self, store: &mut Store<()>, export: &str) -> Func {
        let instance = self.linker.instantiate(&mut *store, &self.module).unwrap();
        instance.get_func(&mut *store, export).unwrap()
    }

    fn call(&self, store: &mut Store<()>, export: &str, params: &[Val]) -> Outcome {
        let func = self.func(store, export);
        Outcome::of_call(store, func, params)
    }

    /// Gets ready to preempt `case` before its instruction `n`.
    fn prepare(&self, case: &Case, n: u64) {
        let name = format!("run_{}", case.name);
        let mut functions = self.module.functions();
        let run = functions.find(|function| function.name.as_deref() == Some(&name));
        let run = run.unwrap().index.as_u32();
        stepping::prepare(Plan::At(n), &[&self.module], Some(run));
    }

    /// Preempts `case` before its instruction `n`, lets another thread use all
    /// registers, and resumes it.
    fn resume_after(&self, case: &Case, n: u64, expected: &Outcome) -> stepping::Seen {
        let mut store = self.store();
        let func = self.func(&mut store, case.name);
        let trample = self.func(&mut store, "trample");
        let id = store.spawn_wasm_thread(func, &[]).unwrap();
        store.spawn_wasm_thread(trample, &[Val::I64(-1)]).unwrap();
        self.prepare(case, n);
        let summary = store.run_wasm_threads_for(Duration::from_secs(30));
        let seen = stepping::seen();
        let summary = summary.unwrap();
        assert_eq!(summary.end, RunEnd::AllFinished, "{} at {n}", case.name);
        assert_eq!(summary.preemptions, seen.preempted);
        let outcome = Outcome::of_thread(&mut store, id);
        assert_eq!(outcome, *expected, "{} preempted at {n}", case.name);
        seen
    }

    /// Preempts `case` before its instruction `n`, and ends it there: by a shutdown,
    /// or by dropping the store.
    fn cancel_after(&self, case: &Case, n: u64, drop_it: bool) -> stepping::Seen {
        let mut store = self.store();
        let func = self.func(&mut store, case.name);
        let leave = self.func(&mut store, "leave");
        let id = store.spawn_wasm_thread(func, &[]).unwrap();
        store.spawn_wasm_thread(leave, &[]).unwrap();
        self.prepare(case, n);
        let run = AssertUnwindSafe(|| store.run_wasm_threads_for(Duration::MAX));
        panic::catch_unwind(run).unwrap_err();
        let seen = stepping::seen();
        if seen.preempted > 0 && !drop_it {
            assert_eq!(store.shutdown_wasm_threads(), 1);
            assert_killed(&mut store, id);
            let func = self.func(&mut store, "trample");
            store.spawn_wasm_thread(func, &[Val::I64(1)]).unwrap();
            run_all(&mut store);
        }
        drop(store);
        assert_eq!(self.stacks.live(), 0, "{} ended at {n}", case.name);
        seen
    }

    /// Calls `at` for every instruction of `case`, until there is none left, and
    /// returns how many there were. Adds what was wrong to `mistakes`.
    fn each_instruction(
        &self,
        case: &Case,
        mistakes: &mut Vec<String>,
        mut at: impl FnMut(u64) -> stepping::Seen,
    ) -> u64 {
        let mut put_off = 0;
        for n in 0..case.limit {
            let seen = at(n);
            put_off += seen.put_off;
            assert!(put_off <= most_put_off(case), "{} at {n}", case.name);
            if let Some(mistake) = seen.mistake {
                mistakes.push(format!("{}, instruction {n} {mistake}", case.name));
            } else if seen.preempted + seen.put_off == 0 {
                assert!(seen.instructions <= n);
                return n;
            }
        }
        case.limit
    }
}

/// How many instructions of `case` may not be preempted. A function that makes a tail
/// call with more arguments than it was given itself moves its frame down when it is
/// entered: while it copies what it has moved, `rbp` points to nothing. One that makes
/// a tail call with fewer moves the frame up before it jumps, when `rbp` is its
/// caller's already.
#[cfg(target_arch = "x86_64")]
pub fn most_put_off(case: &Case) -> u64 {
    match case.name {
        "tail_call_with_more_arguments" => 4,
        "tail_call_with_fewer_arguments" => 3,
        _ => 0,
    }
}

/// How many instructions of `case` may not be preempted.
#[cfg(target_arch = "aarch64")]
pub fn most_put_off(_: &Case) -> u64 {
    0
}

#[test]
fn thread_resumes_from_every_instruction() {
    let world = World::new();
    let mut mistakes = Vec::new();
    let mut total = 0;
    for case in CASES {
        let expected = world.call(&mut world.store(), case.name, &[]);
        let is_trap = matches!(expected, Outcome::Failed(..));
        assert_eq!(is_trap, case.name.starts_with("trap"), "{expected:?}");
        let count = world.each_instruction(case, &mut mistakes, |n| {
            world.resume_after(case, n, &expected)
        });
        assert!(count > 5, "{}: {count}", case.name);
        total += count;
    }
    println!("- preempted and resumed at {total} instructions");
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn thread_is_cancelled_at_every_instruction() {
    in_own_process(
        module_path!(),
        "thread_is_cancelled_at_every_instruction",
        || {
            let world = World::new();
            let mut total = 0;
            for case in CASES {
                let mut ignored = Vec::new();
                total += world.each_instruction(case, &mut ignored, |n| {
                    world.cancel_after(case, n, n % 2 == 1)
                });
            }
            println!("- preempted and cancelled at {total} instructions");
        },
    );
}

/// Two threads, both stepped through and preempted before each instruction, and
/// host code in between, where it must not work.
fn preempt_always(world: &World, case: &Case) -> u64 {
    let expected = world.call(&mut world.store(), case.name, &[]);
    let mut store = world.store();
    let ids = [(); 2].map(|()| {
        let func = world.func(&mut store, case.name);
        store.spawn_wasm_thread(func, &[]).unwrap()
    });
    stepping::prepare(Plan::Always, &[&world.module], None);
    let summary = store.run_wasm_threads_for(Duration::MAX);
    let seen = stepping::seen();
    let summary = summary.unwrap();
    assert_eq!(summary.end, RunEnd::AllFinished, "{}", case.name);
    assert_eq!(seen.mistake, None, "{}", case.name);
    // Each of the two threads.
    assert!(seen.put_off <= 2 * most_put_off(case), "{seen:?}");
    assert_eq!(seen.preempted + seen.put_off, seen.instructions);
    assert_eq!(summary.preemptions, seen.preempted);
    for id in ids {
        assert_eq!(Outcome::of_thread(&mut store, id), expected);
    }
    seen.preempted
}

#[test]
fn threads_are_preempted_at_every_instruction_of_one_run() {
    let world = World::new();
    let total: u64 = CASES[..2]
        .iter()
        .map(|case| preempt_always(&world, case))
        .sum();
    assert!(total > 30, "{total}");
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn threads_are_preempted_at_every_instruction_of_many_runs() {
    let world = World::new();
    let total: u64 = CASES[..25]
        .iter()
        .map(|case| preempt_always(&world, case))
        .sum();
    println!("- preempted at {total} instructions");
}
