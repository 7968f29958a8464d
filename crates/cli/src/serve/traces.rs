//! The traces of `--trace`: a file for each Store.

use crate::names;
use preempt_trace::perfetto;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use wasmtime::Result;
use wasmtime::error::Context as _;
use wasmtime::preempt::Trace;

/// How many events the trace of a Store has room for. Older ones are dropped.
pub const EVENTS: usize = 100_000;

/// # Errors
///
/// If nothing can be written there.
pub fn create_dir(dir: &Path) -> Result<()> {
    let cannot = || format!("--trace {}: cannot make this directory", names::path(dir));
    std::fs::create_dir_all(dir).with_context(cannot)
}

/// Writes the trace of Store `number`.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(dir: &Path, number: u64, trace: &Trace) -> Result<()> {
    let path = dir.join(format!("store-{number}.json"));
    let write = || {
        let mut file = BufWriter::new(File::create(&path)?);
        perfetto::write(trace, &mut file)?;
        file.flush()
    };
    write().with_context(|| format!("--trace: cannot write {}", names::path(&path)))
}
