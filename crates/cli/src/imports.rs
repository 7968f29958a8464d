//! Whether a guest can import all that it imports.

use crate::names;
use crate::outline::Outline;
use crate::wasi::{self, Host};
use wasmtime::{ExternType, ImportType, Linker, Result, SharedMemory, Store, bail};
use wasmtime_preempt::imports;

/// Checks that `linker` has the imports of a guest, apart from those that each process gets
/// for itself.
///
/// # Errors
///
/// Names the imports that are missing, or one of another type.
pub fn check(
    store: &mut Store<Host>,
    guest: &Outline,
    is_process: bool,
    linker: &Linker<Host>,
) -> Result<()> {
    let missing: Vec<String> = guest
        .imports()
        .filter(|import| !(is_process && is_of_process(import)))
        .filter(|import| linker.get_by_import(&mut *store, import).is_none())
        .map(|import| names::name(&format!("{}::{}", import.module(), import.name())))
        .collect();
    if !missing.is_empty() {
        bail!(
            "it imports {}, which this command does not provide; guests can import WASI \
             preview 1 (`{}`) and `{}`{}",
            missing.join(", "),
            wasi::MODULE,
            imports::MODULE,
            match guest.imports().any(|i| is_of_process(&i)) && !is_process {
                true =>
                    ", and programs with a `_start` also shared memories and `wasi::thread-spawn`",
                false => "",
            }
        );
    }
    // Checks the types of the imports, with stand-ins for all others.
    let mut linker = linker.clone();
    if is_process {
        for import in guest.imports().filter(is_of_process) {
            if let ExternType::Memory(ty) = import.ty() {
                let memory = SharedMemory::new(store.engine(), ty)?;
                linker.define(&mut *store, import.module(), import.name(), memory)?;
            }
        }
    }
    linker.define_unknown_imports_as_traps(&guest.module)?;
    linker.instantiate_pre(&guest.module)?;
    Ok(())
}

/// Whether the host must make this import separately for each process.
pub fn is_of_process(import: &ImportType<'_>) -> bool {
    match import.ty() {
        ExternType::Memory(ty) => ty.is_shared(),
        _ => (import.module(), import.name()) == ("wasi", "thread-spawn"),
    }
}
