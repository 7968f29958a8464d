//! The files of the guests: each is read and compiled once, however many guests use it.

use crate::component;
use crate::files;
use crate::names;
use crate::outline::Outline;
use crate::plan::Plan;
use crate::shared;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Module, Precompiled, Result, bail};

pub struct Sources<'a> {
    engine: &'a Engine,
    plan: Plan,
    allows_precompiled: bool,
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
    /// Sources of modules for `engine`, which is for `plan`.
    pub fn new(engine: &'a Engine, plan: Plan, allows_precompiled: bool) -> Self {
        Sources {
            engine,
            plan,
            allows_precompiled,
            known: HashMap::new(),
        }
    }

    /// The outline of the module in `file`, whose memory is limited to `memory` bytes.
    pub fn outline(&mut self, file: &Path, memory: u64) -> Result<Outline> {
        Ok(self.source(file, memory)?.outline.clone())
    }

    /// The module in `file`, compiled.
    pub fn module(&mut self, file: &Path, memory: u64) -> Result<Module> {
        let engine = self.engine;
        let source = self.source(file, memory)?;
        if let Some(module) = &source.module {
            return Ok(module.clone());
        }
        let module = compiled(engine, file, &source.binary)?;
        source.module = Some(module.clone());
        Ok(module)
    }

    fn source(&mut self, file: &Path, memory: u64) -> Result<&mut Source> {
        let key = (file.to_path_buf(), memory);
        if !self.known.contains_key(&key) {
            let source = self.read(file, memory)?;
            self.known.insert(key.clone(), source);
        }
        let source = self.known.get_mut(&key);
        source.context("a file is known once it is read")
    }

    fn read(&self, file: &Path, memory: u64) -> Result<Source> {
        let bytes = bytes(file)?;
        if Engine::detect_precompiled(&bytes) == Some(Precompiled::Module) {
            let module = self.precompiled(file, &bytes)?;
            return Ok(Source {
                binary: Vec::new(),
                outline: Outline::from(module.clone()),
                module: Some(module),
            });
        }
        let binary = binary(file, &bytes, memory)?;
        // Most modules without an outline are invalid.
        let (outline, module) = match Outline::of(self.engine, &binary) {
            Some(outline) => (outline, None),
            None => {
                let module = compiled(self.engine, file, &binary)?;
                (Outline::from(module.clone()), Some(module))
            }
        };
        Ok(Source {
            binary,
            outline,
            module,
        })
    }

    fn precompiled(&self, file: &Path, bytes: &[u8]) -> Result<Module> {
        let shown = names::path(file);
        if !self.allows_precompiled {
            bail!(
                "cannot run {shown}: it is compiled already, and such a file can do anything \
                 that this process may do; if you trust it, use --allow-precompiled"
            );
        }
        // SAFETY: the user has said, with --allow-precompiled, that the file comes from
        // `Engine::precompile_module` and nobody has changed it. It was not read again since
        // it was looked at.
        let module = unsafe { Module::deserialize(self.engine, bytes) };
        module.with_context(|| {
            let fuel = match self.plan.counts_fuel_for_limits() {
                true => " --fuel",
                false => "",
            };
            format!(
                "cannot run {shown}: it was compiled for other options, or by another build \
                 of this command; compile it with `preempt compile --preemption {}{fuel}`",
                self.plan.mode
            )
        })
    }
}

/// The contents of a guest's file.
///
/// # Errors
///
/// If it cannot be read, or there are none.
pub fn bytes(file: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(file)?;
    if bytes.is_empty() {
        bail!("cannot run {}: the file is empty", names::path(file));
    }
    Ok(bytes)
}

/// The module with these `bytes` in the binary format, with the shared memories that it
/// defines limited to `memory` bytes.
///
/// # Errors
///
/// If it is not in the text format or the binary format, or is a component.
pub fn binary(file: &Path, bytes: &[u8], memory: u64) -> Result<Vec<u8>> {
    let shown = names::path(file);
    let cannot_run = || format!("cannot run {shown}");
    match Engine::detect_precompiled(bytes) {
        Some(Precompiled::Module) => bail!("{shown} is compiled already"),
        Some(Precompiled::Component) => {
            bail!("cannot run {shown}: it is a compiled component, and this command runs modules")
        }
        None => {}
    }
    let binary = wat::Parser::new()
        .parse_bytes(Some(file), bytes)
        .with_context(cannot_run)?;
    if let Some(why) = component::refused(&binary, &shown) {
        bail!("cannot run {shown}: {why}");
    }
    let capped = shared::capped(&binary, memory).with_context(cannot_run)?;
    Ok(capped.unwrap_or_else(|| binary.into_owned()))
}

fn compiled(engine: &Engine, file: &Path, binary: &[u8]) -> Result<Module> {
    Module::new(engine, binary)
        .context("it is not a valid WebAssembly module")
        .with_context(|| format!("cannot run {}", names::path(file)))
}
