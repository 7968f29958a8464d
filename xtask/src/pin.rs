//! `vendor/upstream/pin.toml`: what the layout and the patches must produce.

use crate::files::write_if_changed;
use crate::root::Root;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Upstream's version.
    pub version: String,
    /// Upstream's commit, as stated by each of its crates.
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

    /// The pin's text, as in the file at [`Pin::path`].
    pub fn text(&self) -> String {
        format!(
            "# Written by `cargo xtask vendor --repin` and `cargo xtask patches save`.\n\
             # `base` and `patched` are git tree ids: see ../README.md.\n\
             version = \"{}\"\ncommit = \"{}\"\nbase = \"{}\"\npatched = \"{}\"\n",
            self.version, self.commit, self.base, self.patched
        )
    }

    pub fn write(&self, root: &Root) -> Result<()> {
        write_if_changed(&Pin::path(root), self.text().as_bytes())
    }
}
