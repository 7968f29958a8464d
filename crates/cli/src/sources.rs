//! The files of the guests: each is read and compiled once, however many guests use it.

use crate::component::outline as component_outline;
use crate::files;
use crate::names;
use crate::outline::Outline;
use crate::plan::Plan;
use crate::shared;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wasmparser::Parser;
use wasmtime::component::Component;
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
    shape: Shape,
    /// Once it is compiled.
    code: Option<Code>,
}

/// What a file imports and exports.
#[derive(Clone)]
pub enum Shape {
    Module(Outline),
    Component(Component),
}

/// What a file holds, compiled.
#[derive(Clone)]
pub enum Code {
    Module(Module),
    Component(Component),
}

impl From<Code> for Shape {
    fn from(code: Code) -> Shape {
        match code {
            Code::Module(module) => Shape::Module(Outline::from(module)),
            Code::Component(component) => Shape::Component(component),
        }
    }
}

impl<'a> Sources<'a> {
    /// Sources of code for `engine`, which is for `plan`.
    pub fn new(engine: &'a Engine, plan: Plan, allows_precompiled: bool) -> Self {
        Sources {
            engine,
            plan,
            allows_precompiled,
            known: HashMap::new(),
        }
    }

    /// The shape of what is in `file`, whose memory is limited to `memory` bytes.
    pub fn shape(&mut self, file: &Path, memory: u64) -> Result<Shape> {
        Ok(self.source(file, memory)?.shape.clone())
    }

    /// What is in `file`, compiled.
    pub fn code(&mut self, file: &Path, memory: u64) -> Result<Code> {
        let engine = self.engine;
        let source = self.source(file, memory)?;
        if let Some(code) = &source.code {
            return Ok(code.clone());
        }
        let code = compiled(engine, file, &source.binary)?;
        source.code = Some(code.clone());
        Ok(code)
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
        if let Some(kind) = Engine::detect_precompiled(&bytes) {
            let code = self.precompiled(file, kind, &bytes)?;
            return Ok(Source {
                binary: Vec::new(),
                shape: Shape::from(code.clone()),
                code: Some(code),
            });
        }
        let binary = binary(file, &bytes, memory)?;
        let shape = match Parser::is_component(&binary) {
            true => component_outline::of(self.engine, &binary).map(Shape::Component),
            false => Outline::of(self.engine, &binary).map(Shape::Module),
        };
        // Most files without an outline are invalid.
        let (shape, code) = match shape {
            Some(shape) => (shape, None),
            None => {
                let code = compiled(self.engine, file, &binary)?;
                (Shape::from(code.clone()), Some(code))
            }
        };
        Ok(Source {
            binary,
            shape,
            code,
        })
    }

    fn precompiled(&self, file: &Path, kind: Precompiled, bytes: &[u8]) -> Result<Code> {
        let shown = names::path(file);
        if !self.allows_precompiled {
            bail!(
                "cannot run {shown}: it is compiled already, and such a file can do anything \
                 that this process may do; if you trust it, use --allow-precompiled"
            );
        }
        // SAFETY: the user has said, with --allow-precompiled, that the file comes from
        // `Engine::precompile_module` or `precompile_component` and nobody has changed it. It
        // was not read again since it was looked at.
        let code = unsafe {
            match kind {
                Precompiled::Module => Module::deserialize(self.engine, bytes).map(Code::Module),
                Precompiled::Component => {
                    Component::deserialize(self.engine, bytes).map(Code::Component)
                }
            }
        };
        code.with_context(|| {
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

/// The module or component with these `bytes` in the binary format, with the shared memories that
/// a module defines limited to `memory` bytes.
///
/// # Errors
///
/// If it is not in the text format or the binary format, or a component defines shared memories.
pub fn binary(file: &Path, bytes: &[u8], memory: u64) -> Result<Vec<u8>> {
    let shown = names::path(file);
    let cannot_run = || format!("cannot run {shown}");
    if Engine::detect_precompiled(bytes).is_some() {
        bail!("{shown} is compiled already");
    }
    let binary = wat::Parser::new()
        .parse_bytes(Some(file), bytes)
        .with_context(cannot_run)?;
    if Parser::is_component(&binary) {
        component_outline::refuse_shared_memories(&binary).with_context(cannot_run)?;
    }
    let capped = shared::capped(&binary, memory).with_context(cannot_run)?;
    Ok(capped.unwrap_or_else(|| binary.into_owned()))
}

fn compiled(engine: &Engine, file: &Path, binary: &[u8]) -> Result<Code> {
    let (code, what) = match Parser::is_component(binary) {
        true => (
            Component::new(engine, binary).map(Code::Component),
            "component",
        ),
        false => (Module::new(engine, binary).map(Code::Module), "module"),
    };
    code.map_err(|error| {
        // Not everything that is invalid here is invalid elsewhere.
        let is_async = format!("{error:#}").contains("component model async");
        error.context(match is_async {
            true => "it has asynchronous functions, as of WASI 0.3, which this command does not \
                     run; `wasmtime run` may"
                .to_string(),
            false => format!("it is not a valid WebAssembly {what}"),
        })
    })
    .with_context(|| format!("cannot run {}", names::path(file)))
}
