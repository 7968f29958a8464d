//! A store's attention, without the store.

use super::attention::{Attention, OUT_OF_FUEL};
use crate::runtime::preempt::sync::AtomicI64;
use std::ptr::NonNull;

/// Lives until the end of a model.
pub struct Word(Box<AtomicI64>);

impl Word {
    pub fn new() -> Word {
        Word(Box::new(AtomicI64::new(OUT_OF_FUEL)))
    }

    pub fn attention(&self) -> Attention {
        // SAFETY: I19. Each model joins its OS threads before its word goes.
        unsafe { Attention::new(NonNull::from(&*self.0)) }
    }

    /// No check is needed until it is raised.
    pub fn rest(&self) {
        self.attention().rest(OUT_OF_FUEL);
    }

    /// Whether a guest that has fuel left checks at the end of a host call.
    pub fn is_raised(&self) -> bool {
        self.attention().is_due(-1)
    }
}
