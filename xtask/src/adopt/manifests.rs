//! What an adoption writes to manifests: the patches, and the feature of a dependency.

use super::fork::{FEATURE, Fork, WASMTIME};
use anyhow::{Context, Result, bail};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
/// Names of the crate registry in [patch].
const REGISTRIES: [&str; 2] = ["crates-io", "https://github.com/rust-lang/crates.io-index"];

/// `text`, a manifest or a configuration of cargo, with a patch for every crate of the fork.
///
/// # Errors
///
/// If it has a patch of its own for one of them.
pub fn add_patches(text: &str, fork: &Fork) -> Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let patch = document
        .entry("patch")
        .or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        })
        .as_table_like_mut()
        .context("`patch` is not a table")?;
    for registry in REGISTRIES {
        let theirs = patch.get(registry).and_then(Item::as_table_like);
        let patched = theirs.and_then(|theirs| {
            theirs
                .iter()
                .map(|(key, item)| (key, package(key, item)))
                .find(|(_, package)| fork.crates.contains_key(*package))
        });
        if let Some((key, _)) = patched {
            bail!(
                "it has a [patch] of its own for `{key}`, and two cannot be had: remove it first"
            );
        }
    }
    let registry = patch
        .entry(REGISTRIES[0])
        .or_insert_with(|| {
            let mut table = Table::new();
            table
                .decor_mut()
                .set_prefix("\n# Written by `cargo xtask adopt` of wasmtime-preempt.\n");
            Item::Table(table)
        })
        .as_table_like_mut()
        .context("`patch.crates-io` is not a table")?;
    for (name, krate) in &fork.crates {
        let path = krate.dir.to_str().context("a path that is not UTF-8")?;
        let mut patch = InlineTable::new();
        patch.insert("path", path.into());
        registry.insert(name, Item::Value(patch.into()));
    }
    Ok(document.to_string())
}

/// `text`, a package's manifest, with the feature of the dependencies on `wasmtime` enabled.
/// These have the given keys.
pub fn enable_feature(text: &str, keys: &[&str]) -> Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let mut found = visit(document.as_table_mut(), keys)?;
    let targets = document.get_mut("target").and_then(Item::as_table_like_mut);
    if let Some(targets) = targets {
        for (_, target) in targets.iter_mut() {
            if let Some(target) = target.as_table_like_mut() {
                found |= visit(target, keys)?;
            }
        }
    }
    if !found {
        bail!("cargo sees a dependency on `{WASMTIME}` there, and xtask does not");
    }
    Ok(document.to_string())
}

/// Whether `owner` has such a dependency.
fn visit(owner: &mut dyn TableLike, keys: &[&str]) -> Result<bool> {
    let mut found = false;
    for table in TABLES {
        let dependencies = owner.get_mut(table).and_then(Item::as_table_like_mut);
        let Some(dependencies) = dependencies else {
            continue;
        };
        for (key, dependency) in dependencies.iter_mut() {
            if keys.contains(&key.get()) {
                found = true;
                add_feature(dependency).with_context(|| format!("`{}`", key.get()))?;
            }
        }
    }
    Ok(found)
}

fn add_feature(dependency: &mut Item) -> Result<()> {
    if let Some(version) = dependency.as_str() {
        let mut table = InlineTable::new();
        table.insert("version", version.into());
        let decor = dependency.as_value().map(|value| value.decor().clone());
        let mut value = Value::InlineTable(table);
        if let Some(decor) = decor {
            *value.decor_mut() = decor;
        }
        *dependency = Item::Value(value);
    }
    let table = dependency
        .as_table_like_mut()
        .context("it is no dependency")?;
    let features = table
        .entry("features")
        .or_insert_with(|| Item::Value(Array::new().into()))
        .as_array_mut()
        .context("`features` is not an array")?;
    if features.iter().any(|f| f.as_str() == Some(FEATURE)) {
        return Ok(());
    }
    // On a line of its own, if the one before it is.
    let prefix = features.iter().last().map(|last| {
        let prefix = last.decor().prefix().and_then(|prefix| prefix.as_str());
        match prefix.and_then(|prefix| prefix.rfind('\n').map(|at| &prefix[at..])) {
            Some(line) => line.to_string(),
            None => " ".to_string(),
        }
    });
    let mut feature = Value::from(FEATURE);
    feature.decor_mut().set_prefix(prefix.unwrap_or_default());
    features.push_formatted(feature);
    Ok(())
}

/// The package that a dependency or patch with this key is of.
fn package<'a>(key: &'a str, item: &'a Item) -> &'a str {
    let package = item.as_table_like().and_then(|table| table.get("package"));
    package.and_then(Item::as_str).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::super::fork::Crate;
    use super::*;

    fn fork() -> Fork {
        let krate = |dir: &str| Crate {
            version: "48.0.8".to_string(),
            dir: dir.into(),
        };
        Fork {
            version: "48.0.8".to_string(),
            dir: "/fork".into(),
            crates: [
                ("wasmtime".to_string(), krate("/fork/crates/wasmtime")),
                ("wiggle".to_string(), krate("/fork/crates/wiggle")),
            ]
            .into(),
        }
    }

    const PATCHES: &str = "wasmtime = { path = \"/fork/crates/wasmtime\" }\n\
                           wiggle = { path = \"/fork/crates/wiggle\" }\n";

    #[test]
    fn patches_come_last_and_nothing_else_changes() {
        let text = "# One.\n[package]\nname = \"a\" # Two.\n\n[dependencies]\nwasmtime = \"48\"\n";
        let expected = format!(
            "{text}\n# Written by `cargo xtask adopt` of wasmtime-preempt.\n\
             [patch.crates-io]\n{PATCHES}"
        );
        assert_eq!(add_patches(text, &fork()).unwrap(), expected);
    }

    #[test]
    fn patches_join_those_of_other_crates() {
        let text = "[patch.crates-io]\nother = { path = \"other\" }\n\n[profile.dev]\ndebug = 1\n";
        let expected = format!(
            "[patch.crates-io]\nother = {{ path = \"other\" }}\n{PATCHES}\n[profile.dev]\n\
             debug = 1\n"
        );
        assert_eq!(add_patches(text, &fork()).unwrap(), expected);
    }

    #[test]
    fn patch_of_their_own_is_named() {
        for text in [
            "[patch.crates-io]\nwiggle = { path = \"w\" }\n",
            "[patch.crates-io.wiggle]\npath = \"w\"\n",
            "[patch.crates-io]\nw = { path = \"w\", package = \"wiggle\" }\n",
            "[patch.\"https://github.com/rust-lang/crates.io-index\"]\nwiggle = { path = \"w\" }\n",
        ] {
            let error = add_patches(text, &fork()).unwrap_err().to_string();
            assert!(error.contains("of its own for `w"), "{error}");
        }
    }

    #[test]
    fn feature_is_enabled_however_the_dependency_is_written() {
        for (before, after) in [
            (
                "wasmtime = \"48\" # Why.",
                "wasmtime = { version = \"48\", features = [\"preemptive-threads\"] } # Why.",
            ),
            (
                "wasmtime = { version = \"48\" }",
                "wasmtime = { version = \"48\" , features = [\"preemptive-threads\"] }",
            ),
            (
                "wasmtime = { version = \"48\", features = [\"async\", \"gc\"] }",
                "wasmtime = { version = \"48\", features = [\"async\", \"gc\", \
                 \"preemptive-threads\"] }",
            ),
            (
                "wasmtime = { version = \"48\", features = [\n  \"async\",\n  \"gc\",\n] }",
                "wasmtime = { version = \"48\", features = [\n  \"async\",\n  \"gc\",\n  \
                 \"preemptive-threads\",\n] }",
            ),
            (
                "wasmtime = { version = \"48\", features = [\"preemptive-threads\"] }",
                "wasmtime = { version = \"48\", features = [\"preemptive-threads\"] }",
            ),
            (
                "wasmtime.workspace = true",
                "wasmtime.workspace = true\nwasmtime.features = [\"preemptive-threads\"]",
            ),
        ] {
            for table in ["dependencies", "target.'cfg(unix)'.dev-dependencies"] {
                let text = format!("[{table}]\nother = \"1\"\n{before}\n");
                let changed = enable_feature(&text, &["wasmtime"]).unwrap();
                assert_eq!(changed, format!("[{table}]\nother = \"1\"\n{after}\n"));
            }
        }
        let table = "[dependencies.w]\npackage = \"wasmtime\"\nversion = \"48\"\n";
        let changed = enable_feature(table, &["w"]).unwrap();
        assert_eq!(
            changed,
            format!("{table}features = [\"preemptive-threads\"]\n")
        );
    }
}
