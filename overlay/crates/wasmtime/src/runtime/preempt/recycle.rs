//! Reusing instances. A store never frees one, so a guest that keeps starting and ending
//! threads, each in its own instance, would use up any number of them.

use super::exit::OwnedVal;
use super::spawn::in_lifo_scope;
use crate::prelude::*;
use crate::runtime::vm::ExportMemory;
use crate::store::{InstanceId, StoreOpaque};
use crate::{AsContextMut, Global, Instance, Memory, Mutability, Ref, Table, Val};
use core::fmt;
use core::ptr::NonNull;
use wasmtime_environ::{EntityRef, PassiveElemIndex};

/// An instance's own state: its memories, its mutable globals, its tables, and which of its
/// segments were dropped. The instance can be restored to it and reused.
pub struct InstanceSnapshot {
    instance: Instance,
    /// The mutable ones.
    globals: Vec<(Global, OwnedVal)>,
    tables: Vec<(Table, Vec<OwnedVal>)>,
    /// What is left of each data segment. `data.drop` makes it 0.
    data: Vec<u32>,
    /// Whether each passive element segment is still there.
    elements: Vec<bool>,
    /// `None` if one is shared, or they have more than [`MOST_MEMORY`].
    memories: Option<Vec<(Memory, Image)>>,
}

/// How many bytes memories may have together. Saving and restoring them is one step, which the
/// store's other threads wait for.
const MOST_MEMORY: usize = 4 << 20;

/// What a memory holds.
struct Image {
    size: usize,
    /// The blocks that are not only zeros, with their numbers.
    blocks: Vec<(usize, Box<[u8]>)>,
}

impl Image {
    /// In bytes. Most of a memory is zeros.
    const BLOCK: usize = 4096;

    fn of(memory: &[u8]) -> Image {
        let blocks = memory.chunks(Self::BLOCK).enumerate();
        let blocks = blocks.filter(|(_, block)| !is_zero(block));
        Image {
            size: memory.len(),
            blocks: blocks.map(|(i, block)| (i, block.into())).collect(),
        }
    }

    /// Writes to what has changed only, as the rest may not be resident.
    fn restore(&self, memory: &mut [u8]) {
        let mut saved = self.blocks.iter().peekable();
        for (i, block) in memory.chunks_mut(Self::BLOCK).enumerate() {
            match saved.next_if(|(number, _)| *number == i) {
                Some((_, saved)) => block.copy_from_slice(saved),
                None if is_zero(block) => {}
                None => block.fill(0),
            }
        }
    }
}

fn is_zero(block: &[u8]) -> bool {
    // A slice of a known length is compared by vectors.
    block
        .chunks(64)
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

impl fmt::Debug for InstanceSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceSnapshot").finish_non_exhaustive()
    }
}

impl InstanceSnapshot {
    /// Takes a snapshot of `instance`, in a time that grows with its memories.
    ///
    /// # Errors
    ///
    /// If the instance belongs to another store.
    pub fn new(mut store: impl AsContextMut, instance: &Instance) -> Result<InstanceSnapshot> {
        let mut store = store.as_context_mut();
        store.0.ensure_unsealed("restore an instance")?;
        let id = store.0.own_instance(instance)?;
        let store_id = store.0.id();
        let vm = store.0.instance(id);
        let module = vm.env_module().clone();
        let globals = vm.defined_globals(store_id).map(|(_, global)| global);
        let globals: Vec<Global> = globals.collect();
        let tables = module.tables.keys().skip(module.num_imported_tables);
        let tables: Vec<Table> = tables
            .map(|index| vm.get_exported_table(store_id, index))
            .collect();
        let memories = module.memories.keys().skip(module.num_imported_memories);
        let unshared = |index| match vm.get_exported_memory(store_id, index) {
            ExportMemory::Unshared(memory) => Some(memory),
            ExportMemory::Shared(..) => None,
        };
        let memories: Option<Vec<Memory>> = memories.map(unshared).collect();
        let elements = module.passive_elements.keys();
        let elements: Vec<PassiveElemIndex> = elements.collect();
        in_lifo_scope(&mut store, |store| {
            let mut saved_globals = Vec::new();
            for global in globals {
                if global.ty(&store).mutability() == Mutability::Var {
                    let value = global.get(&mut *store);
                    saved_globals.push((global, OwnedVal::new(store.0, &value)?));
                }
            }
            let mut saved_tables = Vec::new();
            for table in tables {
                let mut values = Vec::new();
                for i in 0..table.size(&store) {
                    let value = table
                        .get(&mut *store, i)
                        .map_or(Val::null_func_ref(), Val::from);
                    values.push(OwnedVal::new(store.0, &value)?);
                }
                saved_tables.push((table, values));
            }
            Ok(InstanceSnapshot {
                instance: *instance,
                globals: saved_globals,
                tables: saved_tables,
                data: (0..module.runtime_data.len())
                    .map(|i| store.0.data_length(id, i))
                    .collect(),
                elements: elements
                    .into_iter()
                    .map(|index| store.0.has_elements(id, index))
                    .collect(),
                memories: memories.and_then(|memories| {
                    let sizes = memories.iter().map(|memory| memory.data_size(&*store));
                    let all = sizes.fold(0_usize, usize::saturating_add);
                    let saved = |memory: Memory| (memory, Image::of(memory.data(&*store)));
                    (all <= MOST_MEMORY).then(|| memories.into_iter().map(saved).collect())
                }),
            })
        })
    }

    /// Restores the instance to its state at the time of the snapshot, so that another guest
    /// thread can use it instead of a new one. Returns whether it did. Returns `false` and
    /// changes nothing if the instance has a shared memory of its own or more than 4 MiB of
    /// unshared ones, or since the snapshot a memory or table has grown or an element segment
    /// was dropped.
    ///
    /// Takes a time that grows with the instance's memories. What they have had in memory of the
    /// system, they keep.
    ///
    /// Does not touch what the instance imports. No guest thread should be in the instance.
    ///
    /// # Errors
    ///
    /// If the instance belongs to another store.
    pub fn restore(&self, mut store: impl AsContextMut) -> Result<bool> {
        let mut store = store.as_context_mut();
        let id = store.0.own_instance(&self.instance)?;
        let elements = self.elements.iter().enumerate();
        let is_there = |(i, was_there): (usize, &bool)| {
            *was_there == store.0.has_elements(id, PassiveElemIndex::new(i))
        };
        let mut elements = elements.map(is_there);
        let same_elements = elements.all(|same| same);
        let has_grown = |(table, values): &(Table, Vec<OwnedVal>)| {
            table.size(&store) != u64::try_from(values.len()).unwrap_or(u64::MAX)
        };
        let Some(memories) = &self.memories else {
            return Ok(false);
        };
        let grown = |(memory, image): &(Memory, Image)| memory.data_size(&store) != image.size;
        if memories.iter().any(grown) || !same_elements || self.tables.iter().any(has_grown) {
            return Ok(false);
        }
        for (memory, image) in memories {
            image.restore(memory.data_mut(&mut store));
        }
        for (i, length) in self.data.iter().enumerate() {
            store.0.set_data_length(id, i, *length);
        }
        in_lifo_scope(&mut store, |store| {
            for (global, value) in &self.globals {
                let value = value.to_val(store.0);
                global.set(&mut *store, value)?;
            }
            for (table, values) in &self.tables {
                for (i, value) in (0..).zip(values) {
                    let value = value.to_val(store.0);
                    let value = value.ref_().unwrap_or(Ref::Func(None));
                    table.set(&mut *store, i, value)?;
                }
            }
            Ok(true)
        })
    }
}

impl StoreOpaque {
    fn own_instance(&self, instance: &Instance) -> Result<InstanceId> {
        ensure!(
            instance.id.store_id() == self.id(),
            "the instance is of another store"
        );
        Ok(instance.id.instance())
    }

    fn has_elements(&mut self, id: InstanceId, index: PassiveElemIndex) -> bool {
        let segment = self.instance_mut(id).passive_element_segment(index);
        !segment.is_empty()
    }

    fn data_length(&self, id: InstanceId, index: usize) -> u32 {
        let length = self.data_length_ptr(id, index);
        // SAFETY: I16. It is in the context of an instance of this store, and nobody
        // writes to it meanwhile.
        length.map_or(0, |length| unsafe { length.read() })
    }

    fn set_data_length(&mut self, id: InstanceId, index: usize, value: u32) {
        if let Some(length) = self.data_length_ptr(id, index) {
            // SAFETY: I16. As in `data_length`; and the value is one that was read there.
            unsafe { length.write(value) };
        }
    }

    /// Where an instance's context holds the length of a data segment.
    fn data_length_ptr(&self, id: InstanceId, index: usize) -> Option<NonNull<u32>> {
        let vm = self.instance(id);
        if index >= vm.env_module().runtime_data.len() {
            return None;
        }
        let offsets = vm.runtime_module()?.offsets();
        let index = wasmtime_environ::RuntimeDataIndex::new(index);
        let offset = usize::try_from(offsets.vmctx_runtime_data_length(index)).ok()?;
        // SAFETY: I16. The context has a length for each data segment of its module.
        Some(unsafe { vm.vmctx().byte_add(offset).cast() })
    }
}
