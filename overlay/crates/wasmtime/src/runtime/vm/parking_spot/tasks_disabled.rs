//! Without guest threads, only OS threads wait at a parking spot.

use std::thread::{self, Thread};

pub(super) type Blocked = Thread;

#[inline]
pub(super) fn this_thread() -> Blocked {
    thread::current()
}

#[derive(Default)]
pub(super) struct Wakers;

impl Wakers {
    #[inline]
    pub(super) fn notify(&mut self, thread: &Thread) {
        thread.unpark();
    }

    #[inline]
    pub(super) fn wake(self) {}
}
