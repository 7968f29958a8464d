//! The files of the guests: each is read and compiled once, however many guests use it.

use crate::component;
use crate::files;
use crate::mode::Mode;
use crate::names;
use crate::outline::Outline;
use crate::refused;
use crate::shared;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Module, Result, bail};

pub struct Sources<'a> {
    engine: &'a Engine,
    mode: Mode,
    /// By file and memory limit.
    known: HashMap<(PathBuf, u64), Source>,
}

struct Source {
    binary: Vec<u8>,
    outline: Outline,
    /// Once it is compiled.
    module: Option<Module>,
}

impl<'a> Sources<'a> {
    /// Sources of modules for `engine`, which preempts guests according to `mode`.
    pub fn new(engine: &'a Engine, mode: Mode) -> Self {
        Sources {
            engine,
            mode,
            known: HashMap::new(),
        }
    }

    /// The outline of the module in `file`, whose memory is limited to `memory` bytes.
    pub fn outline(&mut self, file: &Path, memory: u64) -> Result<Outline> {
        Ok(self.source(file, memory)?.outline.clone())
    }

    /// The module in `file`, compiled.
    pub fn module(&mut self, file: &Path, memory: u64) -> Result<Module> {
        let (engine, mode) = (self.engine, self.mode);
        let source = self.source(file, memory)?;
        if let Some(module) = &source.module {
            return Ok(module.clone());
        }
        let module = compiled(engine, mode, file, &source.binary)?;
        source.module = Some(module.clone());
        Ok(module)
    }

    fn source(&mut self, file: &Path, memory: u64) -> Result<&mut Source> {
        let key = (file.to_path_buf(), memory);
        if !self.known.contains_key(&key) {
            let binary = binary(file, memory)?;
            let outline = Outline::of(self.engine, &binary);
            // Most modules without an outline are invalid.
            let (outline, module) = match outline {
                Some(outline) => (outline, None),
                None => {
                    let module = compiled(self.engine, self.mode, file, &binary)?;
                    (Outline::from(module.clone()), Some(module))
                }
            };
            let source = Source {
                binary,
                outline,
                module,
            };
            self.known.insert(key.clone(), source);
        }
        self.known
            .get_mut(&key)
            .context("a file that was just read")
    }
}

/// The module in `file`, in the binary format, with its shared memories limited to `memory`
/// bytes.
pub fn binary(file: &Path, memory: u64) -> Result<Vec<u8>> {
    let shown = names::path(file);
    let bytes = files::read(file)?;
    if bytes.is_empty() {
        bail!("cannot run {shown}: the file is empty");
    }
    let cannot_run = || format!("cannot run {shown}");
    let binary = wat::Parser::new()
        .parse_bytes(Some(file), &bytes)
        .with_context(cannot_run)?;
    if let Some(why) = component::refused(&binary, &shown) {
        bail!("cannot run {shown}: {why}");
    }
    let capped = shared::capped(&binary, memory).with_context(cannot_run)?;
    Ok(capped.unwrap_or_else(|| binary.into_owned()))
}

fn compiled(engine: &Engine, mode: Mode, file: &Path, binary: &[u8]) -> Result<Module> {
    Module::new(engine, binary)
        .map_err(|error| refused::by_engine(mode, binary, error))
        .with_context(|| format!("cannot run {}", names::path(file)))
}
