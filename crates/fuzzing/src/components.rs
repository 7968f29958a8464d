//! Calls of components as guest threads that take turns in a few instances: resources are lent and
//! given away, strings are passed both ways through a `realloc` that takes its time, and calls are
//! killed, suspended and over limits anywhere. Each call returns what it must, or ends as it may;
//! what was lent can be used and dropped; nothing outlives the store.

mod guests;
mod host;

use crate::polling::block_on;
use crate::source;
use arbitrary::{Result, Unstructured};
use guests::Guests;
use host::{Handle, Host};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Instance, InstancePre, Val};
use wasmtime::preempt::{ComponentThreadId, Preemption, ThreadState, TypedExit};
use wasmtime::*;

/// How many steps there are at most.
const STEPS: usize = 32;
const INSTANCES: usize = 3;

/// Longer than anything here takes.
const HANG: Duration = Duration::from_secs(120);

/// A call, and how it may end.
struct Call {
    thread: ComponentThreadId<Vec<Val>>,
    export: &'static str,
    instance: usize,
    n: u32,
    /// Lent or given to it.
    handle: Option<Handle>,
    killed: bool,
    limited: bool,
}

struct World {
    source: Preemption,
    counts_fuel: bool,
    store: Store<Host>,
    pre: InstancePre<Host>,
    instances: Vec<Instance>,
    /// Which instances calls have not left by returning.
    may_be_shut: [bool; INSTANCES],
    calls: Vec<Call>,
    /// How many resources calls that were ended may have left to their instances.
    may_be_left: usize,
}

const EXPORTS: [&str; 9] = [
    "sum", "lend", "give", "make", "echo", "ask", "nap", "spin", "trap",
];

pub fn run(data: &[u8]) {
    // An error means that there are no more choices.
    let _ = steps(&mut Unstructured::new(data));
}

fn steps(u: &mut Unstructured<'_>) -> Result<()> {
    let guests = Guests::choose(u)?;
    let mut world = World::new(&guests);
    let slice = source::slice(guests.source, u)?;
    let set = world.store.wasm_threads().set_slice(slice);
    set.expect("it is a valid slice");
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        world.step(u)?;
        world.check();
    }
    world.end();
    Ok(())
}

impl World {
    fn new(guests: &Guests) -> World {
        let mut store = Store::new(guests.engine, Host::default());
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            let made = block_on(guests.pre.instantiate_async(&mut store));
            instances.push(made.expect("all imports are defined"));
        }
        World {
            source: guests.source,
            counts_fuel: guests.source == Preemption::Fuel,
            store,
            pre: guests.pre.clone(),
            instances,
            may_be_shut: [false; INSTANCES],
            calls: Vec::new(),
            may_be_left: 0,
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0..=5 => self.spawn(u)?,
            6..=9 => {
                let time = Duration::from_micros(u.int_in_range(0..=1_000)?);
                let ran = self.store.run_wasm_threads_for(time);
                ran.expect("the source works on this host");
            }
            10 => self.with_call(u, |call, store| {
                call.killed = true;
                call.thread.id().kill(store)
            })?,
            11 => self.with_call(u, |call, store| call.thread.id().suspend(store))?,
            12 => self.with_call(u, |call, store| call.thread.id().resume(store))?,
            13 => self.take_exits(),
            14 => self.plain_call(u)?,
            _ => self.replace_instance(u)?,
        }
        Ok(())
    }

    fn spawn(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let export = *u.choose(&EXPORTS)?;
        let instance = u.int_in_range(0..=INSTANCES - 1)?;
        let n = u.int_in_range(1..=40)?;
        let limit = match u.ratio(1, 5)? {
            true => Some(u.int_in_range(1..=3_000)?),
            false => None,
        };
        if self.calls.len() >= 12 {
            return Ok(());
        }
        let mut options = ThreadOptions::new();
        if let Some(limit) = limit {
            options = match self.counts_fuel {
                true => options.fuel_limit(limit),
                false => options.cpu_limit(Duration::from_nanos(limit * 100)),
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
        Ok(())
    }

    /// Does something that is an error if the call has ended.
    fn with_call(
        &mut self,
        u: &mut Unstructured<'_>,
        does: impl FnOnce(&mut Call, &mut Store<Host>) -> wasmtime::Result<()>,
    ) -> Result<()> {
        let index: usize = u.arbitrary::<u8>()?.into();
        let Some(index) = index.checked_rem(self.calls.len()) else {
            return Ok(());
        };
        let call = &mut self.calls[index];
        let info = call.thread.id().info(&self.store);
        let live = info.expect("its exit is not taken").state != ThreadState::Finished;
        let killed = call.killed;
        assert_eq!(does(call, &mut self.store).is_ok(), live);
        if !live {
            call.killed = killed;
        }
        Ok(())
    }

    fn plain_call(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let index = u.int_in_range(0..=INSTANCES - 1)?;
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
        Ok(())
    }

    /// Puts a new one in the place of one that may be shut.
    fn replace_instance(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let index = u.int_in_range(0..=INSTANCES - 1)?;
        if self.calls.iter().all(|call| call.instance != index) {
            let made = block_on(self.pre.instantiate_async(&mut self.store));
            self.instances[index] = made.expect("there is room");
            self.may_be_shut[index] = false;
        }
        Ok(())
    }

    fn take_exits(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            match call.thread.take_exit(&mut self.store) {
                Some(exit) => self.ended(call, exit),
                None => self.calls.push(call),
            }
        }
    }

    /// The call ended as it may, and what was lent to it is the embedder's.
    fn ended(&mut self, call: Call, exit: TypedExit<Vec<Val>>) {
        let (export, n) = (call.export, call.n);
        let returned = matches!(exit, TypedExit::Returned(_));
        match exit {
            TypedExit::Returned(values) => {
                let rep = call.handle.as_ref().map_or(0, |handle| handle.rep);
                let expected = match export {
                    "sum" => vec![Val::U32(n * (n + 1) / 2)],
                    "lend" | "give" => vec![Val::U32(rep.wrapping_mul(n))],
                    "make" => vec![Val::U32(n)],
                    "echo" => vec![Val::String("x".repeat(2 * n as usize))],
                    "ask" => vec![Val::U32(n * host::NAME.len() as u32)],
                    "nap" => Vec::new(),
                    _ => panic!("{export} has returned"),
                };
                assert_eq!(values, expected, "{export}({n})");
            }
            TypedExit::Killed => assert!(call.killed, "nobody has killed {export}"),
            TypedExit::OverLimit(over) => assert!(call.limited, "{over}"),
            TypedExit::Trapped(error) if is_not_entered(&error) => {
                assert!(self.may_be_shut(call.instance, &call), "{error:?}");
            }
            TypedExit::Trapped(error) => {
                assert_eq!(export, "trap", "{error:?}");
                assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
            }
            exit => panic!("{exit:?}"),
        }
        if !returned {
            self.may_be_shut[call.instance] = true;
            self.may_be_left += 2;
        }
        if let Some(handle) = call.handle {
            let dropped = handle.delete(&mut self.store);
            match export {
                "lend" => dropped.expect("it was only lent"),
                // It is still the embedder's if the call had not begun.
                _ => assert!(dropped.is_err() || !returned, "it was given away"),
            }
        }
    }

    /// Whether a call in this instance may have ended without returning.
    fn may_be_shut(&self, instance: usize, but: &Call) -> bool {
        let may_fail =
            |call: &Call| call.killed || call.limited || matches!(call.export, "trap" | "spin");
        let others = self.calls.iter().any(|call| call.instance == instance);
        self.may_be_shut[instance] || may_fail(but) || others
    }

    /// What must be so between two runs.
    fn check(&mut self) {
        let unfinished = |info: preempt::ThreadInfo<'_>| info.state != ThreadState::Finished;
        let live = self
            .store
            .wasm_threads()
            .iter()
            .filter(|info| unfinished(*info));
        let live = live.count();
        assert_eq!(self.store.wasm_threads().len(), self.calls.len());
        if let Some(tasks) = self.store.concurrent_resource_table()
            && live == 0
        {
            assert!(tasks.is_empty(), "tasks are left over");
        }
        let held = self.calls.iter().filter(|call| call.handle.is_some());
        let held = held.count();
        let entries = self.store.data_mut().entries();
        // A call that is not over may have one of its own, and one that it was given.
        assert!(
            entries <= held + self.calls.len() + self.may_be_left,
            "{entries} resources"
        );
    }

    fn end(mut self) {
        for call in &mut self.calls {
            let id = call.thread.id();
            // An error means that it has finished.
            let _ = id.resume(&mut self.store);
            if call.export == "spin" && id.kill(&mut self.store).is_ok() {
                call.killed = true;
            }
        }
        let ran = self.store.run_wasm_threads_for(HANG);
        let ran = ran.expect("the source works on this host");
        assert_eq!(ran.end, RunEnd::AllFinished, "{:?}", self.source);
        self.take_exits();
        assert!(self.calls.is_empty());
        self.check();
        let token = self.store.data().token.clone();
        let engine = self.store.engine().clone();
        drop((self.store, engine));
        assert_eq!(Arc::strong_count(&token), 1, "something is left over");
    }
}

fn is_not_entered(error: &Error) -> bool {
    error.downcast_ref() == Some(&Trap::CannotEnterComponent)
}
