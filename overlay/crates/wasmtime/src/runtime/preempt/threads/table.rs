//! The records of a store's threads, by id.
//!
//! Ids count up, and threads take turns in about that order. So the records of [`PAGE`] threads
//! that were spawned one after the other are next to each other: what a turn needs is then on
//! pages of memory that the turns before have just used, and in lines that the CPU fetches ahead.
//! Rejected: one hash table for all records. It spreads them over the memory, and with 100,000
//! threads each turn waits for it.
//!
//! A page is found by its number in a hash table, or without that by whoever remembers where it
//! was the last time ([`Thread::page`]): that may be another by then, so it has its number.
//!
//! A page is freed when its threads are gone. The last one stays until there is another, or its
//! memory is needed: threads that come and go one at a time neither allocate nor hash for it.

use super::entry::Thread;
use crate::prelude::*;
use crate::runtime::preempt::id::{IdHasher, ThreadId};
use core::hash::BuildHasherDefault;
use std::collections::HashMap;

/// How many records are together. A single thread that stays takes all of their memory.
const PAGE: usize = 8;

#[derive(Default)]
pub(super) struct Table {
    /// Where in `pages` is the one with a number.
    places: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
    pages: Vec<Option<Box<Page>>>,
    /// Where in `pages` there is none.
    holes: Vec<u32>,
    /// Which one has no threads, if any.
    empty: Option<u32>,
    len: usize,
}

#[derive(Default)]
struct Page {
    number: u64,
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

    /// Adds the record of a new thread, which `make` makes in its place.
    #[inline(always)]
    pub(super) fn insert(
        &mut self,
        id: ThreadId,
        make: impl FnOnce() -> Thread,
    ) -> Option<&mut Thread> {
        let (number, place) = place(id);
        let index = match self.places.get(&number) {
            Some(index) => *index,
            None => self.add_page(number),
        };
        self.empty.take_if(|empty| *empty == index);
        let page = self.pages.get_mut(index as usize)?.as_mut()?;
        let slot = &mut page.threads[place];
        debug_assert!(slot.is_none());
        page.used += 1;
        self.len += 1;
        let thread = slot.insert(make());
        thread.page = index;
        Some(thread)
    }

    /// Adds an empty page, and returns where it is.
    fn add_page(&mut self, number: u64) -> u32 {
        let page = self.empty.take().and_then(|empty| self.take_page(empty));
        let mut page = page.unwrap_or_default();
        page.number = number;
        let index = self.holes.pop().unwrap_or_else(|| {
            self.pages.push(None);
            u32::try_from(self.pages.len() - 1).expect("there is memory for fewer threads")
        });
        self.pages[index as usize] = Some(page);
        self.places.insert(number, index);
        index
    }

    fn take_page(&mut self, index: u32) -> Option<Box<Page>> {
        let page = self.pages.get_mut(index as usize)?.take()?;
        self.places.remove(&page.number);
        self.holes.push(index);
        Some(page)
    }

    #[inline]
    pub(super) fn get(&self, id: &ThreadId) -> Option<&Thread> {
        let (number, place) = place(*id);
        let index = *self.places.get(&number)?;
        self.pages[index as usize].as_ref()?.threads[place].as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: &ThreadId) -> Option<&mut Thread> {
        let (number, _) = place(*id);
        let index = *self.places.get(&number)?;
        self.get_on_mut(index, id)
    }

    /// Like [`get_mut`](Self::get_mut), for a thread that is on this page, or was.
    #[inline(always)]
    pub(super) fn get_near_mut(&mut self, page: u32, id: &ThreadId) -> Option<&mut Thread> {
        let (number, _) = place(*id);
        let is_there = |page: &Box<Page>| page.number == number;
        match self.pages.get(page as usize) {
            Some(there) if there.as_ref().is_some_and(is_there) => self.get_on_mut(page, id),
            _ => self.get_mut(id),
        }
    }

    #[inline(always)]
    fn get_on_mut(&mut self, page: u32, id: &ThreadId) -> Option<&mut Thread> {
        let (_, place) = place(*id);
        let page = self.pages.get_mut(page as usize)?.as_mut()?;
        page.threads[place].as_mut()
    }

    /// Removes a record, if `take` finds in it what is to be kept of it.
    #[inline]
    pub(super) fn remove<R>(
        &mut self,
        id: &ThreadId,
        take: impl FnOnce(&mut Thread) -> Option<R>,
    ) -> Option<R> {
        let (number, place) = place(*id);
        let index = *self.places.get(&number)?;
        let page = self.pages.get_mut(index as usize)?.as_mut()?;
        let slot = &mut page.threads[place];
        let taken = take(slot.as_mut()?)?;
        // Dropped where it is: it is large.
        *slot = None;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            let before = self.empty.replace(index);
            before.and_then(|before| self.take_page(before));
        }
        Some(taken)
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        self.pages.iter().flatten().flat_map(|page| {
            let first = page.number * PAGE as u64;
            let threads = (first..).zip(&page.threads);
            threads.filter_map(|(id, thread)| Some((ThreadId(id), thread.as_ref()?)))
        })
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        let pages = self.pages.iter_mut().flatten();
        pages.flat_map(|page| page.threads.iter_mut().flatten())
    }
}
