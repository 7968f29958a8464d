//! `--until`: the run ends when the guests that it names have ended.

use crate::settings::Setting;
use clap::Args;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::preempt::RemoteThread;
use wasmtime::{Result, ThreadId};

#[derive(Args, Clone, Debug)]
pub struct UntilArgs {
    /// End the run when this guest has ended, or all guests named this way if the option is
    /// repeated
    ///
    /// GUEST is a guest's name or number, as in the table. The other guests are then ended
    /// wherever they are, and reported as `ended`, which is no failure. A guest has ended if
    /// it has returned, exited or trapped, or is over a limit.
    #[arg(long, value_name = "GUEST")]
    until: Vec<String>,
}

impl UntilArgs {
    /// The indices of the guests that are waited for.
    ///
    /// # Errors
    ///
    /// If there is no such guest.
    pub fn guests(&self, guests: &[String]) -> Result<BTreeSet<usize>> {
        let mut chosen = BTreeSet::new();
        for text in &self.until {
            let setting = Setting {
                guest: Some(text.clone()),
                value: (),
                text: text.clone(),
            };
            chosen.extend(setting.guests("--until", guests)?);
        }
        Ok(chosen)
    }
}

/// Ends guests when others have ended. Clones share it.
#[derive(Clone, Default)]
pub struct Until(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The first threads of guests that are waited for.
    chosen: BTreeSet<ThreadId>,
    /// The first threads of the others.
    others: Vec<RemoteThread>,
    is_over: bool,
}

impl Until {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, the end of all `chosen` threads ends the `others`.
    pub fn set(&self, chosen: BTreeSet<ThreadId>, others: Vec<RemoteThread>) {
        *self.state() = State {
            chosen,
            others,
            is_over: false,
        };
    }

    /// A thread has ended.
    pub fn ended(&self, thread: ThreadId) {
        let mut state = self.state();
        if state.chosen.remove(&thread) && state.chosen.is_empty() {
            state.is_over = true;
            state.others.iter().for_each(RemoteThread::kill);
        }
    }

    /// Whether all guests that were waited for have ended.
    pub fn is_over(&self) -> bool {
        self.state().is_over
    }
}
