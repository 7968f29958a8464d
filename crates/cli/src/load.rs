//! From a GUEST to something that can be run: the function in it, arguments of the right
//! types, and the compiled module.
//!
//! What can be wrong with a guest is found first, as compiling may take minutes.

use crate::exports::Functions;
use crate::guest::{self, GuestSpec};
use crate::imports;
use crate::names;
use crate::sources::Sources;
use crate::values;
use crate::wasi::{self, Host};
use preempt_wasi_threads::Program;
use wasmtime::error::Context as _;
use wasmtime::{Engine, FuncType, Linker, Module, Result, Store, Val, bail, format_err};
use wasmtime_wasi::WasiCtxBuilder;

/// A guest that is ready to be instantiated.
pub struct Guest {
    pub spec: GuestSpec,
    pub module: Module,
    pub export: String,
    pub args: Vec<Val>,
    /// The program's `argv`; `None` for a module that does not import WASI.
    pub argv: Option<Vec<String>>,
    /// Whether it becomes a process, with a memory that its threads share.
    pub is_process: bool,
}

/// A guest that passed all checks that need no compiled module.
pub struct Checked {
    spec: GuestSpec,
    /// The most bytes of memory that it may have.
    memory: u64,
    export: String,
    args: Vec<Val>,
    argv: Option<Vec<String>>,
    is_process: bool,
}

/// Loads guests: checks all of them before it compiles any.
pub struct Loader<'a> {
    engine: &'a Engine,
    sources: Sources<'a>,
    /// For linkers with what guests can import.
    store: Store<Host>,
}

impl<'a> Loader<'a> {
    /// Loads guests for `engine` from `sources`.
    pub fn new(engine: &'a Engine, sources: Sources<'a>) -> Self {
        Loader {
            engine,
            sources,
            store: Store::new(engine, Host::default()),
        }
    }

    /// Checks a guest whose memory is limited to `memory` bytes.
    pub fn check(&mut self, spec: GuestSpec, memory: u64) -> Result<Checked> {
        let outline = self.sources.outline(&spec.file, memory)?;
        let file = names::path(&spec.file);
        let cannot_run = || format!("cannot run {file}");
        let uses_wasi = outline.imports().any(|i| i.module() == wasi::MODULE);
        let functions = Functions::of(&outline.module);
        let (export, ty) = functions
            .choose(spec.export.as_deref())
            .with_context(cannot_run)?;

        // A command's arguments are its `argv`, whatever else it exports.
        let is_command = export == "_start" && ty.params().len() == 0;
        let is_process = is_command && outline.imports().any(|i| imports::is_of_process(&i));
        if is_process {
            Program::<()>::new(&outline.module, &Linker::new(self.engine))
                .with_context(cannot_run)?;
        }
        let given = spec.args.as_deref().unwrap_or_default();
        let (args, argv) = if is_command {
            if !uses_wasi && !given.is_empty() {
                bail!(
                    "{file} does not import WASI, so its `_start` cannot read the \
                     arguments ({})",
                    names::name(&given.join(", "))
                );
            }
            (Vec::new(), given)
        } else {
            (typed(&spec, &export, &ty, given)?, &[][..])
        };
        let argv = uses_wasi.then(|| {
            let name = spec.file.file_name().unwrap_or(spec.file.as_os_str());
            let name = name.to_string_lossy().into_owned();
            [name].into_iter().chain(argv.iter().cloned()).collect()
        });
        let context = uses_wasi.then(|| WasiCtxBuilder::new().build_p1());
        let linker = self.store.data_mut().linker(self.engine, context)?;
        imports::check(&mut self.store, &outline, is_process, &linker).with_context(cannot_run)?;
        Ok(Checked {
            spec,
            memory,
            export,
            args,
            argv,
            is_process,
        })
    }

    /// Compiles a guest's module, unless another guest has the same.
    pub fn compile(&mut self, guest: Checked) -> Result<Guest> {
        Ok(Guest {
            module: self.sources.module(&guest.spec.file, guest.memory)?,
            spec: guest.spec,
            export: guest.export,
            args: guest.args,
            argv: guest.argv,
            is_process: guest.is_process,
        })
    }
}

/// Parses arguments according to the function's types.
fn typed(spec: &GuestSpec, export: &str, ty: &FuncType, given: &[String]) -> Result<Vec<Val>> {
    let signature = values::signature(export, ty);
    let guest = names::name(&spec.text);
    let takes = ty.params().len();
    if given.len() != takes {
        let s = if takes == 1 { "" } else { "s" };
        bail!(
            "guest `{guest}` passes {} argument{} to {signature}, which takes {takes}; \
             write `{}:{}({})` with {takes} value{s}",
            given.len(),
            if given.len() == 1 { "" } else { "s" },
            names::path(&spec.file),
            guest::typed_export(export),
            values::comma_separated(ty.params()),
        );
    }
    ty.params()
        .zip(given)
        .enumerate()
        .map(|(i, (ty, text))| {
            values::parse(&ty, text).map_err(|error| {
                let i = i + 1;
                format_err!("guest `{guest}`: argument {i} of {signature} is {error}")
            })
        })
        .collect()
}
