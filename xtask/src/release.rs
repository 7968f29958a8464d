//! Releases of Wasmtime, and which of them the crate registry has, as cargo sees it.

use crate::files::TEMPORARY;
use crate::root::{Root, capture, cargo};
use crate::upstream::ROOT_CRATE;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A version such as 48.0.8. Releases have neither pre-release nor build parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
}

impl Release {
    pub fn same_minor(self, other: Release) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Release {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Release> {
        let numbers: Option<Vec<u64>> = text
            .split('.')
            .map(|part| part.parse().ok().filter(|n: &u64| n.to_string() == part))
            .collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Release {
                major,
                minor,
                patch,
            }),
            _ => bail!("`{text}` is not the version of a release, such as 48.0.8"),
        }
    }
}

/// The newest release in the registry that has the minor version of `release`.
pub fn newest(root: &Root, release: Release) -> Result<Release> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }

    // Inside the repository, so that cargo's settings for it hold here too.
    let scratch = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(root.upstream())
        .context("cannot create a directory in vendor/upstream")?;
    let Release { major, minor, .. } = release;
    let manifest = format!(
        "[workspace]\n[package]\nname = \"newest\"\nedition = \"2024\"\n[dependencies]\n\
         {ROOT_CRATE} = {{ version = \"~{major}.{minor}\", default-features = false }}\n"
    );
    write(scratch.path(), "Cargo.toml", &manifest)?;
    write(scratch.path(), "src/lib.rs", "")?;
    let locked = capture(cargo(scratch.path()).args([
        "generate-lockfile",
        "--quiet",
        // What cargo knew earlier says nothing about newer releases.
        "--config=net.offline=false",
        // A release is not passed over because this compiler is older.
        "--config=resolver.incompatible-rust-versions='allow'",
    ]))?;
    if !locked.ok {
        bail!(
            "cargo could not ask the crate registry for releases of Wasmtime {major}.{minor}, for \
             which it needs network access. It said: {}",
            locked.stderr
        );
    }
    let path = scratch.path().join("Cargo.lock");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let package = lock.package.iter().find(|p| p.name == ROOT_CRATE);
    package
        .with_context(|| format!("cargo found no release of `{ROOT_CRATE}`"))?
        .version
        .parse()
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number_and_print_as_they_read() {
        let release = |text: &str| text.parse::<Release>().unwrap();
        assert!(release("48.0.9") < release("48.0.10"));
        assert!(release("48.0.10").same_minor(release("48.0.9")));
        assert!(!release("48.1.0").same_minor(release("48.0.9")));
        assert_eq!(release("48.0.10").to_string(), "48.0.10");
    }

    #[test]
    fn what_is_no_release_is_named() {
        for text in [
            "",
            "48.0",
            "48.0.8.1",
            "v48.0.8",
            "48.0.08",
            "48.0.+8",
            "48.0.8-rc.1",
        ] {
            let error = text.parse::<Release>().err().unwrap().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
