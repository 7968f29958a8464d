//! Requirements of every preemption source on an engine's configuration.

use super::slice::Preemption;
use crate::Config;
use crate::prelude::*;
use wasmtime_environ::Tunables;

/// The minimum distance from the limit where Wasm functions trap to the end of a guest
/// thread's stack: for their callees, including suspension. A stack overflow there would end
/// the process.
const MIN_HEADROOM: usize = 64 << 10;

/// # Errors
///
/// If the configuration does not support guest threads, naming what works.
pub(crate) fn ensure(config: &Config, preemption: Preemption, tunables: &Tunables) -> Result<()> {
    let (stack, wasm) = (config.async_stack_size, config.max_wasm_stack);
    ensure!(
        stack.saturating_sub(wasm) >= MIN_HEADROOM,
        "`{preemption}` needs {MIN_HEADROOM} bytes of stack below the guest's: an \
         `async_stack_size` of {stack} is too little for a `max_wasm_stack` of {wasm}",
    );
    ensure!(
        !tunables.debug_guest,
        "`{preemption}` cannot be had with `Config::guest_debug`: a debugger's handler is \
         called from asynchronous calls only; use `Func::call_async` without preemption"
    );
    Ok(())
}
