//! Runs, here and on other OS threads, and what yet others do meanwhile.

use super::op::Meddle;
use super::thread::Work;
use super::world::World;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use wasmtime::preempt::{RemoteThread, ThreadState};
use wasmtime::*;

impl World {
    pub fn run(&mut self, time: Duration, elsewhere: bool, meanwhile: &[Meddle]) {
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

    pub fn run_async(&mut self, polls: u8) {
        let mut cx = Context::from_waker(Waker::noop());
        let ran = {
            let store = self.store.as_mut().expect("the store is back");
            let mut run = pin!(store.run_wasm_threads_async(Duration::from_micros(500)));
            (0..polls).find_map(|_| match run.as_mut().poll(&mut cx) {
                Poll::Ready(ran) => Some(ran),
                Poll::Pending => None,
            })
        };
        match ran {
            Some(ran) => self.check_run(&ran.expect("the source works on this host")),
            // One that kept the store is killed.
            None => {
                let all = self.threads.values_mut();
                all.filter(|thread| thread.work == Work::Keeps)
                    .for_each(|thread| thread.killed = true);
            }
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
        // One that goes on where the end of another run has paused it is not dispatched anew.
        assert!(ran.preemptions <= ran.dispatches + 1, "{ran:?}");
    }
}
