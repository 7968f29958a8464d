//! Where a store's Wasm functions are.
//!
//! A module has a table of its functions, by their places in its code, which is there as long
//! as the module and never changes. So a store needs no list but one of its modules.
//!
//! Trampolines are not preempted: their frames are not what the stub makes of them,
//! and they run for a few instructions only.

use crate::Module;
use crate::module::ModuleRegistry;
use crate::prelude::*;
use core::ops::Range;

/// The modules whose code may be preempted at any instruction. Immutable.
pub(in crate::runtime::preempt) struct Code {
    /// By address. Those of a component share their code.
    modules: Vec<(Range<usize>, Module)>,
    /// How many modules of the store this has looked at.
    seen: usize,
}

impl Code {
    /// Those modules that nothing can move under (I4). Those are
    /// all, where there are guest threads.
    pub(super) fn new(registry: &ModuleRegistry) -> Code {
        let all = registry.all_modules().map(|(_, module)| module);
        let mut modules: Vec<_> = all
            .filter(|module| ensure_nothing_moves(module).is_ok())
            .map(|module| {
                let text = module.engine_code().text_range();
                (text.start.raw()..text.end.raw(), module.clone())
            })
            .collect();
        modules.sort_by_key(|(text, _)| text.start);
        Code {
            modules,
            seen: registry.module_count(),
        }
    }

    /// Whether it has looked at all modules that there are now. They only ever
    /// become more.
    pub(super) fn is_current(&self, registry: &ModuleRegistry) -> bool {
        registry.module_count() == self.seen
    }

    /// The function that `pc` is in. Called by the signal handler: it reads tables, and
    /// neither locks nor allocates.
    pub(super) fn function_at(&self, pc: usize) -> Option<Range<usize>> {
        let next = self.modules.partition_point(|(text, _)| text.start <= pc);
        let before = self.modules.get(..next)?;
        let of_it = before
            .iter()
            .rev()
            .take_while(|(text, _)| text.contains(&pc));
        of_it
            .filter_map(|(text, module)| {
                let compiled = module.compiled_module();
                let function = compiled.func_by_text_offset(pc - text.start)?;
                let function = compiled.defined_function_range(function);
                Some(text.start + function.start..text.start + function.end)
            })
            .find(|function| function.contains(&pc))
    }
}

/// I4: whether no table or element segment that `module` uses can be given other
/// storage, or none, while one of its functions has the address in a register.
/// Memories cannot: see `Config::preemption`.
pub(super) fn ensure_nothing_moves(module: &Module) -> Result<()> {
    let name = || module.name().map(|n| format!(" `{n}`")).unwrap_or_default();
    for (index, table) in &module.env_module().tables {
        let limits = table.limits;
        ensure!(
            limits.max == Some(limits.min),
            "module{} cannot be preempted by a signal: its table {} can grow, which may \
             move it under the guest's feet; declare it with a maximum that equals its \
             minimum of {} elements, or use `Preemption::Epoch`",
            name(),
            index.as_u32(),
            limits.min,
        );
    }
    // `table.init` is a loop in compiled code, and somebody else may be let in who
    // calls `elem.drop`.
    ensure!(
        module.env_module().passive_elements.is_empty(),
        "module{} cannot be preempted by a signal: it has a passive element segment, which \
         may be dropped while the guest copies from it; make the segment active or \
         declarative, or use `Preemption::Epoch`",
        name(),
    );
    Ok(())
}
