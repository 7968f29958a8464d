//! When the timer that ends slices will expire, asked of the kernel.

use std::fs;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

/// The timer that the runtime has made for the OS thread that looks for it.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeTimer {
    id: usize,
}

/// A moment, and by how much it may be later.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    pub at: Instant,
    pub error: Duration,
}

impl RuntimeTimer {
    /// # Errors
    ///
    /// If there is none, or it cannot be told from others: `/proc/self/timers` is
    /// not in every kernel.
    pub fn find() -> Result<RuntimeTimer> {
        let path = "/proc/self/timers";
        let text = fs::read_to_string(path).with_context(|| {
            format!("cannot read {path}: is the kernel one with CONFIG_CHECKPOINT_RESTORE?")
        })?;
        let ids = ids(&text, nix::libc::SIGURG, nix::unistd::gettid().as_raw());
        ensure!(
            ids.len() == 1,
            "there should be one timer for this thread in {path}:\n{text}"
        );
        Ok(RuntimeTimer { id: ids[0] })
    }

    /// `None` if it is not armed.
    pub fn expiry(self) -> Option<Expiry> {
        let mut left = MaybeUninit::<nix::libc::itimerspec>::zeroed();
        let before = Instant::now();
        // For timers with a signal, the C library's id is the kernel's.
        let id = std::ptr::without_provenance_mut(self.id);
        // SAFETY: the pointer is to a local, and a timer that does not exist is an
        // error.
        let left = unsafe {
            nix::libc::timer_gettime(id, left.as_mut_ptr());
            left.assume_init().it_value
        };
        let error = before.elapsed();
        let left = Duration::new(left.tv_sec.unsigned_abs(), left.tv_nsec as u32);
        (!left.is_zero()).then_some(Expiry {
            at: before + left,
            error,
        })
    }
}

/// The ids of those timers in the text of `/proc/self/timers` that send `signal` to
/// `thread`.
fn ids(text: &str, signal: i32, thread: i32) -> Vec<usize> {
    let (signal, thread) = (format!("{signal}/"), format!("/tid.{thread}"));
    let mut ids = Vec::new();
    let (mut id, mut right_signal): (Option<usize>, bool) = (None, false);
    for line in text.lines() {
        match line.split_once(':') {
            Some(("ID", value)) => id = value.trim().parse().ok(),
            Some(("signal", value)) => right_signal = value.trim().starts_with(&signal),
            Some(("notify", value)) if right_signal && value.ends_with(&thread) => ids.extend(id),
            _ => {}
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_found_by_its_signal_and_thread() {
        let text = "ID: 0\nsignal: 10/00000000\nnotify: signal/tid.77\nClockID: 1\n\
                    ID: 3\nsignal: 23/00000000\nnotify: signal/tid.76\nClockID: 1\n\
                    ID: 4\nsignal: 23/00000000\nnotify: signal/tid.77\nClockID: 1\n";
        assert_eq!(ids(text, 23, 77), [4]);
        assert_eq!(ids(text, 10, 77), [0]);
        assert!(ids(text, 1, 77).is_empty());
    }
}
