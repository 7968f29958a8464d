//! Programs: checked modules that processes are made from.

use crate::abi::{REFUSED, THREAD_SPAWN, THREAD_START};
use crate::guest::Guest;
use crate::options::ProcessOptions;
use crate::process::{Process, Shared};
use std::fmt;
use std::sync::Arc;
use wasmtime::error::Context as _;
use wasmtime::{
    AsContextMut, Caller, Engine, ExternType, FuncType, Linker, MemoryType, MemoryTypeBuilder,
    Module, Result, SharedMemory, ValType, bail, ensure,
};

/// A shared memory that a module imports.
#[derive(Clone, Debug)]
struct Import {
    module: String,
    name: String,
    ty: MemoryType,
}

/// A module that can be spawned as a process, with what it imports besides its memory and
/// `thread-spawn`.
pub struct Program<T: 'static> {
    module: Module,
    linker: Linker<T>,
    memories: Vec<Import>,
    has_threads: bool,
    /// Whether it has what threads need.
    can_spawn: bool,
}

impl<T: 'static> Clone for Program<T> {
    fn clone(&self) -> Program<T> {
        Program {
            module: self.module.clone(),
            linker: self.linker.clone(),
            memories: self.memories.clone(),
            has_threads: self.has_threads,
            can_spawn: self.can_spawn,
        }
    }
}

impl<T: 'static> fmt::Debug for Program<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("module", &self.module.name())
            .field("memories", &self.memories)
            .field("has_threads", &self.has_threads)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> Program<T> {
    /// Checks that `module` is a program. `linker` must define its imports, except shared
    /// memories and `wasi.thread-spawn`: each process gets its own.
    ///
    /// If processes of one store need different WASI contexts, for example, give each its
    /// own linker, and so its own program.
    ///
    /// # Errors
    ///
    /// If the two belong to different engines; if `_start` is not exported; or if the type of
    /// `_start`, `wasi.thread-spawn` or, where that is imported, `wasi_thread_start` differs
    /// from the [ABI](crate#the-abi)'s.
    pub fn new(module: &Module, linker: &Linker<T>) -> Result<Program<T>> {
        ensure!(
            Engine::same(module.engine(), linker.engine()),
            "the module and the linker are of different engines"
        );
        let function = |params: &[ValType], results: &[ValType]| {
            FuncType::new(
                module.engine(),
                params.iter().cloned(),
                results.iter().cloned(),
            )
        };
        let i32 = ValType::I32;
        ensure_export(module, "_start", &function(&[], &[]))?;

        let spawn = module
            .imports()
            .find(|import| (import.module(), import.name()) == THREAD_SPAWN);
        let has_threads = spawn.is_some();
        let memories: Vec<Import> = module
            .imports()
            .filter_map(|import| match import.ty() {
                ExternType::Memory(ty) if ty.is_shared() => Some(Import {
                    module: import.module().to_string(),
                    name: import.name().to_string(),
                    ty,
                }),
                _ => None,
            })
            .collect();
        let mut can_spawn = false;
        if let Some(spawn) = spawn {
            let ty = function(std::slice::from_ref(&i32), std::slice::from_ref(&i32));
            match spawn.ty() {
                ExternType::Func(found) if FuncType::eq(&found, &ty) => {}
                found => bail!(
                    "the module imports `wasi.thread-spawn` as {}, which is {ty}",
                    describe(&found)
                ),
            }
            let has_start = module.get_export(THREAD_START).is_some();
            if has_start {
                let ty = function(&[i32.clone(), i32], &[]);
                ensure_export(module, THREAD_START, &ty)
                    .context("the module imports `wasi.thread-spawn`")?;
            }
            can_spawn = has_start && !memories.is_empty();
        }
        Ok(Program {
            module: module.clone(),
            linker: linker.clone(),
            memories,
            has_threads,
            can_spawn,
        })
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Whether the module imports `wasi.thread-spawn`.
    pub fn has_threads(&self) -> bool {
        self.has_threads
    }

    /// Makes a process: its memory, an instance, and the thread that will start the
    /// instance and call `_start`. None of the guest runs yet.
    ///
    /// # Errors
    ///
    /// If the store belongs to another engine; if the linker lacks an import of the module,
    /// or defines a shared memory or `wasi.thread-spawn` by the same name; if a memory
    /// cannot be made, for example because
    /// [`Config::shared_memory`](wasmtime::Config::shared_memory) is off or its minimum
    /// exceeds [`ProcessOptions::max_memory`]; or as for
    /// [`ThreadOptions::spawn_instance`](wasmtime::ThreadOptions::spawn_instance).
    ///
    /// Define host functions that wait with [`Linker::func_wrap_concurrent`]: one defined
    /// with [`Linker::func_wrap_async`] holds up all threads of the store.
    pub fn spawn(
        &self,
        mut store: impl AsContextMut<Data = T>,
        options: ProcessOptions,
    ) -> Result<Process> {
        let mut store = store.as_context_mut();
        ensure!(
            Engine::same(store.engine(), self.module.engine()),
            "the program and the store are of different engines"
        );
        let mut linker = self.linker.clone();
        let mut memories = Vec::new();
        for import in &self.memories {
            let (module, name) = (&import.module, &import.name);
            let memory = import
                .make(&self.module, options.max_memory)
                .with_context(|| format!("cannot make the shared memory `{module}.{name}`"))?;
            linker.define(&store, module, name, memory.clone())?;
            memories.push(memory);
        }
        let shared = Arc::new(Shared::new(options, memories));
        let guest = Guest::new(shared.clone(), |weak| {
            let (module, name) = THREAD_SPAWN;
            let can_spawn = self.can_spawn;
            if self.has_threads {
                linker.func_wrap(module, name, move |caller: Caller<'_, T>, argument: i32| {
                    match weak.upgrade() {
                        Some(guest) if can_spawn => Guest::thread_spawn(&guest, caller, argument),
                        Some(guest) => guest.refuse(),
                        None => REFUSED,
                    }
                })?;
            }
            linker.instantiate_pre(&self.module)
        })?;
        let main = Guest::spawn_main(&guest, &mut store)?;
        if !shared.options.notified_from_outside {
            for memory in &shared.memories {
                store.wasm_threads().own_memory(memory)?;
            }
        }
        Ok(Process::new(shared, main))
    }
}

impl Import {
    fn make(&self, module: &Module, max: u64) -> Result<SharedMemory> {
        let page = self.ty.page_size();
        let most = (max / page).min(self.ty.maximum().unwrap_or(u64::MAX));
        ensure!(
            self.ty.minimum() <= most,
            "it has at least {} pages of {page} bytes, and may have {max} bytes",
            self.ty.minimum(),
        );
        let ty = MemoryTypeBuilder::new()
            .memory64(self.ty.is_64())
            .page_size_log2(self.ty.page_size_log2())
            .shared(true)
            .min(self.ty.minimum())
            .max(Some(most))
            .build()?;
        SharedMemory::new(module.engine(), ty)
    }
}

fn ensure_export(module: &Module, name: &str, ty: &FuncType) -> Result<()> {
    match module.get_export(name) {
        Some(ExternType::Func(found)) if FuncType::eq(&found, ty) => Ok(()),
        Some(found) => bail!(
            "the module exports `{name}` as {}, and not as {ty}",
            describe(&found)
        ),
        None => bail!("the module does not export `{name}`, of type {ty}"),
    }
}

fn describe(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => ty.to_string(),
        ExternType::Global(_) => "a global".to_string(),
        ExternType::Table(_) => "a table".to_string(),
        ExternType::Memory(_) => "a memory".to_string(),
        ExternType::Tag(_) => "a tag".to_string(),
    }
}
