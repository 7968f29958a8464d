//! `Cargo.lock` of an embedder: which of the fork's crates it has, and moving these.
//!
//! A patch only takes the place of the very version that it has. So each locked crate is made
//! the fork's, as cargo would write it, and cargo is left to lock what that version depends on.
//! `cargo update --precise` would not do: it moves one crate at a time, and Wasmtime's depend on
//! each other's exact versions.

use super::fork::{Fork, is_independent};
use crate::release::Release;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

pub struct Lock {
    document: DocumentMut,
}

/// A locked crate.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
pub struct Locked {
    pub name: String,
    pub version: String,
    /// `None` if it is a path, as the fork's are.
    pub source: Option<String>,
}

impl Lock {
    pub fn parse(text: &str) -> Result<Lock> {
        let document = text.parse().context("Cargo.lock is no lock file")?;
        Ok(Lock { document })
    }

    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// All that is locked under names of the fork's crates.
    pub fn named_as(&self, fork: &Fork) -> BTreeSet<Locked> {
        self.packages()
            .filter_map(locked)
            .filter(|locked| fork.crates.contains_key(&locked.name))
            .collect()
    }

    /// What else of Wasmtime's repository is locked, of which the fork has nothing.
    pub fn others(&self, fork: &Fork) -> BTreeSet<Locked> {
        self.packages()
            .filter_map(locked)
            .filter(|l| l.name.starts_with("wasmtime-") && !fork.crates.contains_key(&l.name))
            .collect()
    }

    /// Makes what is not the fork's the fork's, and returns it.
    pub fn move_to(&mut self, fork: &Fork) -> Vec<Locked> {
        let mut by_name: BTreeMap<String, Vec<Locked>> = BTreeMap::new();
        for locked in self.named_as(fork) {
            by_name.entry(locked.name.clone()).or_default().push(locked);
        }
        let mut moved = Vec::new();
        for (name, mut all) in by_name {
            let ours = &fork.crates[&name];
            if all
                .iter()
                .any(|l| l.source.is_none() && l.version == ours.version)
            {
                continue;
            }
            // The one that can best be the fork's: cargo moves it back if it cannot.
            all.sort_by_key(|locked| locked.version.parse::<Release>().ok());
            let compatible = all.iter().rfind(|l| ours.is_compatible(&l.version));
            let best = match compatible {
                None if is_independent(&name) => continue,
                None => all.last(),
                some => some,
            };
            if let Some(best) = best
                && best.source.is_some()
            {
                moved.push(best.clone());
            }
        }
        for locked in &moved {
            self.replace(locked, &fork.crates[&locked.name].version);
        }
        moved
    }

    fn replace(&mut self, old: &Locked, version: &str) {
        let Some(packages) = self.document.get_mut("package") else {
            return;
        };
        let Some(packages) = packages.as_array_of_tables_mut() else {
            return;
        };
        for package in packages.iter_mut() {
            if locked(package).as_ref() == Some(old) {
                package["version"] = toml_edit::value(version);
                package.remove("source");
                package.remove("checksum");
            }
            let dependencies = package.get_mut("dependencies").and_then(Item::as_array_mut);
            for dependency in dependencies.into_iter().flat_map(|array| array.iter_mut()) {
                // "NAME VERSION", where a name alone would not do.
                let mut words = dependency.as_str().unwrap_or("").split(' ');
                if words.next() == Some(&old.name) && words.next() == Some(&old.version) {
                    let decor = dependency.decor().clone();
                    *dependency = format!("{} {version}", old.name).into();
                    *dependency.decor_mut() = decor;
                }
            }
        }
    }

    fn packages(&self) -> impl Iterator<Item = &Table> {
        let packages = self.document.get("package");
        packages
            .and_then(Item::as_array_of_tables)
            .into_iter()
            .flat_map(ArrayOfTables::iter)
    }
}

fn locked(package: &Table) -> Option<Locked> {
    let text = |key: &str| package.get(key)?.as_str().map(str::to_string);
    Some(Locked {
        name: text("name")?,
        version: text("version")?,
        source: text("source"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fork::Crate;
    use super::*;

    fn fork() -> Fork {
        let krate = |version: &str| Crate {
            version: version.to_string(),
            dir: "/fork".into(),
        };
        Fork {
            version: "48.0.8".to_string(),
            dir: "/fork".into(),
            crates: [
                ("cranelift-entity".to_string(), krate("0.135.8")),
                ("wasmtime".to_string(), krate("48.0.8")),
            ]
            .into(),
        }
    }

    fn package(name: &str, version: &str, rest: &str) -> String {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{rest}\n")
    }

    const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                            checksum = \"0\"\n";

    fn moved(text: &str) -> (Vec<String>, String) {
        let mut lock = Lock::parse(text).unwrap();
        let moved = lock.move_to(&fork());
        (moved.into_iter().map(|l| l.version).collect(), lock.text())
    }

    #[test]
    fn locked_crates_become_the_forks_and_what_is_independent_stays() {
        let needs = |version: &str| {
            format!("dependencies = [\n \"cranelift-entity {version}\",\n \"other\",\n]\n")
        };
        let before = package("cranelift-entity", "0.130.0", REGISTRY)
            + &package("cranelift-entity", "0.135.9", REGISTRY)
            + &package("jit", "1.0.0", &needs("0.130.0"))
            + &package(
                "wasmtime",
                "48.0.7",
                &(REGISTRY.to_string() + &needs("0.135.9")),
            );
        let after = package("cranelift-entity", "0.130.0", REGISTRY)
            + &package("cranelift-entity", "0.135.8", "")
            + &package("jit", "1.0.0", &needs("0.130.0"))
            + &package("wasmtime", "48.0.8", &needs("0.135.8"));
        let (versions, text) = moved(&before);
        assert_eq!(versions, ["0.135.9", "48.0.7"]);
        assert_eq!(text, after);
        assert!(moved(&after).0.is_empty());
    }

    #[test]
    fn one_of_several_is_moved() {
        let two =
            package("wasmtime", "45.0.0", REGISTRY) + &package("wasmtime", "48.0.7", REGISTRY);
        assert_eq!(moved(&two).0, ["48.0.7"]);
        let two =
            package("wasmtime", "45.0.0", REGISTRY) + &package("wasmtime", "50.0.1", REGISTRY);
        assert_eq!(moved(&two).0, ["50.0.1"]);
        let ours = package("wasmtime", "45.0.0", REGISTRY) + &package("wasmtime", "48.0.8", "");
        assert!(moved(&ours).0.is_empty());
    }
}
