//! References to the GC heap in parameters, results and exceptions.
//!
//! `references_disabled.rs` is its twin without the feature `gc`.

use crate::prelude::*;
use crate::store::StoreOpaque;
use crate::{AnyRef, Error, ExnRef, ExternRef, OwnedRooted, ThrownException, Val};

/// A reference that outlives any GC scope.
pub(in crate::runtime::preempt) enum OwnedRef {
    Extern(OwnedRooted<ExternRef>),
    Any(OwnedRooted<AnyRef>),
    Exn(OwnedRooted<ExnRef>),
}

impl OwnedRef {
    /// `None` if `val` is no reference to the GC heap.
    ///
    /// # Errors
    ///
    /// If `val` is a reference whose scope has ended.
    pub(super) fn new(store: &mut StoreOpaque, val: &Val) -> Result<Option<OwnedRef>> {
        Ok(Some(match val {
            Val::ExternRef(Some(r)) => OwnedRef::Extern(r._to_owned_rooted(store)?),
            Val::AnyRef(Some(r)) => OwnedRef::Any(r._to_owned_rooted(store)?),
            Val::ExnRef(Some(r)) => OwnedRef::Exn(r._to_owned_rooted(store)?),
            _ => return Ok(None),
        }))
    }

    /// Roots it in the store's current scope.
    pub(super) fn to_val(&self, store: &mut StoreOpaque) -> Val {
        match self {
            OwnedRef::Extern(r) => Val::ExternRef(Some(r._to_rooted(store))),
            OwnedRef::Any(r) => Val::AnyRef(Some(r._to_rooted(store))),
            OwnedRef::Exn(r) => Val::ExnRef(Some(r._to_rooted(store))),
        }
    }
}

/// An uncaught exception that outlives any GC scope.
pub(in crate::runtime::preempt) struct Thrown(OwnedRooted<ExnRef>);

impl Thrown {
    /// Takes the store's pending exception, if `error` says that it was not caught.
    pub(super) fn take(store: &mut StoreOpaque, error: &Error) -> Option<Thrown> {
        if !error.is::<ThrownException>() {
            return None;
        }
        let scope = store.enter_gc_lifo_scope();
        let exception = store.take_pending_exception_rooted();
        let exception = exception.map(|exception| exception._to_owned_rooted(store));
        store.exit_gc_lifo_scope(scope);
        exception?.ok().map(Thrown)
    }

    /// Makes it the store's pending one again. Returns the error to report: `error`, unless
    /// the exception is lost.
    pub(in crate::runtime::preempt) fn throw_again(
        &self,
        store: &mut StoreOpaque,
        error: Error,
    ) -> Error {
        let scope = store.enter_gc_lifo_scope();
        let rooted = self.0._to_rooted(store);
        let thrown = rooted
            .try_gc_ref(store)
            .map(|exception| exception.unchecked_copy())
            .map(|exception| store.set_pending_exception(&exception));
        store.exit_gc_lifo_scope(scope);
        match thrown {
            Ok(_) => error,
            Err(lost) => lost,
        }
    }
}
