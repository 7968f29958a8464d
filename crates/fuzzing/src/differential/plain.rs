//! The calls of a module, each without threads in a store of its own.

use super::host;
use super::outcome::{Call, Outcome};
use super::plan::Plan;
use crate::modules::{argument, bits, limited_store, state};
use crate::polling::block_on;
use wasmtime::*;

/// How many exports are called.
const MOST: usize = 6;

/// `None` if the module cannot be instantiated.
pub fn calls(plan: &Plan, wasm: &[u8]) -> Option<Vec<Call>> {
    let engine = Engine::new(&plan.plain_config()).expect("the configuration works");
    let module = Module::new(&engine, wasm).expect("a generated module is valid");
    let mut calls = Vec::new();
    for export in module.exports() {
        let ExternType::Func(ty) = export.ty() else {
            continue;
        };
        let seeds = calls.len() as u64..;
        let arguments = ty.params().zip(seeds).map(|(ty, seed)| argument(&ty, seed));
        let Some(arguments) = arguments.collect::<Option<Vec<_>>>() else {
            continue;
        };
        calls.push(Call {
            export: export.name().to_owned(),
            outcome: outcome(&module, export.name(), &arguments)?,
            arguments,
        });
        if calls.len() == MOST {
            break;
        }
    }
    Some(calls)
}

fn outcome(module: &Module, export: &str, arguments: &[Val]) -> Option<Outcome> {
    let mut store = limited_store(module.engine());
    store.set_fuel(u64::MAX).expect("the engine counts fuel");
    let imports = host::imports(&mut store, module)?;
    let instance = block_on(Instance::new_async(&mut store, module, &imports)).ok()?;
    let func = instance.get_func(&mut store, export)?;
    let before = store.get_fuel().expect("the engine counts fuel");
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    let called = block_on(func.call_async(&mut store, arguments, &mut results));
    let fuel = before - store.get_fuel().expect("the engine counts fuel");
    let result = called.map(|()| bits(&results));
    let state = state(&mut store, instance);
    Some(Outcome::new(result, Some(fuel), state))
}
