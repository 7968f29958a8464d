//! Stands in for the signal source.

pub mod os_timer {
    //! Signals that are seen by the model.

    use crate::runtime::preempt::sync::{AtomicBool, Ordering};
    use std::cell::RefCell;
    use std::sync::Arc;

    std::thread_local! {
        // All of loom's threads are on one OS thread.
        static SENT: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
    }

    /// Whether a signal has been sent since.
    pub fn expect_signals() -> Arc<AtomicBool> {
        let sent = Arc::new(AtomicBool::new(false));
        SENT.set(Some(sent.clone()));
        sent
    }

    pub struct Target;

    impl Target {
        pub fn signal(&self) {
            let sent = SENT.with_borrow(|sent| sent.clone().unwrap());
            sent.store(true, Ordering::Relaxed);
        }
    }
}

pub mod host {
    pub fn works_here() -> bool {
        true
    }
}
