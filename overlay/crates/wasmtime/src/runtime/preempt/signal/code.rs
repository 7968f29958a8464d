//! Where a store's Wasm functions are: a sorted, immutable list.
//!
//! Trampolines are left out: their frames are not what the stub makes of them,
//! and they run for a few instructions only.

use crate::Module;
use crate::module::ModuleRegistry;
use crate::prelude::*;
use core::ops::Range;

/// The code that may be preempted at any instruction.
pub(in crate::runtime::preempt) struct CodeRanges {
    /// Disjoint, by address.
    functions: Vec<Range<usize>>,
    /// How many modules of the store this has looked at.
    modules: usize,
}

impl CodeRanges {
    /// The functions of those modules that nothing can move under (I4). Those are
    /// all, where there are guest threads.
    pub(super) fn new(modules: &ModuleRegistry) -> CodeRanges {
        let mut functions = Vec::new();
        for (_, module) in modules.all_modules() {
            if ensure_nothing_moves(module).is_err() {
                continue;
            }
            let text = module.engine_code().text_range().start.raw();
            let ranges = module.compiled_module().finished_function_ranges();
            functions.extend(ranges.map(|(_, range)| text + range.start..text + range.end));
        }
        functions.sort_unstable_by_key(|range| range.start);
        CodeRanges {
            functions,
            modules: modules.module_count(),
        }
    }

    /// Whether it has looked at all modules that there are now. They only ever
    /// become more.
    pub(super) fn is_current(&self, modules: &ModuleRegistry) -> bool {
        modules.module_count() == self.modules
    }

    /// The function that `pc` is in.
    pub(super) fn function_at(&self, pc: usize) -> Option<&Range<usize>> {
        let next = self.functions.partition_point(|range| range.start <= pc);
        let range = self.functions.get(next.checked_sub(1)?)?;
        range.contains(&pc).then_some(range)
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
