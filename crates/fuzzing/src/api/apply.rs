//! What is done to a store.

use super::guests::Host;
use super::op::Op;
use super::thread::Thread;
use super::world::{GROUP, World};
use crate::polling::block_on;
use preempt_policies::{EarliestDeadlineFirst, Pct, Priority, Random, WeightedFair};
use wasmtime::preempt::{ThreadParams, ThreadState};
use wasmtime::*;

impl World {
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Spawn(spawn) => self.spawn(spawn),
            Op::Run {
                time,
                elsewhere,
                meanwhile,
            } => self.run(time, elsewhere, &meanwhile),
            Op::RunAsync { polls } => self.run_async(polls),
            Op::Suspend(index) => {
                self.with_thread(
                    index,
                    |id, store| id.suspend(store),
                    |it| it.suspended = true,
                );
            }
            Op::Resume(index) => {
                self.with_thread(
                    index,
                    |id, store| id.resume(store),
                    |it| it.suspended = false,
                );
            }
            Op::Kill(index) => {
                self.with_thread(index, |id, store| id.kill(store), |it| it.killed = true);
            }
            Op::SetSlice(slice) => {
                let set = self.store().wasm_threads().set_slice(slice);
                set.expect("it is a valid slice");
            }
            Op::SetThreadSlice(index, slice) => {
                self.with_thread(index, |id, store| id.set_slice(store, slice), |_| {});
            }
            Op::SetParams {
                thread,
                weight,
                priority,
            } => {
                let mut params = ThreadParams::default();
                params.weight = weight.max(1);
                params.priority = priority;
                let set = |id: ThreadId, store: &mut Store<Host>| id.set_params(store, params);
                // It is in no group any more.
                self.with_thread(thread, set, |_| {});
            }
            Op::SetLimits(index, limits) => {
                let limits = self.possible(limits);
                let set =
                    |id: ThreadId, store: &mut Store<Host>| id.set_limits(store, limits.to_store());
                self.with_thread(index, set, |it| it.limits = limits);
            }
            Op::SetGroupLimits(limits) => {
                let limits = self.possible(limits);
                let mut threads = self.store().wasm_threads();
                let set = threads.set_group_limits(GROUP, limits.to_store());
                set.expect("they are valid");
                self.group_limits.push(limits);
            }
            Op::SetScheduler(which, seed) => self.set_scheduler(which, seed),
            Op::SetMaxThreads(max) => {
                let set = self.store().wasm_threads().set_max_threads(max);
                set.expect("there are threads");
                self.max_threads = max;
            }
            Op::SetMaxIdleStacks(max) => {
                let set = self.store().wasm_threads().set_max_idle_stacks(max);
                set.expect("there are threads");
            }
            Op::OwnMemories(own) => {
                let set = self.store().wasm_threads().set_own_all_memories(own);
                set.expect("there are threads");
            }
            Op::Open(tickets) => self.gate.open(tickets),
            Op::Notify(word) => {
                let notified = self.memory.atomic_notify(word * 4, 1);
                notified.expect("it is in bounds");
            }
            Op::TakeExits => self.take_exits(),
            Op::PlainCall(n) => self.plain_call(n),
            Op::Collect => {
                let collected = block_on(self.store().gc_async(None));
                collected.expect("no host function is pending");
            }
            Op::IncrementEpoch => self.guests.engine.increment_epoch(),
            Op::Shutdown => self.shut_down(),
            Op::Replace => {
                let new = World::new(self.guests);
                std::mem::replace(self, new).end();
            }
        }
    }

    /// Does something that is an error if the thread has ended.
    fn with_thread(
        &mut self,
        index: usize,
        does: impl FnOnce(ThreadId, &mut Store<Host>) -> Result<()>,
        then: impl FnOnce(&mut Thread),
    ) {
        let Some(id) = self.thread(index) else {
            return;
        };
        let live = self.is_live(id);
        let done = does(id, self.store());
        assert_eq!(done.is_ok(), live, "{id}: {done:?}");
        if let (true, Some(thread)) = (live, self.threads.get_mut(&id)) {
            then(thread);
        }
    }

    fn set_scheduler(&mut self, which: u8, seed: u64) {
        let mut threads = self.store().wasm_threads();
        match which % 6 {
            0 => threads.set_scheduler(Random::seeded(seed)),
            1 => threads.set_scheduler(Random::seeded(seed).slices(1..=100_000)),
            2 => threads.set_scheduler(Pct::new(seed, 16, 300, 3)),
            3 => threads.set_scheduler(WeightedFair::new(1_000)),
            4 => threads.set_scheduler(Priority::new(10_000)),
            _ => threads.set_scheduler(EarliestDeadlineFirst::new()),
        }
        .expect("there is no run");
        self.round_robin = false;
    }

    fn plain_call(&mut self, n: i64) {
        let stateless = self.stateless;
        let store = self.store();
        let sum = stateless.get_typed_func::<i64, i64>(&mut *store, "sum");
        let sum = sum.expect("it is exported");
        let sum = block_on(sum.call_async(store, n)).expect("it returns");
        assert_eq!(sum, n * (n + 1) / 2);
    }

    pub fn shut_down(&mut self) {
        let store = self.store.as_mut().expect("the store is back");
        let all = store.wasm_threads().iter();
        let live = all.filter(|info| info.state != ThreadState::Finished);
        let live = live.count();
        for thread in self.threads.values_mut() {
            thread.killed = true;
        }
        // Hooks may have killed some.
        assert!(self.store().shutdown_wasm_threads() <= live);
        let states = self.store().wasm_threads().iter().map(|info| info.state);
        assert!(
            states
                .into_iter()
                .all(|state| state == ThreadState::Finished)
        );
    }

    /// Those that have ended did so as they may.
    pub fn take_exits(&mut self) {
        self.note_killed_by_guests();
        let mut store = self.store.take().expect("the store is back");
        let group_limits = &self.group_limits;
        self.threads.retain(|id, thread| {
            let Some(exit) = id.take_exit(&mut store) else {
                return true;
            };
            thread.check_exit(&exit, group_limits);
            assert!(id.info(&store).is_none() && id.take_exit(&mut store).is_none());
            false
        });
        self.store = Some(store);
    }
}
