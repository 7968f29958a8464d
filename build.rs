//! Collects the examples in the documentation of the fork's new files: Wasmtime is no
//! member of this workspace, so `cargo test` would not run them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let overlay = root.join("overlay/crates/wasmtime/src");
    println!("cargo::rerun-if-changed={}", overlay.display());
    let mut examples = String::new();
    collect(&overlay, &mut examples)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("examples.md"), examples)
}

fn collect(dir: &Path, examples: &mut String) -> io::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, examples)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            examples_of(&fs::read_to_string(path)?, examples);
        }
    }
    Ok(())
}

/// The blocks of code in doc comments.
fn examples_of(source: &str, examples: &mut String) {
    let mut in_example = false;
    for line in source.lines() {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("///").or(line.strip_prefix("//!")) else {
            in_example = false;
            continue;
        };
        let doc = doc.strip_prefix(' ').unwrap_or(doc);
        let is_fence = doc.starts_with("```");
        if is_fence || in_example {
            let _ = writeln!(examples, "{doc}");
        }
        in_example ^= is_fence;
    }
}
