//! Memory mappings. The kernel limits how many a process may have.
//!
//! A stack that is not pooled takes two: one for itself and one for its guard page. If guest
//! threads took the last mapping, nothing in the process could go on: allocations fail, and so
//! does reporting that. So a thread is spawned only if enough are left. All users count: every
//! store, instances, and the rest of the process.
//!
//! Counting them takes milliseconds when there are many. It is done once in a while, more often
//! the fewer are left.
//!
//! Rejected: counting the stacks that this crate makes. With one instance per thread, the
//! instance's memory takes as many mappings as the stack.

use super::clock::Moment;
use super::contention::shared_write;
use crate::prelude::*;
use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::fs::{self, File};
use std::io::Read;
use std::sync::{Mutex, PoisonError};

/// One part in this many is reserved for the rest of the process.
const RESERVED_PART: u64 = 16;

/// How many mappings to assume for a thread, including its own instance, so as to count in time.
const PER_THREAD: u64 = 16;

/// How long to refuse without counting again after there were too few.
const PAUSE: Duration = Duration::from_millis(100);

/// How many threads can be spawned until the mappings are counted again.
static UNTIL_COUNTED: AtomicI64 = AtomicI64::new(0);

/// Until when spawning is refused, and the count that the error reports.
static REFUSED: Mutex<Option<(Moment, Counted)>> = Mutex::new(None);

/// The process's mappings.
#[derive(Clone, Copy)]
struct Counted {
    used: u64,
    allowed: u64,
}

impl Counted {
    fn reserved(&self) -> u64 {
        self.allowed / RESERVED_PART
    }

    fn left(&self) -> u64 {
        self.allowed
            .saturating_sub(self.used)
            .saturating_sub(self.reserved())
    }

    /// `None` where the OS does not say.
    fn now() -> Option<Counted> {
        let allowed = fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
        let mut maps = File::open("/proc/self/maps").ok()?;
        let mut used = 0;
        let mut buffer = [0; 16 << 10];
        loop {
            match maps.read(&mut buffer).ok()? {
                0 => break,
                read => used += buffer[..read].iter().filter(|byte| **byte == b'\n').count(),
            }
        }
        Some(Counted {
            used: u64::try_from(used).ok()?,
            allowed: allowed.trim().parse().ok()?,
        })
    }

    fn refuse(&self) -> Result<()> {
        bail!(
            "cannot spawn a guest thread: the process has {} memory mappings of the {} that \
             it may have (vm.max_map_count), and keeps {} of these for itself, where each stack \
             takes two; wait for threads to finish, use the pooling allocator, or raise the \
             limit with `sysctl vm.max_map_count={}`",
            self.used,
            self.allowed,
            self.reserved(),
            self.allowed.saturating_mul(4),
        )
    }
}

/// # Errors
///
/// If one more stack would leave too few mappings for the rest of the process.
#[inline]
pub(super) fn ensure_room() -> Result<()> {
    shared_write();
    if UNTIL_COUNTED.fetch_sub(1, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    count()
}

#[cold]
fn count() -> Result<()> {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((until, counted)) = *refused
        && Moment::now() < until
    {
        return counted.refuse();
    }
    *refused = None;
    let Some(counted) = Counted::now() else {
        // The kernel then refuses past the last one.
        UNTIL_COUNTED.store(i64::MAX, Ordering::Relaxed);
        return Ok(());
    };
    let threads = counted.left() / PER_THREAD;
    if threads == 0 {
        *refused = Some((Moment::now().saturating_add(PAUSE), counted));
        return counted.refuse();
    }
    let threads = i64::try_from(threads).unwrap_or(i64::MAX);
    UNTIL_COUNTED.store(threads, Ordering::Relaxed);
    Ok(())
}
