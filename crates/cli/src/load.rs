//! From a GUEST to something that can be run: the function in it, arguments of the right
//! types, and the compiled code.
//!
//! What can be wrong with a guest is found first, as compiling may take minutes.

use crate::component::{self, ComponentCall, Functions as ComponentFunctions};
use crate::exports::Functions;
use crate::guest::{self, GuestSpec};
use crate::imports;
use crate::names;
use crate::outline::Outline;
use crate::sources::{Code, Shape, Sources};
use crate::values;
use crate::wasi::{self, Host};
use preempt_wasi_threads::Program;
use wasmtime::component::{Component, Linker as ComponentLinker};
use wasmtime::error::Context as _;
use wasmtime::{Engine, FuncType, Linker, Module, Result, Store, Val, bail, format_err};
use wasmtime_wasi::WasiCtxBuilder;

/// A guest that is ready to be instantiated.
pub struct Guest {
    pub spec: GuestSpec,
    pub runs: Runs,
    /// The program's `argv`; `None` for one that does not import WASI.
    pub argv: Option<Vec<String>>,
}

/// What a guest runs.
pub enum Runs {
    Module(Module, ModuleCall),
    Component(Component, ComponentCall),
}

/// A function of a module, with its arguments.
pub struct ModuleCall {
    pub export: String,
    pub args: Vec<Val>,
    /// Whether the guest becomes a process, with a memory that its threads share.
    pub is_process: bool,
}

impl Guest {
    /// Whether it becomes a process.
    pub fn is_process(&self) -> bool {
        matches!(&self.runs, Runs::Module(_, call) if call.is_process)
    }

    pub fn is_component(&self) -> bool {
        matches!(self.runs, Runs::Component(..))
    }
}

/// A guest that passed all checks that need no compiled code.
pub struct Checked {
    spec: GuestSpec,
    /// The most bytes of memory that it may have.
    memory: u64,
    call: Call,
    argv: Option<Vec<String>>,
}

enum Call {
    Module(ModuleCall),
    Component(ComponentCall),
}

/// Loads guests: checks all of them before it compiles any.
pub struct Loader<'a> {
    engine: &'a Engine,
    sources: Sources<'a>,
    /// For linkers with what guests can import.
    store: Store<Host>,
    /// What components can import, once there is one.
    linker: Option<ComponentLinker<Host>>,
}

impl<'a> Loader<'a> {
    /// Loads guests for `engine` from `sources`.
    pub fn new(engine: &'a Engine, sources: Sources<'a>) -> Self {
        Loader {
            engine,
            sources,
            store: Store::new(engine, Host::default()),
            linker: None,
        }
    }

    /// Checks a guest whose memory is limited to `memory` bytes.
    pub fn check(&mut self, spec: GuestSpec, memory: u64) -> Result<Checked> {
        let (call, argv) = match self.sources.shape(&spec.file, memory)? {
            Shape::Module(outline) => {
                let (call, argv) = self.check_module(&spec, &outline)?;
                (Call::Module(call), argv)
            }
            Shape::Component(outline) => {
                let (call, argv) = self.check_component(&spec, &outline)?;
                (Call::Component(call), argv)
            }
        };
        Ok(Checked {
            spec,
            memory,
            call,
            argv,
        })
    }

    fn check_module(
        &mut self,
        spec: &GuestSpec,
        outline: &Outline,
    ) -> Result<(ModuleCall, Option<Vec<String>>)> {
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
        let (args, rest) = if is_command {
            if !uses_wasi && !given.is_empty() {
                bail!(
                    "{file} does not import WASI, so its `_start` cannot read the \
                     arguments ({})",
                    names::name(&given.join(", "))
                );
            }
            (Vec::new(), given)
        } else {
            (typed(spec, &export, &ty, given)?, &[][..])
        };
        let context = uses_wasi.then(WasiCtxBuilder::new);
        let linker = self.store.data_mut().linker(self.engine, context)?;
        imports::check(&mut self.store, outline, is_process, &linker).with_context(cannot_run)?;
        let call = ModuleCall {
            export,
            args,
            is_process,
        };
        Ok((call, uses_wasi.then(|| argv(spec, rest))))
    }

    fn check_component(
        &mut self,
        spec: &GuestSpec,
        outline: &Component,
    ) -> Result<(ComponentCall, Option<Vec<String>>)> {
        let file = names::path(&spec.file);
        let cannot_run = || format!("cannot run {file}");
        let function = ComponentFunctions::of(self.engine, outline)
            .choose(spec.export.as_deref(), &file)
            .with_context(cannot_run)?;
        let uses_wasi = component::uses_wasi(self.engine, outline);
        let given = spec.args.as_deref().unwrap_or_default();
        let (args, rest) = if function.is_command() {
            if !uses_wasi && !given.is_empty() {
                bail!(
                    "{file} does not import WASI, so it cannot read the arguments ({})",
                    names::name(&given.join(", "))
                );
            }
            (Vec::new(), given)
        } else {
            (component::arguments(spec, &function)?, &[][..])
        };
        let linker = match &mut self.linker {
            Some(linker) => linker,
            none => none.insert(wasi::component_linker(self.engine, false)?),
        };
        component::check_imports(self.engine, outline, linker).with_context(cannot_run)?;
        let call = ComponentCall { function, args };
        Ok((call, uses_wasi.then(|| argv(spec, rest))))
    }

    /// Compiles a guest's code, unless another guest has the same.
    pub fn compile(&mut self, guest: Checked) -> Result<Guest> {
        let code = self.sources.code(&guest.spec.file, guest.memory)?;
        let runs = match (code, guest.call) {
            (Code::Module(module), Call::Module(call)) => Runs::Module(module, call),
            (Code::Component(component), Call::Component(call)) => Runs::Component(component, call),
            _ => bail!("{} is not what it was", names::path(&guest.spec.file)),
        };
        Ok(Guest {
            spec: guest.spec,
            runs,
            argv: guest.argv,
        })
    }
}

/// The `argv` of a program that gets these arguments.
fn argv(spec: &GuestSpec, args: &[String]) -> Vec<String> {
    let name = spec.file.file_name().unwrap_or(spec.file.as_os_str());
    let name = name.to_string_lossy().into_owned();
    [name].into_iter().chain(args.iter().cloned()).collect()
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
