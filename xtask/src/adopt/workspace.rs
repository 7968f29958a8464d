//! An embedder's workspace, as cargo sees it.

use crate::root::{Captured, Root, capture, cargo};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Workspace {
    pub root: PathBuf,
    /// A file for `cargo --config`.
    config: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub manifest_path: PathBuf,
    /// `None` if it is a path.
    source: Option<String>,
    pub dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub struct Dependency {
    pub name: String,
    pub rename: Option<String>,
    pub req: String,
    kind: Option<String>,
    /// `None` if it is a path.
    pub source: Option<String>,
}

impl Package {
    /// What counts in this workspace: of other people's packages, nothing that is for tests.
    pub fn needs(&self) -> impl Iterator<Item = &Dependency> {
        let dependencies = self.dependencies.iter();
        dependencies.filter(|d| self.source.is_none() || d.kind.as_deref() != Some("dev"))
    }
}

impl Dependency {
    /// Whether it comes from crates.io, whatever that is replaced by.
    pub fn is_published(&self) -> bool {
        let source = "registry+https://github.com/rust-lang/crates.io-index";
        self.source.as_deref() == Some(source)
    }

    /// Its key in the manifest.
    pub fn key(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }
}

impl Workspace {
    /// The workspace that `dir` belongs to.
    pub fn find(dir: &Path) -> Result<Workspace> {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("there is no {}", dir.display()))?;
        if !dir.join("Cargo.toml").is_file() {
            bail!(
                "{} has no Cargo.toml: name the directory of a workspace, or of a package in it",
                dir.display()
            );
        }
        let args = ["locate-project", "--workspace", "--message-format=plain"];
        let located = succeed(cargo(&dir).args(args), "`cargo locate-project`")?;
        let manifest = String::from_utf8(located.stdout).context("a path that is not UTF-8")?;
        let root = Path::new(manifest.trim()).parent();
        Ok(Workspace {
            root: root.context("a manifest has a directory")?.to_path_buf(),
            config: None,
        })
    }

    pub fn with_config(self, config: Option<PathBuf>) -> Workspace {
        Workspace { config, ..self }
    }

    /// Fails if it is `ours`, which uses the fork anyway.
    pub fn refuse_own(&self, ours: &Root) -> Result<()> {
        if self.root.starts_with(&ours.path) {
            bail!(
                "{} is part of the fork's own repository: name a workspace elsewhere",
                self.root.display()
            );
        }
        Ok(())
    }

    pub fn manifest(&self) -> PathBuf {
        self.root.join("Cargo.toml")
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("Cargo.lock")
    }

    /// A path as it is shown.
    pub fn show<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    pub fn members(&self) -> Result<Vec<Package>> {
        self.metadata(&["--no-deps"])
    }

    /// The members and all that they depend on, on any machine and with any features.
    pub fn all_packages(&self) -> Result<Vec<Package>> {
        self.metadata(&["--locked"])
    }

    fn metadata(&self, args: &[&str]) -> Result<Vec<Package>> {
        let mut words = vec!["metadata", "--format-version=1"];
        words.extend(args);
        let metadata = self.cargo(&words)?;
        let metadata: Metadata = serde_json::from_slice(&metadata.stdout)
            .context("cannot read what `cargo metadata` printed")?;
        Ok(metadata.packages)
    }

    /// Runs cargo in the workspace: without a network, if that will do.
    pub fn cargo(&self, args: &[&str]) -> Result<Captured> {
        let command = || {
            let mut command = cargo(&self.root);
            if let Some(config) = &self.config {
                command.arg("--config").arg(config);
            }
            command.args(args);
            command
        };
        let offline = capture(command().arg("--offline"))?;
        if offline.ok {
            return Ok(offline);
        }
        succeed(&mut command(), &format!("`cargo {}`", args[0]))
    }
}

fn succeed(command: &mut Command, what: &str) -> Result<Captured> {
    let captured = capture(command)?;
    if !captured.ok {
        bail!(
            "{what} failed in {}. It said: {}",
            command
                .get_current_dir()
                .unwrap_or(Path::new("."))
                .display(),
            captured.stderr
        );
    }
    Ok(captured)
}
