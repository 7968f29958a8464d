//! The live threads of a policy, and the state of each.
//!
//! ```text
//!  spawn ──> Ready ──run──> Running
//!              ^ ^            │  │
//!              │ └─give_back──┘  │ park
//!              └──wake── Parked <┘        finish: from any state
//! ```
//!
//! A ready thread may be parked too. Any other call that does not fit a thread's
//! state returns `None` or `false` and changes nothing: this is what makes policies
//! robust against misuse.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use wasmtime::ThreadId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Running,
    Parked,
}

/// What a policy keeps for each live thread. Never iterated over, so the order of a
/// hash map decides nothing.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    threads: HashMap<ThreadId, (State, T)>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            threads: HashMap::new(),
        }
    }
}

impl<T> Table<T> {
    pub(crate) fn state(&self, thread: ThreadId) -> Option<State> {
        self.threads.get(&thread).map(|(state, _)| *state)
    }

    pub(crate) fn get(&self, thread: ThreadId) -> Option<(State, &T)> {
        let (state, data) = self.threads.get(&thread)?;
        Some((*state, data))
    }

    pub(crate) fn get_mut(&mut self, thread: ThreadId) -> Option<(State, &mut T)> {
        let (state, data) = self.threads.get_mut(&thread)?;
        Some((*state, data))
    }

    /// Adds a new thread, as ready. Calls `data` only if there is no such thread yet.
    pub(crate) fn spawn(&mut self, thread: ThreadId, data: impl FnOnce() -> T) -> Option<&mut T> {
        use std::collections::hash_map::Entry;
        match self.threads.entry(thread) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => Some(&mut vacant.insert((State::Ready, data())).1),
        }
    }

    pub(crate) fn run(&mut self, thread: ThreadId) -> Option<&mut T> {
        self.step(thread, State::Ready, State::Running)
    }

    pub(crate) fn give_back(&mut self, thread: ThreadId) -> Option<&mut T> {
        self.step(thread, State::Running, State::Ready)
    }

    pub(crate) fn wake(&mut self, thread: ThreadId) -> Option<&mut T> {
        self.step(thread, State::Parked, State::Ready)
    }

    /// Returns the state that the thread was in.
    pub(crate) fn park(&mut self, thread: ThreadId) -> Option<(State, &mut T)> {
        let (state, data) = self.threads.get_mut(&thread)?;
        if *state == State::Parked {
            return None;
        }
        Some((std::mem::replace(state, State::Parked), data))
    }

    /// Forgets the thread. Returns the state that it was in.
    pub(crate) fn finish(&mut self, thread: ThreadId) -> Option<(State, T)> {
        let gone = self.threads.remove(&thread)?;
        shrink(&mut self.threads);
        Some(gone)
    }

    fn step(&mut self, thread: ThreadId, from: State, to: State) -> Option<&mut T> {
        let (state, data) = self.threads.get_mut(&thread)?;
        if *state != from {
            return None;
        }
        *state = to;
        Some(data)
    }
}

/// Gives memory back once a map is nearly empty: O(1), amortized over the removals
/// that emptied it.
pub(crate) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if is_sparse(map.len(), map.capacity()) {
        map.shrink_to(map.len() * 2);
    }
}

/// As [`shrink`], for a set.
pub(crate) fn shrink_set<T: Eq + Hash>(set: &mut HashSet<T>) {
    if is_sparse(set.len(), set.capacity()) {
        set.shrink_to(set.len() * 2);
    }
}

/// Whether so little of a collection is used that copying it is worthwhile.
pub(crate) fn is_sparse(len: usize, capacity: usize) -> bool {
    capacity > 64 && len < capacity / 8
}

#[cfg(test)]
mod tests {
    use super::Table;
    use wasmtime::ThreadId;

    #[test]
    fn memory_follows_the_number_of_live_threads() {
        let mut table = Table::default();
        for number in 0..10_000 {
            table.spawn(ThreadId::from_u64(number), || ());
        }
        for number in 0..10_000 {
            table.finish(ThreadId::from_u64(number));
        }
        assert!(table.threads.capacity() < 100);
    }
}
