//! From a GUEST to something that can be run: the compiled module, the function in it, and
//! arguments of the right types. Finds everything that can be wrong with a guest before it
//! runs.

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

/// The function that sets up a WASI library.
const INITIALIZE: &str = "_initialize";

/// A guest that is ready to be instantiated.
#[derive(Clone)]
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

/// The exports of a module.
struct Functions {
    functions: Vec<(String, FuncType)>,
    /// Exports that cannot be run, and why not.
    others: Vec<(String, &'static str)>,
}

impl Functions {
    fn of(module: &Module) -> Self {
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for export in module.exports() {
            let name = export.name().to_string();
            match export.ty() {
                ExternType::Func(_) if name == INITIALIZE => {
                    let what = "is called before any other function, and not by itself";
                    others.push((name, what));
                }
                ExternType::Func(ty) => functions.push((name, ty)),
                ExternType::Global(_) => others.push((name, "is a global, not a function")),
                ExternType::Table(_) => others.push((name, "is a table, not a function")),
                ExternType::Memory(_) => others.push((name, "is a memory, not a function")),
                ExternType::Tag(_) => others.push((name, "is a tag, not a function")),
            }
        }
        Functions { functions, others }
    }

    fn get(&self, name: &str) -> Option<(String, FuncType)> {
        self.functions.iter().find(|(n, _)| n == name).cloned()
    }

    /// The function to run: the named one, else `_start`, else the only one.
    fn choose(&self, name: Option<&str>) -> Result<(String, FuncType)> {
        match name {
            Some(name) => self.get(name).ok_or_else(|| self.unknown(name)),
            None => match (self.get("_start"), &self.functions[..]) {
                (Some(start), _) => Ok(start),
                (None, [only]) => Ok(only.clone()),
                (None, []) => Err(format_err!("it exports no function")),
                (None, _) => Err(format_err!(
                    "it is not clear which of its functions to run: {}; name one, as in FILE:EXPORT",
                    self.list()
                )),
            },
        }
    }

    fn unknown(&self, name: &str) -> wasmtime::Error {
        let shown = names::name(name);
        let what = match self.others.iter().find(|(other, _)| other == name) {
            Some((_, what)) => format!("its export `{shown}` {what}"),
            None => format!("it exports no function `{shown}`"),
        };
        let nearest = self
            .functions
            .iter()
            .map(|(function, _)| (strsim::jaro_winkler(function, name), function))
            .filter(|(similarity, _)| *similarity > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((_, function)) => format_err!(
                "{what}; did you mean `{}`? {}",
                guest::typed_export(function),
                sentence(&self.list())
            ),
            None => format_err!("{what}; {}", self.list()),
        }
    }

    fn list(&self) -> String {
        /// Some toolchains export every function of a program.
        const MOST: usize = 20;
        let shown = self.functions.iter().take(MOST);
        let shown = values::comma_separated(shown.map(|(name, ty)| values::signature(name, ty)));
        match self.functions.len() {
            0 => "it exports no function".to_string(),
            n if n > MOST => format!("it exports {shown} and {} more", n - MOST),
            _ => format!("it exports {shown}"),
        }
    }
}

/// `text` with its first letter capitalized.
fn sentence(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

/// Parses arguments according to the function's types.
fn typed(spec: &GuestSpec, export: &str, ty: &FuncType, given: &[String]) -> Result<Vec<Val>> {
    let signature = values::signature(export, ty);
    let guest = names::name(&spec.text);
    let takes = ty.params().len();
    if given.len() != takes {
        let s = if takes == 1 { "" } else { "s" };
        bail!(
            "guest `{guest}` gives {} argument{} to {signature}, which takes {takes}; \
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

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(wat: &str) -> Functions {
        Functions::of(&Module::new(&Engine::default(), wat).unwrap())
    }

    fn choose(wat: &str, name: Option<&str>) -> Result<String, String> {
        match functions(wat).choose(name) {
            Ok((name, _)) => Ok(name),
            Err(error) => Err(error.to_string()),
        }
    }

    const TWO: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "run"))
        (func (export "fib") (param i32) (result i32) (local.get 0)))"#;

    #[test]
    fn default_export_is_start_then_the_only_function() {
        let start = r#"(module (func (export "a")) (func (export "_start")))"#;
        assert_eq!(choose(start, None).unwrap(), "_start");
        let only = r#"(module (func (export "a")) (memory (export "m") 1))"#;
        assert_eq!(choose(only, None).unwrap(), "a");
    }

    #[test]
    fn ambiguous_default_lists_the_exports() {
        let error = choose(TWO, None).unwrap_err();
        assert!(
            error.contains("it exports run(), fib(i32) -> i32"),
            "{error}"
        );
    }

    #[test]
    fn unknown_export_suggests_the_nearest_and_lists_all() {
        let error = choose(TWO, Some("fibb")).unwrap_err();
        assert!(error.contains("did you mean `fib`?"), "{error}");
        assert!(error.contains("run(), fib(i32) -> i32"), "{error}");

        let error = choose(TWO, Some("zzz")).unwrap_err();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn export_that_is_no_function_is_named_by_its_kind() {
        let error = choose(TWO, Some("memory")).unwrap_err();
        assert!(
            error.contains("`memory` is a memory, not a function"),
            "{error}"
        );
    }

    #[test]
    fn initialization_is_no_function_to_run() {
        let library = r#"(module (func (export "_initialize")) (func (export "a")))"#;
        assert_eq!(choose(library, None).unwrap(), "a");
        let error = choose(library, Some("_initializ")).unwrap_err();
        assert!(error.ends_with("it exports a()"), "{error}");
        let error = choose(library, Some("_initialize")).unwrap_err();
        assert!(error.contains("called before any other"), "{error}");
    }

    #[test]
    fn suggestions_can_be_typed_and_act_on_no_terminal() {
        let wat = r#"(module (func (export "min(int)")) (func (export "\1b[2J\n")))"#;
        let error = choose(wat, Some("min(in)")).unwrap_err();
        assert!(error.contains(r"did you mean `min\(int)`?"), "{error}");
        assert!(error.contains(r"min\(int)(), \u{1b}[2J\n()"), "{error}");
    }

    #[test]
    fn module_without_functions_says_so() {
        let error = choose("(module)", None).unwrap_err();
        assert!(error.contains("it exports no function"), "{error}");
    }

    #[test]
    fn long_lists_of_exports_are_cut() {
        let exports: String = (0..50)
            .map(|i| format!(r#"(func (export "f{i}"))"#))
            .collect();
        let error = choose(&format!("(module {exports})"), None).unwrap_err();
        assert!(error.contains("and 30 more"), "{error}");
    }
}
