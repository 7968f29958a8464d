//! The versions that a manifest asks for, and changing them and nothing else in it.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use toml_edit::{DocumentMut, Item, TableLike};

/// The version that the manifest in `dir` asks for of each dependency.
pub fn versions(dir: &Path) -> Result<BTreeMap<String, String>> {
    let path = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut versions = BTreeMap::new();
    change_versions(&text, |name, version| {
        versions.insert(name.to_string(), version.to_string());
        Ok(None)
    })
    .with_context(|| format!("in {}", path.display()))?;
    Ok(versions)
}

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// `manifest` with each dependency's version replaced by what `change` makes of its name and
/// that version, unless that is `None`.
pub fn change_versions(
    manifest: &str,
    mut change: impl FnMut(&str, &str) -> Result<Option<String>>,
) -> Result<String> {
    let mut document: DocumentMut = manifest.parse().context("it is not a manifest")?;
    visit(document.as_table_mut(), &mut change)?;
    if let Some(workspace) = document
        .get_mut("workspace")
        .and_then(Item::as_table_like_mut)
    {
        visit(workspace, &mut change)?;
    }
    Ok(document.to_string())
}

fn visit(
    owner: &mut dyn TableLike,
    change: &mut impl FnMut(&str, &str) -> Result<Option<String>>,
) -> Result<()> {
    for table in TABLES {
        let Some(dependencies) = owner.get_mut(table).and_then(Item::as_table_like_mut) else {
            continue;
        };
        for (name, item) in dependencies.iter_mut() {
            let item = match item.is_str() {
                true => Some(item),
                false => item
                    .as_table_like_mut()
                    .and_then(|table| table.get_mut("version")),
            };
            let Some(value) = item.and_then(Item::as_value_mut) else {
                continue;
            };
            let Some(version) = value.as_str() else {
                continue;
            };
            if let Some(changed) = change(name.get(), version)? {
                // Spaces and comments around it.
                let decor = value.decor().clone();
                *value = changed.into();
                *value.decor_mut() = decor;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_change() {
        let manifest = "# One.\n[workspace]\nmembers = [\"a\"]\n\n[workspace.dependencies]\n\
                        a = { version = \"=1.0.0\", features = [\n  \"x\", # Two.\n] } # Three.\n\
                        b   =  \"=1.0.0\" # Four.\nc = { path = \"c\" }\n\n[dependencies]\n\
                        a.workspace = true\nd = \"=1.0.0\"\n\n[dev-dependencies.e]\n\
                        version = \"=1.0.0\"\n[patch.crates-io]\na = { path = \"=1.0.0\" }\n";
        let changed = change_versions(manifest, |name, version| {
            assert_eq!(version, "=1.0.0");
            Ok((name != "d").then(|| "=1.0.1".to_string()))
        });
        let expected = manifest
            .replace("version = \"=1.0.0\"", "version = \"=1.0.1\"")
            .replace("b   =  \"=1.0.0\"", "b   =  \"=1.0.1\"");
        assert_eq!(changed.unwrap(), expected);
    }
    /// The features of Wasmtime that a manifest asks for in `table`.
    fn features(manifest: &str, table: &[&str]) -> Vec<String> {
        let path = crate::root::Root::of_this_xtask().unwrap().path;
        let document = std::fs::read_to_string(path.join(manifest)).unwrap();
        let document: DocumentMut = document.parse().unwrap();
        let mut item = document.as_item();
        for key in table.iter().chain(&["wasmtime", "features"]) {
            item = &item[key];
        }
        let features = item.as_array().unwrap().iter();
        features.map(|name| name.as_str().unwrap().into()).collect()
    }

    #[test]
    fn the_published_wasmtime_is_measured_with_the_same_features() {
        let mut ours = features("Cargo.toml", &["workspace", "dependencies"]);
        ours.retain(|name| name != "preemptive-threads");
        assert_eq!(
            features("benches/stock/Cargo.toml", &["dependencies"]),
            ours
        );
    }
}
