//! Whether this machine and an engine's configuration can preempt by signals.
//!
//! Each refusal names the obstacle, and the setting or the mode that works.

use super::arch::{WITHOUT_SHADOW_STACK, shadow_stacks_are_on};
use crate::Config;
use crate::prelude::*;
use wasmparser::WasmFeatures;
use wasmtime_environ::Tunables;

/// Whether this machine supports it at all.
pub(crate) fn works_here() -> bool {
    !shadow_stacks_are_on()
}

/// Checks that a configuration supports `Preemption::Signal`.
///
/// # Errors
///
/// If it does not, naming what works.
pub(crate) fn ensure(config: &Config, tunables: &Tunables, features: WasmFeatures) -> Result<()> {
    ensure_stub_works(
        config,
        tunables,
        features,
        "`Preemption::Signal`",
        "`Preemption::Epoch`",
    )
}

/// Checks that code of an engine with this configuration can be made to call the stub. `what`
/// needs that, and `instead` does not.
///
/// # Errors
///
/// If it cannot.
pub(in crate::runtime::preempt) fn ensure_stub_works(
    config: &Config,
    tunables: &Tunables,
    features: WasmFeatures,
    what: &str,
    instead: &str,
) -> Result<()> {
    let target = config.compiler_target();
    ensure!(
        target == target_lexicon::Triple::host(),
        "{what} runs native code of this machine only, not code for `{target}`: use {instead}, \
         or leave `Config::target` alone",
    );
    ensure!(
        !tunables.winch_callable,
        "{what} does not know the frames of Winch's code: use `Strategy::Cranelift`, or {instead}"
    );
    ensure!(
        !features.contains(WasmFeatures::STACK_SWITCHING),
        "{what} does not know the stacks of `Config::wasm_stack_switching`: do not enable it, or \
         use {instead}"
    );
    ensure!(
        !shadow_stacks_are_on(),
        "{what} returns to where no call was made, which the hardware shadow stack of this \
         process forbids: turn it off ({WITHOUT_SHADOW_STACK}), or use {instead}"
    );
    Ok(())
}
