//! The records of a store's threads, by id.
//!
//! Ids count up, and threads take turns in about that order. So the records of [`PAGE`] threads
//! that were spawned one after the other are next to each other: what a turn needs is then on
//! pages of memory that the turns before have just used, and in lines that the CPU fetches ahead.
//! Rejected: one hash table for all records. It spreads them over the memory, and with 100,000
//! threads each turn waits for it.
//!
//! A page is freed when its threads are gone, all but one, which keeps threads that come and go
//! one at a time from allocating.

use super::entry::Thread;
use crate::prelude::*;
use crate::runtime::preempt::id::{IdHasher, ThreadId};
use core::hash::BuildHasherDefault;
use std::collections::HashMap;

/// How many records are together. A single thread that stays takes all of their memory.
const PAGE: usize = 8;

#[derive(Default)]
pub(super) struct Table {
    pages: HashMap<u64, Box<Page>, BuildHasherDefault<IdHasher>>,
    spare: Option<Box<Page>>,
    len: usize,
}

#[derive(Default)]
struct Page {
    used: usize,
    threads: [Option<Thread>; PAGE],
}

/// The number of a thread's page, and its place there.
#[inline]
fn place(id: ThreadId) -> (u64, usize) {
    const PAGE_U64: u64 = PAGE as u64;
    (id.0 / PAGE_U64, (id.0 % PAGE_U64) as usize)
}

impl Table {
    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the record of a new thread.
    pub(super) fn insert(&mut self, id: ThreadId, thread: Thread) {
        let (number, place) = place(id);
        let spare = &mut self.spare;
        let page = self.pages.entry(number);
        let page = page.or_insert_with(|| spare.take().unwrap_or_default());
        let slot = &mut page.threads[place];
        debug_assert!(slot.is_none());
        *slot = Some(thread);
        page.used += 1;
        self.len += 1;
    }

    #[inline]
    pub(super) fn get(&self, id: &ThreadId) -> Option<&Thread> {
        let (number, place) = place(*id);
        self.pages.get(&number)?.threads[place].as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: &ThreadId) -> Option<&mut Thread> {
        let (number, place) = place(*id);
        self.pages.get_mut(&number)?.threads[place].as_mut()
    }

    pub(super) fn remove(&mut self, id: &ThreadId) -> Option<Thread> {
        let (number, place) = place(*id);
        let page = self.pages.get_mut(&number)?;
        let thread = page.threads[place].take()?;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            self.spare = self.pages.remove(&number);
        }
        Some(thread)
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        self.pages.iter().flat_map(|(number, page)| {
            let first = *number * PAGE as u64;
            let threads = (first..).zip(&page.threads);
            threads.filter_map(|(id, thread)| Some((ThreadId(id), thread.as_ref()?)))
        })
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        let pages = self.pages.values_mut();
        pages.flat_map(|page| page.threads.iter_mut().flatten())
    }
}
