//! How calls may end, and what must hold between two steps and in the end.

use super::host;
use super::world::{Call, World, is_not_entered};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Val;
use wasmtime::preempt::{ThreadState, TypedExit};
use wasmtime::*;

/// Longer than anything here takes.
const HANG: Duration = Duration::from_secs(120);

impl World {
    pub fn take_exits(&mut self) {
        let mut ended = Vec::new();
        for call in std::mem::take(&mut self.calls) {
            match call.thread.take_exit(&mut self.store) {
                Some(exit) => ended.push((call, exit)),
                None => self.calls.push(call),
            }
        }
        // All of them, as one that could not enter may have been made before one that failed.
        for (call, exit) in &ended {
            self.may_be_shut[call.instance] |= match exit {
                TypedExit::Returned(_) => false,
                TypedExit::Trapped(error) => !is_not_entered(error),
                _ => true,
            };
        }
        for (call, exit) in ended {
            self.ended(call, exit);
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
                assert!(self.may_be_shut[call.instance], "{error:?}");
            }
            TypedExit::Trapped(error) => {
                assert_eq!(export, "trap", "{error:?}");
                assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
            }
            exit => panic!("{exit:?}"),
        }
        if !returned {
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

    /// What must be so between two runs.
    pub fn check(&mut self) {
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

    pub fn end(mut self) {
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
        assert_eq!(ran.end, RunEnd::AllFinished, "{:?}", self.guests.source);
        self.take_exits();
        assert!(self.calls.is_empty());
        self.check();
        self.drop_store();
    }

    /// Whatever its calls are doing. Nothing is left over.
    pub fn drop_store(self) {
        let token = self.store.data().token.clone();
        drop(self.store);
        assert_eq!(Arc::strong_count(&token), 1, "something is left over");
    }
}
