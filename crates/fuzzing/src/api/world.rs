//! A store, and what is known of it.

use super::gate::Gate;
use super::guests::{self, Guests, Host};
use super::op::{Hook, Meddle, Op, Spawn};
use super::thread::{Limits, Thread, Work};
use crate::polling::block_on;
use preempt_policies::{EarliestDeadlineFirst, Pct, Priority, Random, WeightedFair};
use preempt_trace::check::{Checker, Order};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use wasmtime::preempt::{RemoteThread, ThreadParams, ThreadState, Trace};
use wasmtime::*;

/// How many threads there are at most, so that steps stay short.
const MOST: usize = 24;

/// Room for the events between two steps. Older ones are lost.
const EVENTS: usize = 1 << 12;

/// The only group.
const GROUP: u64 = 1;

pub struct World {
    guests: Guests,
    /// `None` while another OS thread has it.
    store: Option<Store<Host>>,
    stateless: Instance,
    stateful: Instance,
    memory: SharedMemory,
    gate: Gate,
    killed: Arc<Mutex<Vec<u64>>>,
    token: Arc<()>,
    /// Those whose exits were not taken, and detached ones.
    threads: BTreeMap<ThreadId, Thread>,
    /// That the group has had.
    group_limits: Vec<Limits>,
    max_threads: usize,
    round_robin: bool,
    trace: Trace,
}

impl World {
    pub fn new(guests: Guests) -> World {
        let host = Host {
            gate: Gate::default(),
            killed: Arc::default(),
            token: Arc::default(),
        };
        let (gate, killed) = (host.gate.clone(), host.killed.clone());
        let token = host.token.clone();
        let mut store = Store::new(guests.engine, host);
        store.set_epoch_deadline(1 << 40);
        if guests.has_budget {
            store.set_fuel(u64::MAX).expect("the engine counts fuel");
        }
        store
            .wasm_threads()
            .set_trace(EVENTS)
            .expect("there is room");
        store
            .wasm_threads()
            .set_soft_limit_hook(|_, _| Ok(()))
            .expect("there are threads");

        let memory = SharedMemory::new(guests.engine, MemoryType::shared(1, 1));
        let memory = memory.expect("there is room");
        let mut linker = Linker::new(guests.engine);
        guests::define(&mut linker).expect("each is defined once");
        let defined = linker.define(&store, "", "memory", memory.clone());
        defined.expect("it is defined once");
        let mut instantiate = |module| {
            let instance = block_on(linker.instantiate_async(&mut store, module));
            instance.expect("all imports are defined")
        };
        let stateless = instantiate(guests.stateless);
        let stateful = instantiate(guests.stateful);
        World {
            guests,
            store: Some(store),
            stateless,
            stateful,
            memory,
            gate,
            killed,
            token,
            threads: BTreeMap::new(),
            group_limits: Vec::new(),
            max_threads: usize::MAX,
            round_robin: true,
            trace: Trace {
                fuel: guests.source == Preemption::Fuel,
                ..Trace::default()
            },
        }
    }

    fn store(&mut self) -> &mut Store<Host> {
        self.store.as_mut().expect("the store is back")
    }

    /// One of the threads, if there are any.
    fn thread(&self, index: usize) -> Option<ThreadId> {
        let ids = self.threads.keys();
        ids.copied().nth(index.checked_rem(self.threads.len())?)
    }

    fn is_live(&mut self, id: ThreadId) -> bool {
        let info = id.info(&*self.store());
        info.is_some_and(|info| info.state != ThreadState::Finished)
    }

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

    /// Without fuel if it is not counted.
    fn possible(&self, limits: Limits) -> Limits {
        match self.guests.counts_fuel() {
            true => limits,
            false => Limits {
                fuel: None,
                soft_fuel: None,
                ..limits
            },
        }
    }

    fn spawn(&mut self, spawn: Spawn) {
        if self.threads.len() >= MOST {
            return;
        }
        let Spawn { work, n, .. } = spawn;
        let n = match work {
            // Itself and nobody, too.
            Work::Join | Work::Kill => {
                let last = self.threads.keys().last().map_or(1, |id| id.as_u64());
                (last + 2).saturating_sub(u64::from(n % 6)) as i64
            }
            _ => n.into(),
        };
        let limits = self.possible(spawn.limits);
        let mut options = ThreadOptions::new()
            .name(work.export())
            .detached(spawn.detached)
            .weight(spawn.weight)
            .priority(spawn.priority)
            .limits(limits.to_store());
        if let Some(slice) = spawn.slice {
            options = options.slice(slice);
        }
        if spawn.grouped {
            options = options.group(GROUP);
        }
        if let Some(ticks) = spawn.deadline {
            options = options.deadline(ticks);
        }
        let instance = match work {
            Work::Count => self.stateful,
            _ => self.stateless,
        };
        let taken = work == Work::Count && self.somebody_counts();
        let (max, stateless) = (self.max_threads, self.stateless);
        let victim = match spawn.hook {
            Some(Hook::KillAnother(index)) => self.thread(index),
            _ => None,
        };
        let killed = self.killed.clone();
        let token = self.token.clone();

        let store = self.store();
        let room = store.wasm_threads().len() < max;
        let func = instance.get_func(&mut *store, work.export());
        let func = func.expect("it is exported");
        let spawned = options.spawn(&mut *store, func, &[Val::I64(n)]);
        assert_eq!(spawned.is_ok(), room && !taken, "{work:?}: {spawned:?}");
        let Ok(id) = spawned else {
            return;
        };
        let ended = spawn.hook.map(|hook| {
            let ended = Arc::new(AtomicUsize::new(0));
            let count = ended.clone();
            let set = id.on_exit(&mut *store, move |mut store, of| {
                assert_eq!(of, id);
                count.fetch_add(1, Ordering::SeqCst);
                match hook {
                    Hook::Count => {}
                    Hook::KillAnother(_) => {
                        if let Some(victim) = victim
                            && victim.kill(&mut store).is_ok()
                        {
                            note_killed(&killed, victim);
                        }
                    }
                    Hook::Spawn => {
                        let sum = stateless.get_func(&mut store, "sum");
                        let options = ThreadOptions::new().name("child").detached(true);
                        // An error in a shutdown, and if there are too many.
                        let _ = options.spawn(&mut store, sum.expect("it is"), &[Val::I64(5)]);
                    }
                }
                drop(token);
            });
            set.expect("it has not finished");
            ended
        });
        self.threads.insert(
            id,
            Thread {
                work,
                n,
                detached: spawn.detached,
                suspended: false,
                killed: false,
                limits,
                ended,
                stats: Default::default(),
            },
        );
    }

    fn somebody_counts(&mut self) -> bool {
        let store = self.store.as_mut().expect("the store is back");
        let mut all = store.wasm_threads().iter();
        all.any(|info| info.name == Some("count") && info.state != ThreadState::Finished)
    }

    fn run(&mut self, time: Duration, elsewhere: bool, meanwhile: &[Meddle]) {
        let remote: Vec<(Meddle, Option<RemoteThread>)> = meanwhile
            .iter()
            .map(|&meddle| (meddle, self.remote(meddle)))
            .collect();
        let (engine, gate, memory) = (self.guests.engine, &self.gate, &self.memory);
        let mut store = self.store.take().expect("the store is back");
        let ran = thread::scope(|scope| {
            if !remote.is_empty() {
                scope.spawn(move || {
                    for (meddle, thread) in remote {
                        match (meddle, thread) {
                            (Meddle::Kill(_), Some(thread)) => thread.kill(),
                            (Meddle::PreemptNow(_), Some(thread)) => thread.preempt_now(),
                            (Meddle::IncrementEpoch, _) => engine.increment_epoch(),
                            (Meddle::Open, _) => gate.open(1),
                            (Meddle::Notify(word), _) => {
                                memory.atomic_notify(word * 4, 1).expect("in bounds");
                            }
                            (Meddle::Pause(time), _) => thread::sleep(time),
                            _ => {}
                        }
                    }
                });
            }
            match elsewhere {
                true => {
                    let run = scope.spawn(|| store.run_wasm_threads_for(time));
                    run.join().expect("it does not panic")
                }
                false => store.run_wasm_threads_for(time),
            }
        });
        self.store = Some(store);
        self.check_run(&ran.expect("the source works on this host"));
    }

    /// A handle of the thread that is meant. If that is to be killed, it may end so from now on.
    fn remote(&mut self, meddle: Meddle) -> Option<RemoteThread> {
        let (Meddle::Kill(index) | Meddle::PreemptNow(index)) = meddle else {
            return None;
        };
        let id = self.thread(index)?;
        let live = self.is_live(id);
        let remote = id.remote(self.store());
        assert_eq!(remote.is_ok(), live);
        if let (Meddle::Kill(_), Some(thread)) = (meddle, self.threads.get_mut(&id)) {
            thread.killed = true;
        }
        remote.ok()
    }

    fn run_async(&mut self, polls: u8) {
        let mut cx = Context::from_waker(Waker::noop());
        let ran = {
            let store = self.store.as_mut().expect("the store is back");
            let mut run = pin!(store.run_wasm_threads_async(Duration::from_micros(500)));
            (0..polls).find_map(|_| match run.as_mut().poll(&mut cx) {
                Poll::Ready(ran) => Some(ran),
                Poll::Pending => None,
            })
        };
        if let Some(ran) = ran {
            self.check_run(&ran.expect("the source works on this host"));
        }
    }

    /// It ended for a reason that there was.
    fn check_run(&mut self, ran: &RunSummary) {
        let store = self.store.as_mut().expect("the store is back");
        let unfinished: Vec<_> = store
            .wasm_threads()
            .iter()
            .filter(|info| info.state != ThreadState::Finished)
            .map(|info| (info.id, info.state))
            .collect();
        let nobody_is = |state| unfinished.iter().all(|(_, is)| *is != state);
        match ran.end {
            RunEnd::AllFinished => assert!(unfinished.is_empty(), "{unfinished:?}"),
            RunEnd::AllSuspended => {
                assert!(nobody_is(ThreadState::Ready), "{unfinished:?}");
                assert!(!nobody_is(ThreadState::Suspended), "{unfinished:?}");
            }
            RunEnd::Deadlock => {
                let stuck: Vec<_> = ran.deadlocked.iter().map(|(id, _)| *id).collect();
                let parked: Vec<_> = unfinished.iter().map(|(id, _)| *id).collect();
                assert_eq!(stuck, parked, "{unfinished:?}");
                assert!(nobody_is(ThreadState::Ready) && nobody_is(ThreadState::Suspended));
                for id in stuck {
                    let thread = self.threads.get(&id);
                    assert!(thread.is_some_and(|thread| thread.work.may_be_stuck()));
                }
            }
            _ => {}
        }
        assert!(ran.preemptions <= ran.dispatches, "{ran:?}");
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

    fn shut_down(&mut self) {
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
    fn take_exits(&mut self) {
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

    fn note_killed_by_guests(&mut self) {
        let killed = self.killed.clone();
        for id in killed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            if let Some(thread) = self.threads.get_mut(&ThreadId::from_u64(id)) {
                thread.killed = true;
            }
        }
    }

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

    fn check_trace(&mut self, all_finished: bool) {
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

fn note_killed(killed: &Mutex<Vec<u64>>, id: ThreadId) {
    let mut killed = killed.lock().unwrap_or_else(PoisonError::into_inner);
    killed.push(id.as_u64());
}
