//! What must hold for the files of this repository itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn toml(path: &str) -> toml::Table {
    read(path).parse().unwrap()
}

/// The dependencies in a table of a manifest, and the version they ask for.
fn versions(manifest: &toml::Value) -> BTreeMap<String, String> {
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let version = |dependency: &toml::Value| {
        let inner = dependency.get("version").unwrap_or(dependency);
        inner.as_str().map(str::to_string)
    };
    dependencies
        .iter()
        .filter_map(|(name, dependency)| Some((name.clone(), version(dependency)?)))
        .collect()
}

/// Every crate of upstream's, and the version that is pinned.
fn upstream() -> BTreeMap<String, String> {
    versions(&toml("vendor/upstream/Cargo.toml").into())
}

/// The files that are committed, and their text; none in an archive without
/// the repository's history.
fn committed() -> Vec<(String, String)> {
    if !root().join(".git").exists() {
        return Vec::new();
    }
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z"]);
    // Set where a hook of git's runs this test.
    git.env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE");
    let output = git.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    names
        .split_terminator('\0')
        // Others are binary, or not checked out.
        .filter_map(|name| {
            Some((
                name.to_string(),
                fs::read_to_string(root().join(name)).ok()?,
            ))
        })
        .collect()
}

#[test]
fn every_upstream_crate_that_is_used_is_the_patched_one() {
    for (dir, vendor) in [
        ("", "vendor/wasmtime"),
        ("wasmtime-cli/", "../vendor/wasmtime"),
        ("fuzz/", "../vendor/wasmtime"),
    ] {
        uses_the_patched_crates(dir, vendor);
    }
}

fn uses_the_patched_crates(dir: &str, vendor: &str) {
    let upstream = upstream();
    let manifest = toml(&format!("{dir}Cargo.toml"));
    let patched = manifest["patch"]["crates-io"].as_table().unwrap();
    for (name, patch) in patched {
        assert!(upstream.contains_key(name), "{name} is not pinned");
        let path = patch["path"].as_str().unwrap();
        assert!(path.starts_with(vendor), "{name} is {path}");
    }
    let lock = toml(&format!("{dir}Cargo.lock"));
    assert!(
        lock.get("patch").is_none(),
        "a patch in {dir}Cargo.toml is not used"
    );
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if let Some(pinned) = upstream.get(name) {
            assert!(
                package.get("source").is_none(),
                "{name} comes from a registry: add it to [patch.crates-io] in {dir}Cargo.toml"
            );
            let version = package["version"].as_str().unwrap();
            assert_eq!(&format!("={version}"), pinned, "{name} in {dir}Cargo.lock");
        }
    }
}

/// `cargo xtask fuzz` asks for it with `--locked`.
#[test]
fn the_lock_file_of_the_fuzz_targets_has_what_our_crates_depend_on() {
    let lock = toml("fuzz/Cargo.lock");
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let manifest = match name.strip_prefix("preempt-") {
            _ if name == "wasmtime-preempt" => "Cargo.toml".to_string(),
            Some("fuzz") => "fuzz/Cargo.toml".to_string(),
            Some(name) => format!("crates/{name}/Cargo.toml"),
            None => continue,
        };
        let locked = package["dependencies"].as_array().unwrap();
        let locked: Vec<&str> = locked
            .iter()
            .map(|locked| locked.as_str().unwrap().split(' ').next().unwrap())
            .collect();
        let manifest = toml(&manifest);
        for (dependency, options) in manifest["dependencies"].as_table().unwrap() {
            let optional = options.get("optional").and_then(toml::Value::as_bool);
            assert!(
                optional == Some(true) || locked.contains(&&**dependency),
                "fuzz/Cargo.lock lacks {dependency} of {name}: `cargo update --workspace` in fuzz/"
            );
        }
    }
}

#[test]
fn all_that_names_upstreams_version_names_the_same() {
    let upstream = upstream();
    let version = toml("vendor/upstream/pin.toml")["version"]
        .as_str()
        .unwrap()
        .to_string();
    assert_eq!(upstream["wasmtime"], format!("={version}"));
    let workspace = versions(&toml("Cargo.toml")["workspace"]);
    let stock = versions(&toml("benches/stock/Cargo.toml").into());
    let command = versions(&toml("wasmtime-cli/Cargo.toml").into());
    for (whose, dependencies) in [
        ("Cargo.toml", &workspace),
        ("benches/stock", &stock),
        ("wasmtime-cli", &command),
    ] {
        for (name, asked) in dependencies {
            if let Some(pinned) = upstream.get(name) {
                assert_eq!(asked, pinned, "{name} in {whose}");
            }
        }
    }
    // Or both would not measure the same guests.
    for name in ["wasm-encoder", "wasmparser", "wat"] {
        assert_eq!(stock[name], workspace[name], "{name}");
    }
    for file in [
        "README.md",
        "benches/src/paper/doc.rs",
        "docs/advisories.md",
    ] {
        assert!(read(file).contains(&version), "{file}");
    }
}

#[test]
fn members_take_versions_of_upstreams_from_one_place() {
    let upstream = upstream();
    let mut manifests = vec!["Cargo.toml".to_string(), "benches/Cargo.toml".to_string()];
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        manifests.push(format!("crates/{name}/Cargo.toml"));
    }
    for file in manifests {
        let manifest = toml(&file);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(table).and_then(|table| table.as_table());
            for (name, dependency) in dependencies.into_iter().flatten() {
                let inherited = dependency.get("workspace").is_some();
                assert!(
                    inherited || !upstream.contains_key(name),
                    "{name} in {file}: its version belongs to [workspace.dependencies]"
                );
            }
        }
    }
}

#[test]
fn text_is_checked_out_with_one_line_end() {
    if root().join(".git").exists() {
        let mut git = Command::new("git");
        git.current_dir(root()).args(["check-attr", "eol", "--"]);
        let output = git.args(["README.md", "overlay/x.rs"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.matches(": lf\n").count(), 2, "{said}");
    }
}

#[test]
fn readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "{lines} lines");
}

#[test]
fn integration_runs_the_command_of_the_readme() {
    let run = root().join(".ci/run");
    assert!(read(".ci/run").contains("exec cargo xtask test \"$@\""));
    assert!(read("README.md").contains("\ncargo xtask test "));
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(run).unwrap().permissions());
        assert!(mode & 0o100 != 0, "it cannot be run");
    }
}

#[test]
fn no_committed_file_names_a_path_of_a_machine() {
    for (name, text) in committed() {
        for dir in ["home", "root", "work", "Users"] {
            for (at, _) in text.match_indices(&format!("/{dir}/")) {
                let before = text[..at].chars().next_back();
                assert!(
                    before.is_some_and(|c| c.is_alphanumeric() || "._-/*}".contains(c)),
                    "{name}: {}",
                    text[at..].lines().next().unwrap_or_default()
                );
            }
        }
    }
}

#[test]
fn no_committed_file_names_another_registry_than_cargos_own() {
    let own = concat!("registry", "+https://github.com/rust-lang/crates.io-index");
    for (name, text) in committed() {
        if name.ends_with("Cargo.lock") {
            for line in text.lines().filter(|line| line.starts_with("source = ")) {
                assert_eq!(line, format!("source = \"{own}\""), "{name}");
            }
            continue;
        }
        for word in ["registry", "sparse"].map(|word| format!("{word}+")) {
            for line in text.lines().filter(|line| line.contains(&word)) {
                assert!(
                    line.contains(own) || line.contains("127.0.0.1"),
                    "{name}: {line}"
                );
            }
        }
        if name.ends_with(".toml") {
            let settings = ["[source", "[registr", "replace-with"];
            let found = settings.iter().find(|setting| text.contains(*setting));
            assert_eq!(found, None, "{name}");
        }
    }
}
