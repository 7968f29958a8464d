//! Where a port is: what is committed of it, and where it is laid out.

use crate::root::Root;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

pub struct Port<'a> {
    pub root: &'a Root,
    /// Of Wasmtime's version.
    pub major: u64,
    /// `ports/49`
    pub dir: PathBuf,
    /// `target/port-49`
    pub work: PathBuf,
}

impl Port<'_> {
    pub fn open(root: &Root, major: u64) -> Result<Port<'_>> {
        let dir = root.path.join("ports").join(major.to_string());
        if !dir.join("upstream/Cargo.toml").is_file() {
            bail!("there is no port to Wasmtime {major}: ports/README.md says how to begin one");
        }
        let work = root.target()?.join(format!("port-{major}"));
        std::fs::create_dir_all(&work)
            .with_context(|| format!("cannot create {}", work.display()))?;
        Ok(Port {
            root,
            major,
            dir,
            work,
        })
    }

    /// What pins the version that the port is to.
    pub fn upstream(&self) -> Root {
        self.root.pinning(&self.dir.join("upstream"))
    }

    /// The changes to the series: a file for each patch that cannot only be merged.
    pub fn changes(&self) -> PathBuf {
        self.dir.join("patches")
    }

    /// The changes to the repository's own files.
    pub fn repository_patch(&self) -> PathBuf {
        self.dir.join("repository.patch")
    }

    /// The repository as it would be with this version.
    pub fn checkout(&self) -> PathBuf {
        self.work.join("checkout")
    }
}
