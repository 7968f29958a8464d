//! Where things are in the repository, and how to call cargo in it.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Root {
    pub path: PathBuf,
    upstream: PathBuf,
}

impl Root {
    pub fn of_this_xtask() -> Result<Root> {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        Root::at(xtask.parent().context("xtask has no parent directory")?)
    }

    pub fn at(path: &Path) -> Result<Root> {
        let path = path
            .canonicalize()
            .with_context(|| format!("no repository at {}", path.display()))?;
        if path.to_str().is_none() {
            bail!(
                "{}: cargo takes paths in UTF-8 only, and this one is not: move the checkout to \
                 another",
                path.display()
            );
        }
        let upstream = path.join("vendor/upstream");
        let root = Root { path, upstream };
        if !root.upstream().join("Cargo.toml").is_file() {
            bail!(
                "{} is not a checkout of this project: it has no vendor/upstream/Cargo.toml",
                root.path.display()
            );
        }
        Ok(root)
    }

    pub fn vendor(&self) -> PathBuf {
        self.path.join("vendor")
    }

    /// What is pinned.
    pub fn upstream(&self) -> PathBuf {
        self.upstream.clone()
    }

    /// This repository with what is pinned in `upstream` instead.
    pub fn pinning(&self, upstream: &Path) -> Root {
        Root {
            path: self.path.clone(),
            upstream: upstream.to_path_buf(),
        }
    }

    pub fn wasmtime(&self) -> PathBuf {
        self.path.join("vendor/wasmtime")
    }

    pub fn overlay(&self) -> PathBuf {
        self.path.join("overlay")
    }

    pub fn patches(&self) -> PathBuf {
        self.path.join("patches")
    }

    /// A workspace of its own, with tests of overlay files.
    pub fn kernel_tests(&self) -> PathBuf {
        self.path.join("tests/kernel")
    }

    /// A workspace of its own, with upstream's `wasmtime` command.
    pub fn wasmtime_cli(&self) -> PathBuf {
        self.path.join("wasmtime-cli")
    }

    /// A workspace of its own, with the fuzz targets.
    pub fn fuzz(&self) -> PathBuf {
        self.path.join("fuzz")
    }

    pub fn xtask_manifest(&self) -> PathBuf {
        self.path.join("xtask/Cargo.toml")
    }

    /// The target directory that cargo uses at the root of the repository, however that is
    /// configured.
    pub fn target(&self) -> Result<PathBuf> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
        }
        let args = ["metadata", "--no-deps", "--offline", "--format-version=1"];
        let metadata = capture(cargo(&self.path).args(args))?;
        if !metadata.ok {
            bail!("`cargo metadata` failed: {}", metadata.stderr);
        }
        let metadata: Metadata = serde_json::from_slice(&metadata.stdout)?;
        Ok(metadata.target_directory)
    }
}

/// A cargo command to run in `dir`. Does not pass on what `cargo run` told this process
/// about xtask's own package.
pub fn cargo(dir: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command` on this terminal. An error says that `what` failed.
pub fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

pub struct Captured {
    pub ok: bool,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs `command` without a terminal and keeps what it prints.
pub fn capture(command: &mut Command) -> Result<Captured> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    Ok(Captured {
        ok: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_string(),
    })
}

/// Whether a message reports a full disk or quota.
pub fn tells_full_disk(text: &str) -> bool {
    [
        "No space left",
        "Out of diskspace",
        "Disk quota exceeded",
        "File too large",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// `error`, with a hint about disk space if that ran out.
pub fn explain_full_disk(error: anyhow::Error) -> anyhow::Error {
    if tells_full_disk(&format!("{error:#}")) {
        error.context(
            "the disk is full: `cargo xtask vendor` needs about 100 MB, a build about 5 GB; \
             free some and run the command again",
        )
    } else {
        error
    }
}
