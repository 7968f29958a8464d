//! Timed wakers, for where no OS thread sleeps until that time: one OS thread serves all of
//! them, and ends when there are none.

use super::clock::Moment;
use super::contention::shared_write;
use super::fork::{self, AcrossFork, After, Side};
use super::wait;
use crate::prelude::*;
use core::task::Waker;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// Wakes a waker at a given time, unless dropped before.
pub(super) struct Alarm {
    key: Key,
}

/// The number distinguishes alarms of the same time.
type Key = (Moment, u64);

#[derive(Default)]
struct Alarms {
    wakers: BTreeMap<Key, Waker>,
    last: u64,
    /// Whether an OS thread serves them.
    watched: bool,
}

static ALARMS: Mutex<Alarms> = Mutex::new(Alarms {
    wakers: BTreeMap::new(),
    last: 0,
    watched: false,
});
static CHANGED: Condvar = Condvar::new();

/// How long the OS thread lives on without alarms.
const LINGER: Duration = Duration::from_secs(2);

fn alarms() -> MutexGuard<'static, Alarms> {
    shared_write();
    // Nothing here panics halfway through a change.
    ALARMS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alarm {
    /// # Errors
    ///
    /// If the OS refuses to create the OS thread.
    pub(super) fn set(time: Moment, waker: Waker) -> Result<Alarm> {
        static FORKS: OnceLock<Arc<Forks>> = OnceLock::new();
        FORKS.get_or_init(|| {
            let forks = Arc::new(Forks);
            fork::register(&forks);
            forks
        });
        let mut alarms = alarms();
        if !alarms.watched {
            thread::Builder::new()
                .name("wasmtime-alarms".into())
                .spawn(watch)
                .context("cannot start the OS thread that wakes sleepers")?;
            alarms.watched = true;
        }
        alarms.last += 1;
        let key = (time, alarms.last);
        alarms.wakers.insert(key, waker);
        if alarms.wakers.keys().next() == Some(&key) {
            CHANGED.notify_one();
        }
        Ok(Alarm { key })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = alarms().wakers.remove(&self.key);
        // Not under the lock: the waker may own anything.
        drop(waker);
    }
}

/// In a forked process, nobody serves the alarms until another one is set.
struct Forks;

impl AcrossFork for Forks {
    fn before(self: Arc<Self>) -> After {
        let mut alarms = alarms();
        Box::new(move |side| {
            if side == Side::Child {
                alarms.watched = false;
            }
        })
    }
}

/// The OS thread's main loop.
fn watch() {
    let mut alarms = alarms();
    loop {
        let now = Moment::now();
        let first = alarms.wakers.keys().next().copied();
        let wait = match first {
            Some(key) if key.0 <= now => {
                let waker = alarms.wakers.remove(&key);
                drop(alarms);
                if let Some(waker) = waker {
                    wait::wake(waker);
                }
                alarms = self::alarms();
                continue;
            }
            Some((time, _)) => time.left(now),
            None => LINGER,
        };
        let waited = CHANGED
            .wait_timeout(alarms, wait)
            .unwrap_or_else(PoisonError::into_inner);
        alarms = waited.0;
        if waited.1.timed_out() && alarms.wakers.is_empty() {
            alarms.watched = false;
            return;
        }
    }
}
