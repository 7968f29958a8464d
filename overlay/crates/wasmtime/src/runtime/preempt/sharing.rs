//! Finds what a new guest thread would share with others, and refuses to spawn it.
//!
//! WebAssembly lets others change only `shared` memories under a thread. A thread can be
//! preempted between any two instructions, so two threads may share `shared` memories and no
//! other memory, mutable global or table (docs/semantics.md).
//!
//! ```text
//!   spawn f ---> instance of f ---> its footprint, computed once:
//!                  |                  its own and imported items
//!                  |                  + those of the instances behind its imports
//!                  v
//!   users[item] > 0 for one of them?   error, nothing has changed
//!                  |
//!                  v
//!   insert:  users[item] += 1          finish:  users[item] -= 1
//! ```
//!
//! Items are numbered as they are found, so a spawn scans a list of numbers and hashes nothing.
//! The other user is looked up only for the error. Threads that may share count as users too, in
//! case sharing is forbidden again.

use super::id::ThreadId;
use crate::prelude::*;
use crate::runtime::vm::{ExportMemory, Instance, VMContext, VMFuncRef, VMOpaqueContext};
use crate::store::{AutoAssertNoGc, InstanceId, StoreOpaque};
use crate::{Func, Val};
use core::ptr::NonNull;
use std::collections::{HashMap, HashSet};
use wasmtime_environ::{
    EntityIndex, EntityRef, FuncIndex, GlobalIndex, Initializer, Module, TableIndex,
    VMCONTEXT_MAGIC, WasmHeapTopType, WasmValType,
};

/// A memory, global or table, by the address of its definition. The address is stable: a store
/// never frees these.
type Definition = usize;

/// The number of a definition.
type Item = usize;

/// What a store's threads share, and whether they may.
#[derive(Default)]
pub(super) struct Sharing {
    /// Whether threads may share more than `shared` memories.
    pub(super) allowed: bool,
    /// By instance: what its functions can reach, once computed.
    footprints: Vec<Option<Box<[Item]>>>,
    numbers: HashMap<Definition, Item>,
    definitions: Vec<Definition>,
    /// By item: how many unfinished threads can reach it.
    users: Vec<usize>,
}

impl Sharing {
    fn footprint(&self, instance: InstanceId) -> Option<&[Item]> {
        self.footprints.get(instance.index())?.as_deref()
    }

    fn set_footprint(&mut self, instance: InstanceId, footprint: Vec<Definition>) {
        let number = |definition| {
            *self.numbers.entry(definition).or_insert_with(|| {
                self.definitions.push(definition);
                self.users.push(0);
                self.users.len() - 1
            })
        };
        let footprint = footprint.into_iter().map(number).collect();
        let index = instance.index();
        if self.footprints.len() <= index {
            self.footprints.resize_with(index + 1, || None);
        }
        self.footprints[index] = Some(footprint);
    }

    /// Whether a thread in `instance` can reach `item`.
    fn reaches(&self, instance: InstanceId, item: Item) -> bool {
        let footprint = self.footprint(instance);
        footprint.is_some_and(|footprint| footprint.contains(&item))
    }

    /// An item of `footprint` that a new thread may not use because another one does.
    fn conflict(&self, footprint: &[Item]) -> Option<Item> {
        if self.allowed {
            return None;
        }
        let in_use = |item: &&Item| self.users[**item] > 0;
        footprint.iter().find(in_use).copied()
    }

    /// A new thread is in `instance`.
    pub(super) fn enter(&mut self, instance: InstanceId) {
        for item in self.footprints[instance.index()].iter().flatten() {
            self.users[*item] += 1;
        }
    }

    /// A thread of `instance` has finished.
    pub(super) fn leave(&mut self, instance: InstanceId) {
        for item in self.footprints[instance.index()].iter().flatten() {
            self.users[*item] -= 1;
        }
    }
}

impl StoreOpaque {
    /// The instance that a thread calling `func` must [enter](Sharing::enter) and later leave,
    /// if it has anything to share.
    ///
    /// # Errors
    ///
    /// If such a thread would share something with an unfinished one.
    pub(super) fn ensure_nothing_is_shared(&mut self, func: Func) -> Result<Option<InstanceId>> {
        match instance_of_function(func.vm_func_ref(self)) {
            Some(instance) => self.ensure_instance_shares_nothing(instance),
            None => Ok(None),
        }
    }

    /// Whether `func` runs in `instance`.
    pub(super) fn is_of_instance(&mut self, func: Func, instance: InstanceId) -> bool {
        instance_of_function(func.vm_func_ref(self)) == Some(instance)
    }

    /// Like [`ensure_nothing_is_shared`](Self::ensure_nothing_is_shared), for a thread in
    /// `instance`.
    pub(super) fn ensure_instance_shares_nothing(
        &mut self,
        instance: InstanceId,
    ) -> Result<Option<InstanceId>> {
        let threads = self.preemptive_threads()?;
        if threads.sharing.footprint(instance).is_none() {
            let footprint = footprint(self, instance);
            self.preemptive_threads()?
                .sharing
                .set_footprint(instance, footprint);
        }
        let sharing = &self.preemptive_threads()?.sharing;
        let footprint = sharing.footprint(instance).unwrap_or_default();
        match sharing.conflict(footprint) {
            None => Ok((!footprint.is_empty()).then_some(instance)),
            Some(item) => Err(self.shared(instance, item)),
        }
    }

    /// Whether a core thread was ever seen to reach `definition`.
    #[cfg(feature = "component-model")]
    pub(super) fn is_of_core_thread(&self, definition: Definition) -> bool {
        let threads = self.preempt();
        threads.is_some_and(|threads| threads.sharing.numbers.contains_key(&definition))
    }

    /// An unfinished thread that can reach `definition` and may be stopped anywhere: any but the
    /// running one, or that too if it is in a call hook, on its way off the CPU or back to it.
    pub(super) fn other_user_of(&self, definition: Definition) -> Option<String> {
        let threads = self.preempt()?;
        let item = *threads.sharing.numbers.get(&definition)?;
        let running = threads.running().filter(|running| !running.in_hooks);
        let running = running.map(|running| running.id);
        let uses_it = |id| {
            let instance = threads.instance_of(id);
            instance.is_some_and(|instance| threads.sharing.reaches(instance, item))
        };
        let own = usize::from(running.is_some_and(uses_it));
        if threads.sharing.users[item] <= own {
            return None;
        }
        self.user_of(item, running)
    }

    /// An unfinished thread other than `but` that can reach `item`.
    fn user_of(&self, item: Item, but: Option<ThreadId>) -> Option<String> {
        let threads = self.preempt()?;
        let uses = |instance| threads.sharing.reaches(instance, item);
        let user = threads.live_in(uses, but)?;
        Some(match user.name {
            Some(name) => format!("guest thread {} `{name}`", user.id),
            None => format!("guest thread {}", user.id),
        })
    }

    /// The error that says what is shared, with whom, and what to do about it.
    fn shared(&mut self, instance: InstanceId, item: Item) -> Error {
        let user = self.user_of(item, None);
        let user = user.unwrap_or_else(|| "another one".to_string());
        let definition = self
            .preempt()
            .map(|threads| threads.sharing.definitions[item]);
        let what = describe(self, instance, definition);
        format_err!(
            "cannot spawn a guest thread: it would share with {user}, which has not finished, \
             {what}. WebAssembly lets others change what a thread sees in `shared` memories \
             only: give each thread an instance of its own, keep what they have in common in \
             a `shared` memory, or allow them to share anything with \
             `WasmThreads::set_sharing_allowed`"
        )
    }
}

/// What the functions of `root` can reach, without duplicates.
fn footprint(store: &mut StoreOpaque, root: InstanceId) -> Vec<Definition> {
    let mut seen = HashSet::new();
    let reachable = reachable(store, root).into_iter();
    let all = reachable.flat_map(|place| items(store, place.instance));
    all.map(|(_, definition)| definition)
        .filter(|definition| seen.insert(*definition))
        .collect()
}

/// An instance whose code may run when another one's function is called.
struct Place {
    instance: InstanceId,
    /// Which place imports something from it, and what.
    import: Option<(usize, EntityIndex)>,
}

/// `root`, the instances behind its imports, those behind theirs, and so on.
fn reachable(store: &mut StoreOpaque, root: InstanceId) -> Vec<Place> {
    let mut seen = HashSet::from([root.index()]);
    let mut places = vec![Place {
        instance: root,
        import: None,
    }];
    let mut next = 0;
    while let Some(place) = places.get(next) {
        for (import, instance) in behind_imports(store, place.instance) {
            if seen.insert(instance.index()) {
                places.push(Place {
                    instance,
                    import: Some((next, import)),
                });
            }
        }
        next += 1;
    }
    places
}

/// The instances whose functions `instance` can call through its imports, directly or by a
/// reference in a table or a constant. An instance that has put references into a table has that
/// table in its own footprint.
fn behind_imports(store: &mut StoreOpaque, instance: InstanceId) -> Vec<(EntityIndex, InstanceId)> {
    let id = store.id();
    let module = store.instance(instance).env_module().clone();
    let mut behind = Vec::new();
    for func in (0..module.num_imported_funcs).map(FuncIndex::new) {
        let (vm_instance, registry) = store.instance_and_module_registry_mut(instance);
        let func_ref = vm_instance.get_func_ref(registry, func);
        behind.extend(
            func_ref
                .and_then(instance_of_function)
                .map(|instance| (func.into(), instance)),
        );
    }
    for table in (0..module.num_imported_tables).map(TableIndex::new) {
        let import = store.instance(instance).get_exported_table(id, table);
        let context = VMOpaqueContext::from_vmcontext(import.vmimport(store).vmctx.as_non_null());
        behind.extend(instance_of_context(context).map(|instance| (table.into(), instance)));
    }
    for global in (0..module.num_imported_globals).map(GlobalIndex::new) {
        let ty = &module.globals[global];
        if ty.mutability || !is_function(&ty.wasm_ty) {
            continue;
        }
        let import = store.instance(instance).get_exported_global(id, global);
        let value = import._get(&mut AutoAssertNoGc::new(store));
        if let Val::FuncRef(Some(func)) = value {
            let instance = instance_of_function(func.vm_func_ref(store));
            behind.extend(instance.map(|instance| (global.into(), instance)));
        }
    }
    behind
}

fn is_function(ty: &WasmValType) -> bool {
    matches!(ty, WasmValType::Ref(ty) if ty.heap_type.top() == WasmHeapTopType::Func)
}

/// The items of `instance`, its own and imported, that are not `shared` and can change.
fn items(store: &StoreOpaque, instance: InstanceId) -> Vec<(EntityIndex, Definition)> {
    let id = store.id();
    let instance = store.instance(instance);
    let module = instance.env_module();
    let mut items: Vec<(EntityIndex, Definition)> = Vec::new();
    for (memory, ty) in module.memories.iter() {
        // A memory that stays empty never holds anything.
        if let ExportMemory::Unshared(definition) = instance.get_exported_memory(id, memory)
            && ty.limits.max != Some(0)
        {
            let address = definition.vmimport(store).from.as_non_null().addr();
            items.push((memory.into(), address.get()));
        }
    }
    for (global, ty) in module.globals.iter() {
        // What a constant refers to may change.
        if ty.mutability || ty.wasm_ty.is_vmgcref_type_and_not_i31() {
            let definition = instance.get_exported_global(id, global);
            let address = definition.vmimport(store).from.as_non_null().addr();
            items.push((global.into(), address.get()));
        }
    }
    for (table, ty) in module.tables.iter() {
        if ty.limits.max != Some(0) {
            let definition = instance.get_exported_table(id, table);
            let address = definition.vmimport(store).from.as_non_null().addr();
            items.push((table.into(), address.get()));
        }
    }
    items
}

/// `None` for a host function.
fn instance_of_function(func: NonNull<VMFuncRef>) -> Option<InstanceId> {
    // SAFETY: I17. The function belongs to the borrowed store, and so is there.
    instance_of_context(unsafe { func.as_ref() }.vmctx.as_non_null())
}

/// `None` if the context is not a module instance's.
fn instance_of_context(context: NonNull<VMOpaqueContext>) -> Option<InstanceId> {
    // SAFETY: I17. The context belongs to the borrowed store, and begins with what tells its
    // kind. If that is an instance's, then the context is part of one.
    unsafe {
        if context.as_ref().magic != VMCONTEXT_MAGIC {
            return None;
        }
        let instance = Instance::from_vmctx(VMContext::from_opaque(context));
        Some(instance.as_ref().id())
    }
}

/// `definition` in terms of `root`, whose functions can reach it.
fn describe(store: &mut StoreOpaque, root: InstanceId, definition: Option<Definition>) -> String {
    let places = reachable(store, root);
    for (at, place) in places.iter().enumerate() {
        let items = items(store, place.instance);
        let Some((entity, _)) = items.iter().find(|(_, item)| Some(*item) == definition) else {
            continue;
        };
        let mut through = Vec::new();
        let mut at = at;
        while let Some((importer, import)) = places[at].import {
            let importing = places[importer].instance;
            let module = store.instance(importing).env_module();
            through.extend(import_name(module, import));
            at = importer;
        }
        through.reverse();
        let whose = match &through[..] {
            [] => "the function's instance".to_string(),
            names => format!("an instance behind its import {}", names.join(" and then ")),
        };
        return name(store.instance(place.instance).env_module(), *entity, &whose);
    }
    "state".to_string()
}

/// The item's kind, and a name by which the module's author may know it.
fn name(module: &Module, entity: EntityIndex, whose: &str) -> String {
    let (kind, number) = match entity {
        EntityIndex::Memory(i) => ("memory", i.index()),
        EntityIndex::Table(i) => ("table", i.index()),
        EntityIndex::Global(i) if module.globals[i].mutability => ("mutable global", i.index()),
        EntityIndex::Global(i) => ("global", i.index()),
        EntityIndex::Function(i) => ("function", i.index()),
        EntityIndex::Tag(i) => ("tag", i.index()),
    };
    if let Some((name, _)) = module.exports.iter().find(|(_, it)| **it == entity) {
        return format!("{kind} `{}` of {whose}", &module.strings[name]);
    }
    match import_name(module, entity) {
        Some(import) => format!("{kind} {import}, imported by {whose}"),
        None => format!("{kind} {number} of {whose}"),
    }
}

fn import_name(module: &Module, entity: EntityIndex) -> Option<String> {
    module.initializers.iter().find_map(|initializer| {
        let Initializer::Import { name, field, index } = initializer;
        let strings = &module.strings;
        (*index == entity).then(|| format!("`{}.{}`", &strings[name], &strings[field]))
    })
}
