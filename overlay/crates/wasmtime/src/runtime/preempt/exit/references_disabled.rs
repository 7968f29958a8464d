//! Without the feature `gc`, there are no references to a GC heap.

use crate::prelude::*;
use crate::store::StoreOpaque;
use crate::{Error, Val};

pub(in crate::runtime::preempt) enum OwnedRef {}

impl OwnedRef {
    pub(super) fn new(_: &mut StoreOpaque, _: &Val) -> Result<Option<OwnedRef>> {
        Ok(None)
    }

    pub(super) fn to_val(&self, _: &mut StoreOpaque) -> Val {
        match *self {}
    }
}

pub(in crate::runtime::preempt) enum Thrown {}

impl Thrown {
    pub(super) fn take(_: &mut StoreOpaque, _: &Error) -> Option<Thrown> {
        None
    }

    pub(in crate::runtime::preempt) fn throw_again(&self, _: &mut StoreOpaque, _: Error) -> Error {
        match *self {}
    }
}
