//! `vendor/upstream/pin.toml`: what the layout and the patches must come to.

use crate::root::Root;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Upstream's version.
    pub version: String,
    /// Upstream's commit, as each crate of it states.
    pub commit: String,
    /// Git tree id of the laid-out crates.
    pub base: String,
    /// Git tree id after the patches.
    pub patched: String,
}

impl Pin {
    pub fn path(root: &Root) -> PathBuf {
        root.upstream().join("pin.toml")
    }

    pub fn read(root: &Root) -> Result<Pin> {
        let path = Pin::path(root);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the pin {}", path.display()))?;
        toml::from_str(&text).with_context(|| {
            format!(
                "{} is not a pin: `cargo xtask vendor --repin` writes it anew",
                path.display()
            )
        })
    }

    pub fn write(&self, root: &Root) -> Result<()> {
        let text = format!(
            "# Written by `cargo xtask vendor --repin` and `cargo xtask patches save`.\n\
             # `base` and `patched` are git tree ids: see ../README.md.\n\
             version = \"{}\"\ncommit = \"{}\"\nbase = \"{}\"\npatched = \"{}\"\n",
            self.version, self.commit, self.base, self.patched
        );
        write_if_changed(&Pin::path(root), text.as_bytes())
    }
}

/// Writes a file in one step; an unchanged one keeps its time.
pub fn write_if_changed(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let write = || -> Result<()> {
        let dir = path.parent().context("a file needs a directory")?;
        std::fs::create_dir_all(dir)?;
        let mut temp = tempfile::Builder::new()
            .prefix(".xtask-")
            .tempfile_in(dir)?;
        std::io::Write::write_all(&mut temp, bytes)?;
        // Temporary files are for their owner only.
        #[cfg(unix)]
        temp.as_file()
            .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        temp.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
