//! What must hold between two steps, and in the end.

use super::world::World;
use preempt_trace::check::{Checker, Order};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl World {
    /// What the store says is what must be so.
    pub fn check(&mut self) {
        self.note_killed_by_guests();
        let mut store = self.store.take().expect("the store is back");
        assert_eq!(store.wasm_threads().current(), None);
        assert_eq!(
            store.wasm_threads().len(),
            store.wasm_threads().iter().count()
        );
        for info in store.wasm_threads().iter() {
            match self.threads.get_mut(&info.id) {
                Some(thread) => thread.check(&info),
                None => assert_eq!(info.name, Some("child"), "{info:?}"),
            }
        }
        self.threads.retain(|id, thread| {
            let there = id.info(&store).is_some();
            assert!(there || thread.detached, "{id} is lost");
            if let (false, Some(ended)) = (there, &thread.ended) {
                assert_eq!(ended.load(Ordering::SeqCst), 1);
            }
            there
        });
        self.store = Some(store);
        self.check_trace(false);
    }

    pub fn check_trace(&mut self, all_finished: bool) {
        let trace = self.store().wasm_threads().take_trace();
        let trace = trace.expect("it is recorded");
        if trace.lost > 0 {
            self.trace.events.clear();
            self.trace.lost += trace.lost;
        }
        self.trace.events.extend(trace.events);
        let mut checker = Checker::new()
            .tolerance(u64::MAX)
            .all_finished(all_finished);
        if self.round_robin {
            checker = checker.order(Order::RoundRobin);
        }
        let report = checker.check(&self.trace);
        assert!(report.is_ok(), "{report}");
    }

    /// Drops the store. Nothing is left over.
    pub fn end(mut self) {
        self.check();
        if self.threads.len().is_multiple_of(2) {
            self.shut_down();
            self.check_trace(true);
            self.take_exits();
            self.check();
            assert!(self.threads.is_empty());
        }
        drop(self.store.take());
        for thread in self.threads.values() {
            if let Some(ended) = &thread.ended {
                assert_eq!(
                    ended.load(Ordering::SeqCst),
                    1,
                    "the hook of {:?}",
                    thread.work
                );
            }
        }
        assert_eq!(Arc::strong_count(&self.token), 1, "something is left over");
    }
}
