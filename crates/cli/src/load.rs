//! From a GUEST to something that can be run: the compiled module, the function in it, and
//! arguments of the right types. Finds everything that can be wrong with a guest before it
//! runs.

use crate::exports::Functions;
use crate::files;
use crate::guest::{self, GuestSpec};
use crate::mode::Mode;
use crate::names;
use crate::refused;
use crate::shared;
use crate::values;
use crate::wasi;
use preempt_wasi_threads::Program;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::{
    Engine, ExternType, FuncType, ImportType, Linker, Module, Result, Val, bail, format_err,
};

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

/// Whether the host must make this import separately for each process.
pub fn is_of_process(import: &ImportType<'_>) -> bool {
    match import.ty() {
        ExternType::Memory(ty) => ty.is_shared(),
        _ => (import.module(), import.name()) == ("wasi", "thread-spawn"),
    }
}

/// Compiles each file once, however many guests use it.
pub struct Loader<'a> {
    engine: &'a Engine,
    mode: Mode,
    /// By file and memory limit.
    modules: HashMap<(PathBuf, u64), Module>,
}

impl<'a> Loader<'a> {
    /// Loads guests for `engine`, which preempts them according to `mode`.
    pub fn new(engine: &'a Engine, mode: Mode) -> Self {
        Loader {
            engine,
            mode,
            modules: HashMap::new(),
        }
    }

    /// Loads a guest whose memory is limited to `memory` bytes.
    pub fn load(&mut self, spec: GuestSpec, memory: u64) -> Result<Guest> {
        let module = self.module(&spec.file, memory)?;
        let file = names::path(&spec.file);
        let uses_wasi = module.imports().any(|i| i.module() == wasi::MODULE);
        let functions = Functions::of(&module);
        let (export, ty) = functions
            .choose(spec.export.as_deref())
            .with_context(|| format!("cannot run {file}"))?;

        // A command's arguments are its `argv`, whatever else it exports.
        let is_command = export == "_start" && ty.params().len() == 0;
        let is_process = is_command && module.imports().any(|import| is_of_process(&import));
        if is_process {
            Program::<()>::new(&module, &Linker::new(self.engine))
                .with_context(|| format!("cannot run {file}"))?;
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
        Ok(Guest {
            module,
            export,
            args,
            argv,
            is_process,
            spec,
        })
    }

    fn module(&mut self, file: &Path, memory: u64) -> Result<Module> {
        let key = (file.to_path_buf(), memory);
        if let Some(module) = self.modules.get(&key) {
            return Ok(module.clone());
        }
        let shown = names::path(file);
        let bytes = files::read(file)?;
        if bytes.is_empty() {
            bail!("cannot run {shown}: the file is empty");
        }
        let cannot_run = || format!("cannot run {shown}");
        let binary = wat::Parser::new()
            .parse_bytes(Some(file), &bytes)
            .with_context(cannot_run)?;
        let changed = shared::capped(&binary, memory).with_context(cannot_run)?;
        let binary = changed.as_deref().unwrap_or(&binary);
        let module = Module::new(self.engine, binary)
            .map_err(|error| refused::by_engine(self.mode, binary, error))
            .with_context(cannot_run)?;
        self.modules.insert(key, module.clone());
        Ok(module)
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
