//! What guests can import: modules WASI preview 1, and `preempt` for guests that know about
//! guest threads; components WASI 0.2, with `wasi:http`.

mod by_thread;
mod chance;
mod context;
mod dirs;
mod network;
mod outgoing;
mod sleepless;
mod stdio;
mod taker;
mod variable;

pub use by_thread::{Contexts, HANDLES};
pub use chance::Chance;
pub use context::{ContextBuilder, WasiArgs};
pub use dirs::Dir;
pub use outgoing::Outgoing;
pub use taker::Taker;
pub use variable::variable;

use crate::memory::Memory;
use crate::until::Until;
use wasmtime::component::Linker as ComponentLinker;
use wasmtime::{Engine, Linker, Result};
use wasmtime_preempt::imports;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

/// The module that WASI preview 1 guests import.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// The data of the Store: a context for each guest that imports WASI, how much memory each
/// guest has, and which guests end the run.
#[derive(Default)]
pub struct Host {
    contexts: Vec<WasiP1Ctx>,
    pub components: Contexts,
    pub memory: Memory,
    pub until: Until,
}

impl Host {
    /// A linker for one module, whose WASI imports act on `context`.
    pub fn linker(
        &mut self,
        engine: &Engine,
        context: Option<WasiCtxBuilder>,
    ) -> Result<Linker<Host>> {
        let mut linker = Linker::new(engine);
        imports::add_to_linker(&mut linker)?;
        if let Some(mut context) = context {
            let index = self.contexts.len();
            self.contexts.push(context.build_p1());
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

/// A linker for all components, each of which acts on the context of its own thread.
/// `is_repeated` tells whether time is virtual.
///
/// # Errors
///
/// If an interface cannot be defined.
pub fn component_linker(engine: &Engine, is_repeated: bool) -> Result<ComponentLinker<Host>> {
    let mut linker = ComponentLinker::new(engine);
    preempt_wasi::p2::add_to_linker(&mut linker)?;
    preempt_wasi::http::add_to_linker(&mut linker)?;
    if is_repeated {
        sleepless::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
