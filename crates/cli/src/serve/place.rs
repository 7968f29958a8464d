//! A request's place among all, and among those of its OS thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::OwnedSemaphorePermit;

/// One of so many places for requests, taken until this is dropped.
pub struct Place {
    _load: Load,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub fn new(load: Load, permit: OwnedSemaphorePermit) -> Place {
        Place {
            _load: load,
            _permit: permit,
        }
    }
}

/// How many requests an OS thread has.
pub struct Load(Arc<AtomicUsize>);

impl Load {
    pub fn new(count: &Arc<AtomicUsize>) -> Load {
        count.fetch_add(1, Ordering::Relaxed);
        Load(count.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
