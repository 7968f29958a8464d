//! Values that count themselves: whether each is dropped, and only once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes [`Counted`] values, and knows how many there are.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    made: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Counter {
    /// One more value.
    pub fn counted(&self) -> Counted {
        self.made.fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }

    /// How many there ever were.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// How many were dropped.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    /// How many there are.
    pub fn live(&self) -> usize {
        self.made() - self.dropped()
    }
}

/// A value of a [`Counter`].
#[derive(Debug)]
pub struct Counted(Counter);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}
