//! Random modules do the same as guest threads as in plain calls: the same results or traps,
//! memories, globals and fuel, whatever else happens in the store. Threads that are killed or over
//! a limit leave nothing behind, and what is a schedule of fuel is the same each time.

mod host;
mod outcome;
mod plain;
mod plan;
mod threads;

use arbitrary::Unstructured;
use plan::Plan;
use wasmtime::*;

/// The first bytes choose how the module runs, the others choose the module.
pub fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok(plan) = Plan::choose(&mut choices) else {
        return;
    };
    let Some(wasm) = plan.shape.module(&mut choices) else {
        return;
    };
    let Some(calls) = plain::calls(&plan, &wasm) else {
        return;
    };
    let engine = Engine::new(&plan.config()).expect("the configuration works");
    let module = Module::new(&engine, &wasm).expect("the module compiles for other engines, too");
    let first = threads::run(&plan, &module, &calls);
    if plan.is_repeatable() {
        let second = threads::run(&plan, &module, &calls);
        assert_eq!(first, second, "two runs with the same schedule: {plan:?}");
    }
}
