//! A callback cannot do what is not safe while its guest is stopped at an arbitrary instruction
//! (I23), and is told so.

use super::support::*;
use crate::support::must_end;
use std::sync::mpsc;
use wasmtime_preempt::wasmtime::{
    ArrayRef, ArrayRefPre, ArrayType, ExternRef, FieldType, Global, GlobalType, Instance, Memory,
    MemoryType, Module, Mutability, Ref, RefType, Result, Rooted, StorageType, Store,
    StoreContextMut, StructRef, StructRefPre, StructType, Table, TableType, UpdateDeadline, Val,
    ValType,
};

struct Things {
    instance: Instance,
    memory: Memory,
    functions: Table,
    references: Table,
    number: Global,
    reference: Global,
    object: Rooted<StructRef>,
    array: Rooted<ArrayRef>,
    structs: StructType,
    arrays: ArrayType,
}

fn things(store: &mut Store<()>, instance: Instance) -> Result<Things> {
    let engine = store.engine().clone();
    let field = || FieldType::new(Mutability::Var, StorageType::ValType(ValType::I32));
    let structs = StructType::new(&engine, [field()])?;
    let arrays = ArrayType::new(&engine, field());
    let object = StructRefPre::new(&mut *store, structs.clone());
    let object = StructRef::new(&mut *store, &object, &[Val::I32(1)])?;
    let array = ArrayRefPre::new(&mut *store, arrays.clone());
    let array = ArrayRef::new(&mut *store, &array, &Val::I32(1), 3)?;
    let table = TableType::new(RefType::EXTERNREF, 4, None);
    let mutable = |ty| GlobalType::new(ty, Mutability::Var);
    Ok(Things {
        instance,
        memory: Memory::new(&mut *store, MemoryType::new(1, None))?,
        functions: Table::new(
            &mut *store,
            TableType::new(RefType::FUNCREF, 4, None),
            Ref::Func(None),
        )?,
        references: Table::new(&mut *store, table, Ref::Extern(None))?,
        number: Global::new(&mut *store, mutable(ValType::I32), Val::I32(1))?,
        reference: Global::new(
            &mut *store,
            mutable(ValType::EXTERNREF),
            Val::ExternRef(None),
        )?,
        object,
        array,
        structs,
        arrays,
    })
}

/// What `body` returns in a callback while the guest spins.
fn in_callback<R: Send + 'static>(
    store: &mut Store<()>,
    instance: Instance,
    body: impl Fn(StoreContextMut<'_, ()>) -> R + Send + Sync + 'static,
) -> R {
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    store.epoch_deadline_callback(move |store| {
        sender.lock().unwrap().send(body(store)).unwrap();
        Ok(UpdateDeadline::Interrupt)
    });
    store.set_epoch_deadline(1);
    let spin = instance
        .get_typed_func::<(), ()>(&mut *store, "spin")
        .unwrap();
    let _ticker = Ticker::new(store.engine(), micros(500));
    spin.call(&mut *store, ()).unwrap_err();
    receiver.recv().unwrap()
}

#[test]
fn what_could_move_or_free_something_is_refused() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let things = things(&mut store, instance).unwrap();
        let module = Module::new(&engine, "(module (func $f) (start $f))").unwrap();
        let (refused, store_is_usable) = in_callback(&mut store, instance, move |mut store| {
            let things = &things;
            let mut refused = Vec::new();
            let mut attempt = |what: &'static str, result: Result<()>| {
                refused.push((what, result.map_err(|error| format!("{error:?}"))));
            };
            let call = things
                .instance
                .get_typed_func::<i32, i32>(&mut store, "call");
            attempt("call", call.unwrap().call(&mut store, 1).map(drop));
            attempt("start", Instance::new(&mut store, &module, &[]).map(drop));
            attempt("memory", things.memory.grow(&mut store, 1).map(drop));
            let null = || Ref::Extern(None);
            let grown = things.functions.grow(&mut store, 1, Ref::Func(None));
            attempt("table", grown.map(drop));
            attempt("table.set", things.references.set(&mut store, 0, null()));
            attempt(
                "table.fill",
                things.references.fill(&mut store, 0, null(), 2),
            );
            let copied = Table::copy(&mut store, &things.references, 0, &things.references, 1, 1);
            attempt("table.copy", copied);
            let set = things.reference.set(&mut store, Val::ExternRef(None));
            attempt("global", set);
            attempt("extern", ExternRef::new(&mut store, 1).map(drop));
            let pre = StructRefPre::new(&mut store, things.structs.clone());
            attempt(
                "struct",
                StructRef::new(&mut store, &pre, &[Val::I32(1)]).map(drop),
            );
            let pre = ArrayRefPre::new(&mut store, things.arrays.clone());
            attempt(
                "array",
                ArrayRef::new(&mut store, &pre, &Val::I32(1), 1).map(drop),
            );
            attempt("field", things.object.set_field(&mut store, 0, Val::I32(2)));
            attempt("element", things.array.set(&mut store, 0, Val::I32(2)));
            attempt("gc", store.gc(None));
            // The rest is allowed.
            let usable = things.number.set(&mut store, Val::I32(2)).is_ok()
                && things.functions.set(&mut store, 0, Ref::Func(None)).is_ok()
                && things.memory.write(&mut store, 0, &[1]).is_ok()
                && things.object.field(&mut store, 0).is_ok();
            (refused, usable)
        });
        for (what, result) in refused {
            let error = result.expect_err(what);
            assert!(error.contains("epoch deadline callback"), "{what}: {error}");
        }
        assert!(store_is_usable);
        // Afterwards, all of it works.
        store.set_epoch_deadline(u64::MAX / 2);
        let call = instance
            .get_typed_func::<i32, i32>(&mut store, "call")
            .unwrap();
        assert_eq!(call.call(&mut store, 1).unwrap(), 1);
        store.gc(None).unwrap();
    });
}
