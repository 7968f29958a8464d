//! What guest threads wait for, and any OS thread may give to them.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Tickets, and who waits for one.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    tickets: u32,
    waiting: Vec<Waker>,
}

impl Gate {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds tickets, and wakes all that wait for one.
    pub fn open(&self, tickets: u32) {
        let waiting = self.with(|state| {
            state.tickets += tickets;
            std::mem::take(&mut state.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Takes a ticket.
    pub async fn pass(self) {
        std::future::poll_fn(|cx| {
            self.with(|state| match state.tickets {
                0 => {
                    state.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
                _ => {
                    state.tickets -= 1;
                    Poll::Ready(())
                }
            })
        })
        .await;
    }
}
