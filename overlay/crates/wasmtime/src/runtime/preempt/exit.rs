//! How a guest thread ended: [`Exit`] for embedders, [`OwnedExit`] in the store.
//!
//! A value kept across dispatches (a parameter before the first, a result after the last) must
//! not be a `Rooted`: the next host function to return would unroot it. Numbers and vectors are
//! kept as they are. Other values are held as an [`OwnedVal`], and become a `Rooted` of the
//! embedder's own scope when they are handed out.

use super::limits::OverLimit;
use crate::prelude::*;
use crate::store::{AutoAssertNoGc, StoreOpaque};
use crate::{Error, Func, StoreContextMut, Trap, Val, ValRaw, ValType};
use smallvec::SmallVec;

#[cfg_attr(not(feature = "gc"), path = "exit/references_disabled.rs")]
mod references;

use self::references::{OwnedRef, Thrown};

/// How a guest thread ended.
///
/// Returned by [`ThreadId::take_exit`](crate::ThreadId::take_exit).
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit {
    /// Its function returned these values.
    Returned(Vec<Val>),

    /// It trapped, overflowed its stack or ran out of fuel, or a host function that it called
    /// returned an error or panicked.
    ///
    /// The error is the one that [`Func::call`](crate::Func::call) would have returned: it
    /// downcasts to [`Trap`](crate::Trap), [`WasmBacktrace`](crate::WasmBacktrace) or the host's
    /// own error type. If it is a [`ThrownException`](crate::ThrownException), taking the exit
    /// makes the exception the store's [pending one](crate::Store::take_pending_exception).
    Trapped(Error),

    /// It was stopped by
    /// [`Store::shutdown_wasm_threads`](crate::Store::shutdown_wasm_threads),
    /// [`ThreadId::kill`](crate::ThreadId::kill) or
    /// [`RemoteThread::kill`](super::RemoteThread::kill).
    Killed,

    /// It or its group used up what its [`ThreadLimits`](crate::preempt::ThreadLimits) allow.
    OverLimit(OverLimit),
}

/// How a guest thread spawned from a [`TypedFunc`](crate::TypedFunc) ended: see [`Exit`].
#[derive(Debug)]
#[non_exhaustive]
pub enum TypedExit<Results> {
    /// Its function returned this.
    Returned(Results),
    /// See [`Exit::Trapped`].
    Trapped(Error),
    /// See [`Exit::Killed`].
    Killed,
    /// See [`Exit::OverLimit`].
    OverLimit(OverLimit),
}

/// An [`Exit`] that outlives any GC scope.
pub(super) enum OwnedExit {
    /// What this function returned. A component's values are not kept here.
    Returned(Option<Func>, Values),
    Trapped(Error),
    /// Like `Trapped`, with this exception.
    Threw(Error, Thrown),
    Killed,
    OverLimit(OverLimit),
}

impl OwnedExit {
    pub(super) fn into_exit(self, store: &mut StoreOpaque) -> Exit {
        match self {
            OwnedExit::Returned(func, values) => Exit::Returned(values.results_of(store, func)),
            OwnedExit::Trapped(error) => Exit::Trapped(error),
            OwnedExit::Threw(error, thrown) => Exit::Trapped(thrown.throw_again(store, error)),
            OwnedExit::Killed => Exit::Killed,
            OwnedExit::OverLimit(over) => Exit::OverLimit(over),
        }
    }

    /// With what `results` makes of the values that were returned.
    pub(super) fn into_typed<T, R>(
        self,
        store: &mut StoreContextMut<'_, T>,
        results: impl FnOnce(&mut StoreContextMut<'_, T>, Values) -> Result<R>,
    ) -> TypedExit<R> {
        match self {
            OwnedExit::Returned(_, values) => match results(store, values) {
                Ok(results) => TypedExit::Returned(results),
                Err(error) => TypedExit::Trapped(error),
            },
            OwnedExit::Trapped(error) => TypedExit::Trapped(error),
            OwnedExit::Threw(error, thrown) => {
                TypedExit::Trapped(thrown.throw_again(store.0, error))
            }
            OwnedExit::Killed => TypedExit::Killed,
            OwnedExit::OverLimit(over) => TypedExit::OverLimit(over),
        }
    }
}

/// The exit for `error`. If that is an uncaught exception, it is the store's pending one. A
/// store has only one of these, so it is put aside until the exit is taken.
pub(super) fn trapped(store: &mut StoreOpaque, error: Error) -> OwnedExit {
    if let Some(thrown) = Thrown::take(store, &error) {
        return OwnedExit::Threw(error, thrown);
    }
    if error.downcast_ref() == Some(&Trap::Interrupt) && store.lacks_epoch_deadline() {
        return OwnedExit::Trapped(error.context(
            "this store's epoch deadline was never set: call `Store::set_epoch_deadline`, or \
             leave `Config::epoch_interruption` alone, which guest threads do not need",
        ));
    }
    OwnedExit::Trapped(error)
}

/// The parameters or results of a function.
pub(super) enum Values {
    /// Numbers and vectors only.
    Raw(SmallVec<[ValRaw; 2]>),
    Owned(Vec<OwnedVal>),
}

impl Values {
    /// Whether [`Values::Raw`] can hold values of `types`.
    pub(super) fn are_raw(mut types: impl Iterator<Item = ValType>) -> bool {
        types.all(|ty| ty.is_num() || matches!(ty, ValType::V128))
    }

    /// The values as results of `func`, rooted in the store's current scope.
    fn results_of(&self, store: &mut StoreOpaque, func: Option<Func>) -> Vec<Val> {
        match self {
            Values::Raw(raw) => {
                // Loading a type takes a lock.
                let Some(func) = func.filter(|_| !raw.is_empty()) else {
                    return Vec::new();
                };
                let ty = func.load_ty(store);
                let mut store = AutoAssertNoGc::new(store);
                ty.results()
                    .zip(raw)
                    // SAFETY: I11. These are what this function has returned.
                    .map(|(ty, raw)| unsafe { Val::_from_raw(&mut store, *raw, &ty) })
                    .collect()
            }
            Values::Owned(values) => values.iter().map(|value| value.to_val(store)).collect(),
        }
    }
}

/// A [`Val`] that outlives any GC scope.
pub(super) enum OwnedVal {
    Plain(Val),
    Ref(OwnedRef),
}

impl OwnedVal {
    /// # Errors
    ///
    /// If `val` is a reference whose scope has ended.
    pub(super) fn new(store: &mut StoreOpaque, val: &Val) -> Result<OwnedVal> {
        Ok(match OwnedRef::new(store, val)? {
            Some(reference) => OwnedVal::Ref(reference),
            None => OwnedVal::Plain(*val),
        })
    }

    /// Roots the value in the store's current scope.
    pub(super) fn to_val(&self, store: &mut StoreOpaque) -> Val {
        match self {
            OwnedVal::Plain(val) => *val,
            OwnedVal::Ref(reference) => reference.to_val(store),
        }
    }
}
