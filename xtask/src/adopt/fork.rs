//! The crates that an embedder takes from `vendor/wasmtime`.

use crate::pin::Pin;
use crate::release::Release;
use crate::root::Root;
use crate::upstream::Upstream;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What they are used for.
pub const WASMTIME: &str = "wasmtime";
pub const FEATURE: &str = "preemptive-threads";

pub struct Fork {
    pub version: String,
    pub dir: PathBuf,
    /// By name. All of upstream's that are laid out: an embedder's next dependency may bring in
    /// any of them.
    pub crates: BTreeMap<String, Crate>,
}

pub struct Crate {
    pub version: String,
    pub dir: PathBuf,
}

impl Fork {
    pub fn read(root: &Root) -> Result<Fork> {
        let dir = root.wasmtime();
        let crates = Upstream::fetch(root)?.crates.into_iter().map(|found| {
            let dir = match found.path.is_empty() {
                true => dir.clone(),
                false => dir.join(found.path),
            };
            let version = found.version;
            (found.name, Crate { version, dir })
        });
        Ok(Fork {
            version: Pin::read(root)?.version,
            crates: crates.collect(),
            dir,
        })
    }
}

impl Crate {
    /// Whether cargo takes one of them for the other.
    pub fn is_compatible(&self, version: &str) -> bool {
        let (Ok(ours), Ok(other)) = (self.version.parse::<Release>(), version.parse::<Release>())
        else {
            return false;
        };
        ours.major == other.major && (ours.major > 0 || ours.minor == other.minor)
    }
}

/// Whether a crate is used without Wasmtime too, so that another version of it may be in the
/// same program: Cranelift, and what Cranelift uses.
pub fn is_independent(name: &str) -> bool {
    name.starts_with("cranelift-") || name == "wasmtime-internal-core"
}
