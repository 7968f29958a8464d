//! Interrupted before every single instruction in turn, a guest has the same result, and can be
//! ended there.

use super::support::*;
use crate::signal::single_step::cases::{CASES, Case, guests};
use crate::signal::single_step::most_put_off;
use crate::signal::stepping::{self, Plan};
use crate::signal::support::Outcome;
use wasmtime_preempt::wasmtime::{
    Engine, Func, Linker, Module, Result, Store, Trap, UpdateDeadline, format_err,
};

std::thread_local! {
    /// That of this OS thread's test: the epoch of another one's must not advance.
    static ENGINE: Engine = engine();
}

struct World {
    engine: Engine,
    module: Module,
    linker: Linker<u64>,
}

impl World {
    fn new() -> World {
        let engine = ENGINE.with(Engine::clone);
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
        linker.func_wrap("", "leave", || {}).unwrap();
        // The deadline is reached right before the instruction, and not earlier.
        stepping::before_each(|| ENGINE.with(Engine::increment_epoch));
        World {
            engine,
            module,
            linker,
        }
    }

    /// A store that counts its deadlines, and whose guest then goes on or is ended.
    fn store(&self, goes_on: bool) -> Store<u64> {
        let mut store = Store::new(&self.engine, 0);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut store| {
            *store.data_mut() += 1;
            match goes_on {
                true => Ok(UpdateDeadline::Continue(1)),
                false => {
                    stepping::stop();
                    Ok(UpdateDeadline::Interrupt)
                }
            }
        });
        store
    }

    fn func(&self, store: &mut Store<u64>, case: &Case) -> Func {
        let instance = self.linker.instantiate(&mut *store, &self.module).unwrap();
        instance.get_func(&mut *store, case.name).unwrap()
    }

    /// Calls `case`, interrupted before its instruction `n`.
    fn interrupt(&self, case: &Case, n: u64, goes_on: bool) -> (Outcome, stepping::Seen) {
        let mut store = self.store(goes_on);
        let func = self.func(&mut store, case);
        let name = format!("run_{}", case.name);
        let mut functions = self.module.functions();
        let run = functions.find(|function| function.name.as_deref() == Some(&name));
        let run = run.unwrap().index.as_u32();
        stepping::prepare(Plan::At(n), &[&self.module], Some(run));
        let outcome = Outcome::of_call(&mut store, func, &[]);
        let seen = stepping::seen();
        assert!(*store.data() >= seen.preempted, "{} at {n}", case.name);
        (outcome, seen)
    }

    /// How many instructions of all cases were interrupted. `right` judges the outcomes.
    fn each_instruction(&self, goes_on: bool, right: impl Fn(&Outcome, &Outcome, u64) -> bool) {
        let mut total = 0;
        for case in CASES {
            let mut plain = self.store(true);
            let func = self.func(&mut plain, case);
            let expected = Outcome::of_call(&mut plain, func, &[]);
            let mut put_off = 0;
            for n in 0..case.limit {
                let (outcome, seen) = self.interrupt(case, n, goes_on);
                assert_eq!(seen.mistake, None, "{} at {n}", case.name);
                put_off += seen.put_off;
                assert!(put_off <= most_put_off(case), "{} at {n}", case.name);
                assert!(
                    right(&outcome, &expected, seen.preempted),
                    "{} at {n}: {outcome:?} and not {expected:?}",
                    case.name
                );
                if seen.preempted + seen.put_off == 0 {
                    break;
                }
                total += seen.preempted;
            }
        }
        println!("- interrupted at {total} instructions");
        assert!(total > 1_000, "{total}");
    }
}

#[test]
fn a_guest_goes_on_from_every_instruction() {
    World::new().each_instruction(true, |outcome, expected, _| outcome == expected);
}

#[test]
fn a_guest_is_ended_at_every_instruction() {
    let interrupted = Trap::Interrupt.to_string();
    World::new().each_instruction(false, |outcome, expected, preempted| match outcome {
        Outcome::Failed(why, _) if preempted > 0 => why == &interrupted,
        // Put off, and perhaps beyond the end.
        Outcome::Failed(why, _) if why == &interrupted => true,
        outcome => preempted == 0 && outcome == expected,
    });
}
