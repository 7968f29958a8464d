//! What a module imports: functions of the host that depend on their arguments only, and memories,
//! globals and tables of its own.

use crate::modules::{argument, bits};
use std::hash::{DefaultHasher, Hash, Hasher};
use wasmtime::*;

/// What `module` imports, for one instance. `None` if there are no values of some type.
pub fn imports(store: &mut Store<StoreLimits>, module: &Module) -> Option<Vec<Extern>> {
    module
        .imports()
        .zip(1..)
        .map(|(import, seed)| one(store, &import.ty(), seed))
        .collect()
}

fn one(store: &mut Store<StoreLimits>, ty: &ExternType, seed: u64) -> Option<Extern> {
    Some(match ty {
        ExternType::Func(ty) => function(store, ty, seed)?.into(),
        ExternType::Global(ty) => {
            let value = argument(ty.content(), seed)?;
            Global::new(store, ty.clone(), value).ok()?.into()
        }
        ExternType::Table(ty) => {
            let null = match ty.element().is_nullable() {
                true => Ref::null(ty.element().heap_type()),
                false => return None,
            };
            Table::new(store, ty.clone(), null).ok()?.into()
        }
        ExternType::Memory(ty) => Memory::new(store, ty.clone()).ok()?.into(),
        ExternType::Tag(ty) => Tag::new(store, ty).ok()?.into(),
    })
}

/// One that only waits for its turn if it takes and returns nothing, else one that makes its
/// results of its arguments, or fails.
fn function(store: &mut Store<StoreLimits>, ty: &FuncType, seed: u64) -> Option<Func> {
    if ty.params().len() == 0 && ty.results().len() == 0 {
        return Func::wrap_concurrent(store, |caller, (): ()| Box::pin(caller.yield_now())).ok();
    }
    if !ty.results().all(|ty| argument(&ty, 0).is_some()) {
        return None;
    }
    let types: Vec<ValType> = ty.results().collect();
    let func = Func::new(store, ty.clone(), move |_, params, results| {
        let mut hash = DefaultHasher::new();
        (seed, bits(params)).hash(&mut hash);
        let hash = hash.finish();
        if hash.is_multiple_of(32) {
            return Err(Trap::IntegerOverflow.into());
        }
        for (result, ty) in results.iter_mut().zip(&types) {
            *result = argument(ty, hash >> 32).expect("there is one of each type");
        }
        Ok(())
    });
    Some(func)
}
