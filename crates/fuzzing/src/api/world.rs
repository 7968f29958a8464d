//! A store, and what is known of it.

use super::gate::Gate;
use super::guests::{self, Guests, Host};
use super::thread::{Limits, Thread};
use crate::polling::block_on;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::preempt::{Preemption, ThreadState, Trace};
use wasmtime::*;

/// Room for the events between two steps. Older ones are lost.
const EVENTS: usize = 1 << 12;

/// The only group.
pub const GROUP: u64 = 1;

pub struct World {
    pub guests: Guests,
    /// `None` while another OS thread has it.
    pub store: Option<Store<Host>>,
    pub stateless: Instance,
    pub stateful: Instance,
    pub memory: SharedMemory,
    pub gate: Gate,
    pub killed: Arc<Mutex<Vec<u64>>>,
    pub token: Arc<()>,
    /// Those whose exits were not taken, and detached ones.
    pub threads: BTreeMap<ThreadId, Thread>,
    /// That the group has had.
    pub group_limits: Vec<Limits>,
    pub max_threads: usize,
    pub round_robin: bool,
    pub trace: Trace,
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

    pub fn store(&mut self) -> &mut Store<Host> {
        self.store.as_mut().expect("the store is back")
    }

    /// One of the threads, if there are any.
    pub fn thread(&self, index: usize) -> Option<ThreadId> {
        let ids = self.threads.keys();
        ids.copied().nth(index.checked_rem(self.threads.len())?)
    }

    pub fn is_live(&mut self, id: ThreadId) -> bool {
        let info = id.info(&*self.store());
        info.is_some_and(|info| info.state != ThreadState::Finished)
    }

    /// Without fuel if it is not counted.
    pub fn possible(&self, limits: Limits) -> Limits {
        match self.guests.counts_fuel() {
            true => limits,
            false => Limits {
                fuel: None,
                soft_fuel: None,
                ..limits
            },
        }
    }

    pub fn note_killed_by_guests(&mut self) {
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
}
