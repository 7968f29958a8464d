//! Guest threads whose parameters and results are Rust types.
//!
//! Values go through the raw representation that `TypedFunc` uses. Values that are raw already
//! stay raw, so numbers never become `Val`s.

use super::exit::{OwnedVal, TypedExit, Values};
use super::id::TypedThreadId;
use super::options::ThreadOptions;
use super::spawn::{self, Call, in_lifo_scope};
use crate::bail_bug;
use crate::prelude::*;
use crate::store::AutoAssertNoGc;
use crate::{AsContextMut, StoreContextMut, TypedFunc, Val, ValRaw, WasmParams, WasmResults};
use core::mem::{self, MaybeUninit};
use core::slice;

impl ThreadOptions {
    /// Like [`ThreadOptions::spawn`], with parameters and results of Rust types.
    ///
    /// # Errors
    ///
    /// The same as for [`ThreadOptions::spawn`].
    pub fn spawn_typed<P, R>(
        self,
        mut store: impl AsContextMut,
        func: &TypedFunc<P, R>,
        params: P,
    ) -> Result<TypedThreadId<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        spawn(&mut store.as_context_mut(), func, params, self)
    }
}

impl<Results> TypedThreadId<Results> {
    /// Like [`ThreadId::take_exit`]. Also `None` if the store is not the thread's.
    pub fn take_exit(self, mut store: impl AsContextMut) -> Option<TypedExit<Results>>
    where
        Results: WasmResults,
    {
        take_exit(&mut store.as_context_mut(), self)
    }
}

fn spawn<T, P, R>(
    store: &mut StoreContextMut<'_, T>,
    func: &TypedFunc<P, R>,
    params: P,
    options: ThreadOptions,
) -> Result<TypedThreadId<R>>
where
    P: WasmParams,
    R: WasmResults,
{
    spawn::ensure_own_function(store.0, func.func())?;
    let mut storage = MaybeUninit::<P::ValRawStorage>::uninit();
    params.store(&mut AutoAssertNoGc::new(store.0), &func.ty, &mut storage)?;
    let len = func.ty.params().len();
    // SAFETY: I11. `store` has initialized one `ValRaw` for each parameter of the
    // function, of that parameter's type.
    let raw = unsafe { slice::from_raw_parts(storage.as_ptr().cast::<ValRaw>(), len) };

    let id = if Values::are_raw(func.ty.params()) {
        let call = Call::new(*func.func(), &func.ty, Values::Raw(raw.into()));
        spawn::spawn(store, call, options)?
    } else {
        in_lifo_scope(store, |store| {
            let val = |(ty, raw): (_, &ValRaw)| {
                // SAFETY: I11, as above.
                unsafe { Val::from_raw(&mut *store, *raw, ty) }
            };
            let params: Vec<Val> = func.ty.params().zip(raw).map(val).collect();
            let call = Call::checked(store.0, *func.func(), &params)?;
            spawn::spawn(store, call, options)
        })?
    };
    Ok(TypedThreadId::new(store.0.id(), id))
}

fn take_exit<T, R: WasmResults>(
    store: &mut StoreContextMut<'_, T>,
    id: TypedThreadId<R>,
) -> Option<TypedExit<R>> {
    if id.store() != store.0.id() {
        return None;
    }
    let exit = store.0.take_owned_exit(id.id())?;
    Some(exit.into_typed(store, from_values))
}

fn from_values<T, R: WasmResults>(store: &mut StoreContextMut<'_, T>, values: Values) -> Result<R> {
    let raw = match values {
        Values::Raw(raw) => raw,
        Values::Owned(values) => {
            let raw = |value: &OwnedVal| value.to_val(store.0).to_raw(&mut *store);
            values.iter().map(raw).collect::<Result<_>>()?
        }
    };
    let room = mem::size_of::<R::ValRawStorage>() / mem::size_of::<ValRaw>();
    if raw.len() > room {
        bail_bug!("{} results in the room of {room}", raw.len());
    }
    let mut storage = MaybeUninit::<R::ValRawStorage>::uninit();
    // SAFETY: I11. There is room for this many, as checked above. The id belongs to this store,
    // so these are the results of the function that `R` was checked against, and they fill the
    // storage.
    unsafe {
        storage
            .as_mut_ptr()
            .cast::<ValRaw>()
            .copy_from_nonoverlapping(raw.as_ptr(), raw.len());
        let mut store = AutoAssertNoGc::new(store.0);
        Ok(R::load(&mut store, storage.assume_init_ref()))
    }
}
