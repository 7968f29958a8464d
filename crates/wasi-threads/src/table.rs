//! The threads of a process: their numbers, and how many there may be.

use std::collections::BTreeMap;
use std::fmt;
use wasmtime::preempt::RemoteThread;

/// What a guest calls one of its threads. Unique among the live threads of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(u32);

impl Tid {
    /// The first thread. The guest does not see this number.
    pub const MAIN: Tid = Tid(0);
    /// The last number the ABI allows.
    const LAST: Tid = Tid((1 << 29) - 1);

    /// The number.
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// The number as passed to the guest.
    pub(crate) fn as_i32(self) -> i32 {
        self.0.cast_signed()
    }

    fn next(self) -> Tid {
        match self {
            Tid::LAST => Tid(1),
            Tid(n) => Tid(n + 1),
        }
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The threads that have not ended.
#[derive(Debug)]
pub(crate) struct Table {
    /// `None` for a thread that is being started.
    threads: BTreeMap<Tid, Option<RemoteThread>>,
    last: Tid,
    max: usize,
}

impl Table {
    pub(crate) fn new(max: usize) -> Table {
        Table {
            threads: BTreeMap::new(),
            last: Tid::MAIN,
            max,
        }
    }

    /// Reserves the first thread's number while it starts.
    pub(crate) fn reserve_main(&mut self) {
        self.threads.insert(Tid::MAIN, None);
    }

    /// Reserves a number for a thread that is starting. `None` if the process has all it
    /// may have.
    pub(crate) fn reserve(&mut self) -> Option<Tid> {
        if self.threads.len() >= self.max || self.threads.len() > Tid::LAST.0 as usize {
            return None;
        }
        let mut tid = self.last.next();
        while self.threads.contains_key(&tid) {
            tid = tid.next();
        }
        self.last = tid;
        self.threads.insert(tid, None);
        Some(tid)
    }

    /// The thread has started.
    pub(crate) fn started(&mut self, tid: Tid, thread: RemoteThread) {
        self.threads.insert(tid, Some(thread));
    }

    /// The thread has ended, or did not start.
    pub(crate) fn remove(&mut self, tid: Tid) {
        self.threads.remove(&tid);
    }

    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Ordered by number.
    pub(crate) fn handles(&self) -> impl Iterator<Item = (Tid, &RemoteThread)> {
        let started = |(tid, handle): (&Tid, _)| Some((*tid, Option::as_ref(handle)?));
        self.threads.iter().filter_map(started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_after_the_last() {
        let mut table = Table::new(4);
        table.reserve_main();
        let first = table.reserve().unwrap();
        assert_eq!(first, Tid(1));
        table.last = Tid(Tid::LAST.0 - 1);
        assert_eq!(table.reserve(), Some(Tid::LAST));
        assert_eq!(table.reserve(), Some(Tid(2)), "1 is in use");
        assert_eq!(table.reserve(), None, "there may be four");
        table.remove(first);
        assert_eq!(table.reserve(), Some(Tid(3)));
        table.last = Tid::LAST;
        table.remove(Tid(2));
        assert_eq!(table.reserve(), Some(Tid(1)));
        assert_eq!(table.len(), 4);
    }
}
