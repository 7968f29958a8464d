//! New threads, and their hooks.

use super::op::{Hook, Spawn};
use super::thread::{Thread, Work};
use super::world::{GROUP, World};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::preempt::ThreadState;
use wasmtime::*;

/// How many threads there are at most, so that steps stay short.
const MOST: usize = 24;

impl World {
    pub fn spawn(&mut self, spawn: Spawn) {
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
}

fn note_killed(killed: &Mutex<Vec<u64>>, id: ThreadId) {
    let mut killed = killed.lock().unwrap_or_else(PoisonError::into_inner);
    killed.push(id.as_u64());
}
