//! A store with instances of a component, and what is done to it.

use super::guests::Guests;
use super::host::{Handle, Host};
use super::op::{INSTANCES, Op, Spawn};
use crate::polling::block_on;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::component::{Instance, Val};
use wasmtime::preempt::{ComponentThreadId, Preemption, Slice, ThreadState};
use wasmtime::*;

/// How many calls there are at most, so that steps stay short.
const MOST: usize = 12;

/// A call, and how it may end.
pub struct Call {
    pub thread: ComponentThreadId<Vec<Val>>,
    pub export: &'static str,
    pub instance: usize,
    pub n: u32,
    /// Lent or given to it.
    pub handle: Option<Handle>,
    pub killed: bool,
    pub limited: bool,
}

pub struct World {
    pub guests: Guests,
    slice: Slice,
    pub store: Store<Host>,
    instances: Vec<Instance>,
    /// Which instances calls may have left otherwise than by returning.
    pub may_be_shut: [bool; INSTANCES],
    pub calls: Vec<Call>,
    /// How many resources calls that were ended may have left to their instances.
    pub may_be_left: usize,
}

impl World {
    pub fn new(guests: Guests, slice: Slice) -> World {
        let mut store = Store::new(guests.engine, Host::default());
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            let made = block_on(guests.pre.instantiate_async(&mut store));
            instances.push(made.expect("all imports are defined"));
        }
        let set = store.wasm_threads().set_slice(slice);
        set.expect("it is a valid slice");
        World {
            guests,
            slice,
            store,
            instances,
            may_be_shut: [false; INSTANCES],
            calls: Vec::new(),
            may_be_left: 0,
        }
    }

    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Spawn(spawn) => self.spawn(spawn),
            Op::Run(time) => {
                let ran = self.store.run_wasm_threads_for(time);
                ran.expect("the source works on this host");
            }
            Op::RunAsync { polls } => self.run_async(polls),
            Op::Kill(index) => {
                self.with_call(index, |id, store| id.kill(store), |it| it.killed = true);
            }
            Op::Suspend(index) => self.with_call(index, |id, store| id.suspend(store), |_| {}),
            Op::Resume(index) => self.with_call(index, |id, store| id.resume(store), |_| {}),
            Op::TakeExits => self.take_exits(),
            Op::PlainCall(index) => self.plain_call(index),
            Op::ReplaceInstance(index) => self.replace_instance(index),
            Op::Shutdown => self.shut_down(),
            Op::ReplaceStore => {
                let new = World::new(self.guests.clone(), self.slice);
                std::mem::replace(self, new).drop_store();
            }
        }
    }

    fn spawn(&mut self, spawn: Spawn) {
        let Spawn {
            export,
            instance,
            n,
            limit,
        } = spawn;
        if self.calls.len() >= MOST {
            return;
        }
        let mut options = ThreadOptions::new();
        if let Some(limit) = limit {
            options = match self.guests.source {
                Preemption::Fuel => options.fuel_limit(limit),
                _ => options.cpu_limit(Duration::from_nanos(limit * 100)),
            };
        }
        let handle = match export {
            "lend" | "give" => Some(Handle::new(&mut self.store)),
            _ => None,
        };
        let mut params = Vec::new();
        params.extend(handle.as_ref().map(|handle| Val::Resource(handle.any)));
        match export {
            "echo" => params.push(Val::String("x".repeat(n as usize))),
            "nap" | "spin" | "trap" => {}
            _ => params.push(Val::U32(n)),
        }
        let func = self.instances[instance].get_func(&mut self.store, export);
        let func = func.expect("it is exported");
        let thread = options.spawn_component(&mut self.store, func, &params);
        self.calls.push(Call {
            thread: thread.expect("components share nothing"),
            export,
            instance,
            n,
            handle,
            killed: false,
            limited: limit.is_some(),
        });
    }

    fn run_async(&mut self, polls: u8) {
        let mut cx = Context::from_waker(Waker::noop());
        let run = self
            .store
            .run_wasm_threads_async(Duration::from_micros(500));
        let mut run = pin!(run);
        for _ in 0..polls {
            if let Poll::Ready(ran) = run.as_mut().poll(&mut cx) {
                ran.expect("the source works on this host");
                return;
            }
        }
    }

    /// Does something that is an error if the call has ended.
    fn with_call(
        &mut self,
        index: usize,
        does: impl FnOnce(ThreadId, &mut Store<Host>) -> Result<()>,
        then: impl FnOnce(&mut Call),
    ) {
        let Some(index) = index.checked_rem(self.calls.len()) else {
            return;
        };
        let call = &mut self.calls[index];
        let id = call.thread.id();
        let info = call.thread.info(&self.store);
        let live = info.expect("its exit is not taken").state != ThreadState::Finished;
        let done = does(id, &mut self.store);
        assert_eq!(done.is_ok(), live, "{done:?}");
        if live {
            then(call);
        }
    }

    fn plain_call(&mut self, index: usize) {
        let is_entered = self.calls.iter().any(|call| call.instance == index);
        let store = &mut self.store;
        let sum = self.instances[index].get_typed_func::<(u32,), (u32,)>(&mut *store, "sum");
        let called = block_on(sum.expect("it is exported").call_async(store, (9,)));
        match called {
            Ok(sum) => assert_eq!(sum, (45,)),
            Err(error) => {
                assert!(is_not_entered(&error), "{error:?}");
                assert!(is_entered || self.may_be_shut[index], "nobody is in it");
            }
        }
    }

    fn shut_down(&mut self) {
        for call in &mut self.calls {
            call.killed = true;
        }
        self.store.shutdown_wasm_threads();
        let mut all = self.store.wasm_threads().iter();
        assert!(all.all(|info| info.state == ThreadState::Finished));
    }

    fn replace_instance(&mut self, index: usize) {
        if self.calls.iter().all(|call| call.instance != index) {
            let made = block_on(self.guests.pre.instantiate_async(&mut self.store));
            self.instances[index] = made.expect("there is room");
            self.may_be_shut[index] = false;
        }
    }
}

pub fn is_not_entered(error: &Error) -> bool {
    error.downcast_ref() == Some(&Trap::CannotEnterComponent)
}
