//! Two guest threads that spin, and say when they get the CPU.
//!
//! A guest cannot read a clock, and calls of the host would not leave it in Wasm
//! for long. So each turn of its loop looks at a cell of its memory, which says how
//! often it is to call the host: nearly never. Whoever wants to know when a
//! suspended thread gets the CPU writes to its cell. The thread then calls the host
//! at the end of the turn in which it was suspended: a few instructions after its
//! first one.

use super::runtime_timer::{Expiry, RuntimeTimer};
use crate::guest::{self, Stacks};
use crate::os::taken_off_core;
use std::time::{Duration, Instant};
use wasmtime::{
    Caller, Extern, Func, Instance, Memory, Module, Preemption, Result, RunSummary, Slice, Store,
    ThreadOptions, bail,
};

/// What the threads do in each turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// They count, in their memory.
    Wasm,
    /// They call a host function that does nothing.
    HostCalls,
}

const GUEST: &str = r#"(module
    (import "" "stamp" (func $stamp (param i32 i32)))
    (import "" "host" (func $host))
    ;; At 0, how many stamps are wanted. At 64, the count.
    (memory (export "memory") 1 1)

    (func (export "wasm") (param $me i32)
        (loop $turn
            (i32.store offset=64 (i32.const 0)
                (i32.add (i32.load offset=64 (i32.const 0)) (i32.const 1)))
            (br_if $turn (i32.eqz (i32.load (i32.const 0))))
            (i32.store (i32.const 0)
                (i32.sub (i32.load (i32.const 0)) (i32.const 1)))
            (call $stamp (local.get $me) (i32.load (i32.const 0)))
            (br $turn)))

    (func (export "host calls") (param $me i32)
        (loop $turn
            (call $host)
            (br_if $turn (i32.eqz (i32.load (i32.const 0))))
            (i32.store (i32.const 0)
                (i32.sub (i32.load (i32.const 0)) (i32.const 1)))
            (call $stamp (local.get $me) (i32.load (i32.const 0)))
            (br $turn))))"#;

/// That a thread was on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Which of the two.
    pub who: usize,
    pub at: Instant,
    /// Of the last one that was asked for: the others take no longer than needed.
    pub circumstances: Option<Circumstances>,
}

impl Stamp {
    pub fn taken_off_core(&self) -> Option<i64> {
        Some(self.circumstances?.taken_off_core)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// How often the OS had taken the core away by then.
    pub taken_off_core: i64,
    /// When the timer will expire, if `Spinners::watch_timer` was called.
    pub expiry: Option<Expiry>,
}

pub struct Spinners {
    store: Store<Host>,
}

struct Host {
    memories: Vec<Memory>,
    stamps: Vec<Stamp>,
    /// Whether a thread that stamps asks its sibling to do so.
    in_turns: bool,
    timer: Option<RuntimeTimer>,
}

impl Spinners {
    pub fn new(preemption: Preemption, slice: Duration, work: Work) -> Result<Spinners> {
        let engine = guest::engine(preemption, Stacks::OnDemand)?;
        let module = Module::new(&engine, GUEST)?;
        let mut store = Store::new(
            &engine,
            Host {
                memories: Vec::new(),
                stamps: Vec::new(),
                in_turns: false,
                timer: None,
            },
        );
        store.wasm_threads().set_slice(Slice::Time(slice))?;
        let imports: [Extern; 2] = [
            Func::wrap(&mut store, stamp).into(),
            Func::wrap(&mut store, || {}).into(),
        ];
        for who in 0..2 {
            let instance = Instance::new(&mut store, &module, &imports)?;
            let name = match work {
                Work::Wasm => "wasm",
                Work::HostCalls => "host calls",
            };
            let run = instance.get_typed_func::<i32, ()>(&mut store, name)?;
            let Some(memory) = instance.get_memory(&mut store, "memory") else {
                bail!("the guest does not export its memory");
            };
            store.data_mut().memories.push(memory);
            ThreadOptions::new().spawn_typed(&mut store, &run, who)?;
        }
        Ok(Spinners { store })
    }

    /// Asks both threads for so many stamps, one after the other.
    pub fn ask(&mut self, stamps: u8) -> Result<()> {
        for who in 0..2 {
            let memory = self.store.data().memories[who];
            memory.write(&mut self.store, 0, &[stamps, 0, 0, 0])?;
        }
        Ok(())
    }

    /// From now on, each stamp says when the timer will expire. To be called after a
    /// run on the same OS thread, and under signals.
    pub fn watch_timer(&mut self) -> Result<()> {
        self.store.data_mut().timer = Some(RuntimeTimer::find()?);
        Ok(())
    }

    pub fn watches_timer(&self) -> bool {
        self.store.data().timer.is_some()
    }

    /// From now on, asks a thread for a stamp whenever its sibling has made one.
    pub fn in_turns(&mut self) -> Result<()> {
        self.store.data_mut().in_turns = true;
        self.ask(1)
    }

    pub fn run(&mut self, time: Duration) -> Result<RunSummary> {
        self.store.run_wasm_threads_for(time)
    }

    /// The stamps since they were taken last, in order.
    pub fn stamps(&self) -> &[Stamp] {
        &self.store.data().stamps
    }

    pub fn clear(&mut self) {
        self.store.data_mut().stamps.clear();
    }
}

fn stamp(mut caller: Caller<'_, Host>, who: i32, left: i32) -> Result<()> {
    let at = Instant::now();
    let who = usize::from(who != 0);
    let host = caller.data_mut();
    let circumstances = if left == 0 {
        Some(Circumstances {
            taken_off_core: taken_off_core()?,
            expiry: host.timer.and_then(RuntimeTimer::expiry),
        })
    } else {
        None
    };
    host.stamps.push(Stamp {
        who,
        at,
        circumstances,
    });
    if host.in_turns {
        let sibling = host.memories[1 - who];
        sibling.write(&mut caller, 0, &[1, 0, 0, 0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slice_begins_with_a_stamp() -> Result<()> {
        for work in [Work::Wasm, Work::HostCalls] {
            let slice = Duration::from_millis(1);
            let mut spinners = Spinners::new(Preemption::Signal, slice, work)?;
            spinners.in_turns()?;
            let mut dispatches = 0;
            while spinners.stamps().len() <= 10 {
                dispatches += spinners.run(50 * slice)?.dispatches;
            }
            let stamps = spinners.stamps();
            assert!(stamps.len() as u64 <= dispatches, "{dispatches}");
            let mut whole = 0;
            for pair in stamps.windows(2) {
                assert_ne!(pair[0].who, pair[1].who);
                // A stamp is late where the OS has taken the core away before it.
                whole += usize::from(pair[1].at - pair[0].at >= slice);
            }
            assert!(whole * 2 > stamps.len(), "{stamps:?}");
        }
        Ok(())
    }
}
