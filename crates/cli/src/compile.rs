//! `preempt compile`: a guest's module or component, compiled for later runs.

use crate::codegen;
use crate::files::Identity;
use crate::limits;
use crate::memory;
use crate::mode::Mode;
use crate::names;
use crate::sources;
use clap::Args;
use std::path::PathBuf;
use wasmparser::Parser;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

/// Compile a module or a component, so that `preempt run --allow-precompiled` need not
///
/// The result is for the same build of this command, for a processor with the same features,
/// and for the same --preemption. Whoever can write the file can make `preempt run` do
/// anything that this process may do.
#[derive(Args, Clone, Debug)]
pub struct CompileArgs {
    /// What will end a slice
    #[arg(long, value_enum, default_value_t = Mode::for_this_host())]
    preemption: Mode,

    /// Count fuel under every --preemption, for `preempt run --fuel-limit`
    #[arg(long)]
    fuel: bool,

    /// How large the shared memories that the module defines may be in all, such as 512M. The
    /// default is 1G. Its other memories are limited by `preempt run`
    #[arg(long, value_name = "SIZE", value_parser = limits::bytes, allow_hyphen_values = true)]
    memory_limit: Option<u64>,

    /// Where to write the result. The default is FILE in the current directory, with the
    /// extension .cwasm
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// A module or a component, text or binary
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Compiles a file and writes the result.
///
/// # Errors
///
/// If the file is nothing that can be compiled, or the result cannot be written.
pub fn run(args: &CompileArgs) -> Result<()> {
    let output = match (&args.output, args.file.file_name()) {
        (Some(output), _) => output.clone(),
        (None, Some(name)) => PathBuf::from(name).with_extension("cwasm"),
        (None, None) => bail!("{} is not a file", names::path(&args.file)),
    };
    let shown = names::path(&output);
    let input = Identity::of(&args.file);
    if input.is_some() && input == Identity::of(&output) {
        bail!("--output {shown}: it is the input itself; give another file");
    }
    let engine = codegen::engine(args.preemption, args.fuel, None, None)?;
    let limit = args.memory_limit.unwrap_or(memory::DEFAULT_LIMIT);
    let binary = sources::binary(&args.file, &sources::bytes(&args.file)?, limit)?;
    let compiled = match Parser::is_component(&binary) {
        true => engine
            .precompile_component(&binary)
            .context("it is not a valid WebAssembly component"),
        false => engine
            .precompile_module(&binary)
            .context("it is not a valid WebAssembly module"),
    };
    let compiled =
        compiled.with_context(|| format!("cannot compile {}", names::path(&args.file)))?;
    std::fs::write(&output, compiled).with_context(|| format!("cannot write {shown}"))
}
