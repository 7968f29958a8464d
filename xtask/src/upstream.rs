//! Upstream's published crates: fetches them, finds them in cargo's cache, and lays them
//! out at their paths in upstream's repository.

use crate::fetch::{Fetched, fetch};
use crate::pin::Pin;
use crate::published::{Crate, is_plain};
use crate::root::{Root, capture, cargo};
use crate::tamper;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The package at the root of upstream's repository. All the others must be of the same
/// commit.
pub const ROOT_CRATE: &str = "wasmtime-cli";

pub struct Upstream {
    pub version: String,
    pub commit: String,
    pub crates: Vec<Crate>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

impl Metadata {
    /// The dependencies that vendor/upstream/Cargo.toml lists.
    fn wanted(&self) -> impl Iterator<Item = &Dependency> {
        let stub = self.packages.iter().find(|p| p.source.is_none());
        stub.into_iter().flat_map(|stub| &stub.dependencies)
    }
}

impl Package {
    fn at(&self, dir: &Path, path: String) -> Crate {
        Crate {
            name: self.name.clone(),
            version: self.version.clone(),
            dir: dir.to_path_buf(),
            path,
        }
    }
}

#[derive(Deserialize)]
struct VcsInfo {
    git: Option<VcsGit>,
    #[serde(default)]
    path_in_vcs: String,
}

#[derive(Deserialize)]
struct VcsGit {
    sha1: String,
}

impl Upstream {
    /// Downloads what is not in cargo's cache, and finds the crates there.
    pub fn fetch(root: &Root) -> Result<Upstream> {
        if let Fetched::Unfit(reason) = fetch(&root.upstream(), "Wasmtime's")? {
            bail!(
                "vendor/upstream/Cargo.lock does not fit vendor/upstream/Cargo.toml: \
                 `cargo generate-lockfile --manifest-path vendor/upstream/Cargo.toml` makes it \
                 anew (cargo said: {reason})"
            );
        }
        let metadata = capture(cargo(&root.upstream()).args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
        ]))?;
        if !metadata.ok {
            bail!(
                "`cargo metadata` failed in vendor/upstream: {}",
                metadata.stderr
            );
        }
        let metadata: Metadata = serde_json::from_slice(&metadata.stdout)
            .context("cannot read what `cargo metadata` printed")?;
        let located = Upstream::locate(&metadata);
        located.or_else(|error| Err(blame_tampering(root, &metadata, error)?))
    }

    fn locate(metadata: &Metadata) -> Result<Upstream> {
        let mut commit = None;
        let mut found = Vec::new();
        for package in &metadata.packages {
            let dir = package
                .manifest_path
                .parent()
                .context("a manifest has a directory")?;
            let Some(info) = vcs_info(dir)? else { continue };
            let Some(git) = info.git else { continue };
            if package.name == ROOT_CRATE {
                commit = Some((package.version.clone(), git.sha1.clone()));
            }
            found.push((git.sha1, package.at(dir, info.path_in_vcs)));
        }
        let Some((version, commit)) = commit else {
            bail!(
                "vendor/upstream does not pin `{ROOT_CRATE}`, the root of upstream's repository, \
                 or the crate does not say which commit it was made from"
            );
        };
        let mut crates: Vec<Crate> = found
            .into_iter()
            .filter(|(sha1, _)| *sha1 == commit)
            .map(|(_, found)| found)
            .collect();
        crates.sort_by(|a, b| a.path.cmp(&b.path));

        for wanted in metadata.wanted() {
            if !crates.iter().any(|c| c.name == wanted.name) {
                bail!(
                    "`{}` in vendor/upstream/Cargo.toml was not made from commit {commit}, \
                     as `{ROOT_CRATE}` {version} was: pin the version that was",
                    wanted.name
                );
            }
        }
        if let Some(astray) = crates
            .iter()
            .find(|c| !c.path.is_empty() && !is_plain(&c.path))
        {
            bail!(
                "`{}` {} says that it is at `{}` in upstream's repository, which is no path \
                 inside of one",
                astray.name,
                astray.version,
                astray.path
            );
        }
        if let Some(pair) = crates.windows(2).find(|pair| pair[0].path == pair[1].path) {
            bail!(
                "`{}` {} and `{}` {} both come from `{}` in upstream's repository: \
                 pin one version",
                pair[0].name,
                pair[0].version,
                pair[1].name,
                pair[1].version,
                pair[0].path
            );
        }
        Ok(Upstream {
            version,
            commit,
            crates,
        })
    }

    /// Copies every crate to its place below `to`.
    pub fn lay_out(&self, to: &Path) -> Result<()> {
        for krate in &self.crates {
            krate.lay_out(to)?;
        }
        Ok(())
    }
}

/// `error`, with the crates that differ from the published ones, if that explains it.
fn blame_tampering(
    root: &Root,
    metadata: &Metadata,
    error: anyhow::Error,
) -> Result<anyhow::Error> {
    let commit = Pin::read(root).ok().map(|pin| pin.commit);
    let mut suspects = Vec::new();
    for package in &metadata.packages {
        let Some(dir) = package.manifest_path.parent() else {
            continue;
        };
        let claims = || -> Option<String> { Some(vcs_info(dir).ok()??.git?.sha1) };
        if metadata.wanted().any(|wanted| wanted.name == package.name)
            || commit.is_some() && claims() == commit
        {
            suspects.push(package.at(dir, String::new()));
        }
    }
    let found = tamper::find(root, &suspects)?.differing;
    Ok(match found.is_empty() {
        true => error,
        false => error.context(format!(
            "Wasmtime's crates are not the published ones:\n{}\nIt was noticed by this",
            found.join("\n")
        )),
    })
}

fn vcs_info(dir: &Path) -> Result<Option<VcsInfo>> {
    let path = dir.join(".cargo_vcs_info.json");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is damaged: remove {}, and cargo unpacks it anew",
                path.display(),
                dir.display()
            )
        })?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
