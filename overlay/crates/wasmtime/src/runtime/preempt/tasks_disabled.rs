//! What `tasks.rs` is without components.

use crate::store::StoreOpaque;

pub(super) enum Tasks {}

#[inline]
pub(super) fn put_aside(_: &mut StoreOpaque) -> Option<Tasks> {
    None
}

#[inline]
pub(super) fn put_back(_: &mut StoreOpaque, _: Option<Tasks>) {}
