//! Roots the references among a host function's results while its caller is suspended before
//! receiving them (I3).

use crate::prelude::*;
use crate::runtime::preempt::exit::OwnedVal;
use crate::store::{AutoAssertNoGc, StoreOpaque};
use crate::{FuncType, Val, ValRaw};
use core::ptr::NonNull;

/// The references among a host function's results, rooted while its caller is suspended
/// before receiving them (I3).
pub(super) struct Roots(Vec<(usize, OwnedVal)>);

impl Roots {
    pub(super) fn none() -> Roots {
        Roots(Vec::new())
    }

    /// # Safety
    ///
    /// `values` are results of a function of type `ty`.
    pub(super) unsafe fn of(
        store: &mut StoreOpaque,
        ty: wasmtime_environ::VMSharedTypeIndex,
        values: NonNull<ValRaw>,
    ) -> Result<Roots> {
        let engine = store.engine().clone();
        let ty = FuncType::from_shared_type_index(&engine, ty);
        let references = ty
            .results()
            .enumerate()
            .filter(|(_, ty)| ty.is_vmgcref_type_and_points_to_object());
        let mut roots = Vec::new();
        for (i, ty) in references {
            let scope = store.enter_gc_lifo_scope();
            // SAFETY: this function's own contract.
            let raw = unsafe { values.add(i).read() };
            // SAFETY: as above.
            let val = unsafe { Val::_from_raw(&mut AutoAssertNoGc::new(store), raw, &ty) };
            let root = OwnedVal::new(store, &val);
            store.exit_gc_lifo_scope(scope);
            roots.push((i, root?));
        }
        Ok(Roots(roots))
    }

    /// # Safety
    ///
    /// As in [`Roots::of`].
    pub(super) unsafe fn give_back(
        self,
        store: &mut StoreOpaque,
        values: NonNull<ValRaw>,
    ) -> Result<()> {
        for (i, root) in self.0 {
            let scope = store.enter_gc_lifo_scope();
            let val = root.to_val(store);
            let raw = val.to_raw_(&mut AutoAssertNoGc::new(store));
            store.exit_gc_lifo_scope(scope);
            // SAFETY: this function's own contract.
            unsafe { values.add(i).write(raw?) };
        }
        Ok(())
    }
}
