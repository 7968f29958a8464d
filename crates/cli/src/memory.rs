//! How much memory each guest has taken: the memories and tables of all its instances
//! together. Shared memories are capped when they are made, because no `ResourceLimiter` is
//! asked about them.

use crate::until::Until;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};
use wasmtime::{ResourceLimiter, Result, ThreadId};

/// A guest's limit without `--memory-limit`.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// What all guests have taken. Clones share it.
///
/// A `ResourceLimiter` is not told who asks. It is the guest whose thread was picked last,
/// or the one being started.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    guests: Vec<Account>,
    /// The index of the running guest.
    current: Option<usize>,
    threads: HashMap<ThreadId, usize>,
}

/// How much somebody has, and may have.
#[derive(Clone, Debug, Default)]
pub struct Account {
    limit: u64,
    pub used: u64,
    /// Whether more was asked for.
    pub refused: bool,
}

impl Account {
    /// For up to `limit` bytes.
    pub fn new(limit: u64) -> Account {
        Account {
            limit,
            ..Account::default()
        }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether something with elements of `unit` bytes may grow from `current` to `desired`
    /// elements. If so, they count.
    pub fn grow(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        unit: usize,
    ) -> bool {
        // Otherwise it would be charged, and then fail.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let more = desired.saturating_sub(current).saturating_mul(unit) as u64;
        let used = self.used.saturating_add(more);
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, charges a new guest, which may have up to `limit` bytes.
    pub fn add(&self, limit: u64) {
        let mut state = self.state();
        state.current = Some(state.guests.len());
        state.guests.push(Account::new(limit));
    }

    /// `thread` belongs to the guest that was added last.
    pub fn started(&self, thread: ThreadId) {
        let mut state = self.state();
        if let Some(guest) = state.current.take() {
            state.threads.insert(thread, guest);
        }
    }

    /// Whether the guest being started has asked for too much.
    pub fn refused(&self) -> bool {
        let state = self.state();
        let current = state.current.and_then(|guest| state.guests.get(guest));
        current.is_some_and(|account| account.refused)
    }

    fn take(&self, current: usize, desired: usize, maximum: Option<usize>, unit: usize) -> bool {
        let mut state = self.state();
        match state.current {
            Some(guest) => state.guests[guest].grow(current, desired, maximum, unit),
            None => maximum.is_none_or(|maximum| desired <= maximum),
        }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(self.take(current, desired, maximum, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(self.take(current, desired, maximum, size_of::<usize>()))
    }
}

/// A policy whose picks, and whose threads' ends, are noted.
pub struct Noted<P> {
    pub policy: P,
    memory: Memory,
    until: Until,
}

impl<P> Noted<P> {
    pub fn new(policy: P, memory: &Memory, until: &Until) -> Noted<P> {
        Noted {
            policy,
            memory: memory.clone(),
            until: until.clone(),
        }
    }
}

impl<P: ThreadScheduler> ThreadScheduler for Noted<P> {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        let mut state = self.memory.state();
        // One of the guest's threads has started another one.
        if let Some(guest) = state.current {
            state.threads.insert(thread, guest);
        }
        drop(state);
        self.policy.spawned(now, thread, params);
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.preempted(now, thread, used);
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.yielded(now, thread, used);
    }

    fn parked(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.policy.parked(now, thread, used);
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        self.policy.woken(now, thread);
    }

    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.policy.changed(now, thread, params);
    }

    fn finished(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.memory.state().threads.remove(&thread);
        self.policy.finished(now, thread, used);
        self.until.ended(thread);
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        let pick = self.policy.next(now)?;
        let mut state = self.memory.state();
        state.current = state.threads.get(&pick.thread).copied();
        Some(pick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together_for_the_guest_that_asks() {
        let mut memory = Memory::default();
        memory.add(1000);
        assert!(memory.memory_growing(0, 600, None).unwrap());
        assert!(memory.table_growing(0, 50, None).unwrap());
        assert!(!memory.refused());
        assert!(!memory.table_growing(50, 51, None).unwrap());
        assert!(memory.refused());
        memory.add(1000);
        assert!(memory.memory_growing(0, 1000, None).unwrap());
        assert!(!memory.memory_growing(1000, 1001, None).unwrap());
    }

    #[test]
    fn what_fails_anyway_does_not_count() {
        let mut memory = Memory::default();
        memory.add(1000);
        assert!(!memory.memory_growing(0, 900, Some(800)).unwrap());
        assert!(memory.memory_growing(0, 800, Some(800)).unwrap());
    }
}
