//! What guests can import: WASI preview 1, and `preempt` for guests that know about guest
//! threads.

mod chance;
mod context;
mod dirs;
mod stdio;

pub use chance::Chance;
pub use context::WasiArgs;

use crate::memory::Memory;
use crate::until::Until;
use wasmtime::{Engine, Linker, Result};
use wasmtime_preempt::imports;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::WasiP1Ctx;

/// The module that WASI preview 1 guests import.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// The data of the Store: a context for each guest that imports WASI, how much memory each
/// guest has, and which guests end the run.
#[derive(Default)]
pub struct Host {
    contexts: Vec<WasiP1Ctx>,
    pub memory: Memory,
    pub until: Until,
}

impl Host {
    /// A linker for one guest, whose WASI imports act on `context`.
    pub fn linker(&mut self, engine: &Engine, context: Option<WasiP1Ctx>) -> Result<Linker<Host>> {
        let mut linker = Linker::new(engine);
        imports::add_to_linker(&mut linker)?;
        if let Some(context) = context {
            let index = self.contexts.len();
            self.contexts.push(context);
            preempt_wasi::p1::add_to_linker(&mut linker, move |host: &mut Host| {
                &mut host.contexts[index]
            })?;
            // Upstream's rejects a status of 126 or above.
            linker.allow_shadowing(true);
            linker.func_wrap(MODULE, "proc_exit", |status: i32| -> Result<()> {
                Err(I32Exit(status).into())
            })?;
            linker.allow_shadowing(false);
        }
        Ok(linker)
    }
}
