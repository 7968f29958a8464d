//! Locates a store's Wasm functions.
//!
//! A module has a table of its functions by code offset, and a list of those that poll for
//! safepoints, which live as long as the module and never change. So a store needs only a list of
//! its modules.
//!
//! Trampolines are not preempted: their frames are not what the stub expects, and they run
//! for only a few instructions.

use crate::Module;
use crate::module::ModuleRegistry;
use crate::prelude::*;
use core::ops::Range;
use wasmtime_environ::FuncKey;

/// A Wasm function.
pub(in crate::runtime::preempt) struct Function {
    pub(in crate::runtime::preempt) range: Range<usize>,
    /// Whether it polls for safepoints, and is stopped nowhere else by guest threads' signals: it
    /// may hold references to the GC heap (I3).
    pub(in crate::runtime::preempt) polls: bool,
}

/// The modules whose code may be preempted at any instruction. Immutable.
pub(in crate::runtime::preempt) struct Code {
    /// Sorted by address. Modules of one component share their code.
    modules: Vec<(Range<usize>, Module)>,
    /// How many of the store's modules this has seen.
    seen: usize,
}

impl Code {
    pub(in crate::runtime::preempt) fn new(registry: &ModuleRegistry) -> Code {
        let all = registry.modules.values();
        let mut modules: Vec<_> = all
            .map(|module| {
                let text = module.engine_code().text_range();
                (text.start.raw()..text.end.raw(), module.clone())
            })
            .collect();
        modules.sort_by_key(|(text, _)| text.start);
        Code {
            modules,
            seen: registry.modules.len(),
        }
    }

    /// Whether it has seen all current modules. Modules are never removed.
    #[inline]
    pub(in crate::runtime::preempt) fn is_current(&self, registry: &ModuleRegistry) -> bool {
        registry.modules.len() == self.seen
    }

    /// The function that contains `pc`. Called by the signal handler: it reads tables, and
    /// neither locks nor allocates.
    pub(in crate::runtime::preempt) fn function_at(&self, pc: usize) -> Option<Function> {
        let next = self.modules.partition_point(|(text, _)| text.start <= pc);
        let before = self.modules.get(..next)?;
        let mut of_it = before
            .iter()
            .rev()
            .take_while(|(text, _)| text.contains(&pc));
        of_it.find_map(|(text, module)| Function::of(module, pc, pc - text.start))
    }
}

impl Function {
    /// The function of `module` that contains `pc`, which is at `offset` in its code. As for
    /// [`Code::function_at`].
    pub(in crate::runtime::preempt) fn of(
        module: &Module,
        pc: usize,
        offset: usize,
    ) -> Option<Function> {
        let compiled = module.compiled_module();
        let index = compiled.func_by_text_offset(offset)?;
        let key = FuncKey::DefinedWasmFunction(compiled.module_index(), index);
        let range = compiled.function_range(key);
        let start = pc - offset;
        let polling = &compiled.module().polling_functions;
        range.contains(&offset).then(|| Function {
            range: start + range.start..start + range.end,
            polls: polling.binary_search(&index).is_ok(),
        })
    }
}
