//! `cargo xtask adopt`, with workspaces that depend on the small upstream.

use crate::fixture::Fixture;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const HOST: &str = "[package]\nname = \"host\"\nedition = \"2024\"\n\n[dependencies]\n\
                    wasmtime.workspace = true # Ours.\nelsewhere = \"1\"\n";
const TOOL: &str = "[package]\nname = \"tool\"\nedition = \"2024\"\n\n[dependencies]\n\
                    w = { version = \"1\", package = \"wasmtime\", features = [] }\n";
const WORKSPACE: &str = "# A workspace.\n[workspace]\nmembers = [\"host\", \"tool\"]\n\
                         resolver = \"3\"\n\n[workspace.dependencies]\nwasmtime = \"1\"\n";
const OWN_PATCH: &str = "[patch.crates-io]\nwasmtime-inner = { path = \"inner\" }\n";

/// Someone's workspace, beside a fork of 1.0.0 where the registry has 1.0.1 too.
struct Embedder {
    fixture: Fixture,
    dir: PathBuf,
}

impl Embedder {
    fn new() -> Embedder {
        let fixture = Fixture::with_feature();
        fixture.publish_next("line 20\n");
        fixture.publish_astray("elsewhere", "1.0.0");
        // Cargo reports paths without links in them.
        let dir = fixture.dir.path().canonicalize().unwrap().join("embedder");
        Embedder { fixture, dir }
    }

    /// With two members that use `wasmtime`, locked to 1.0.1.
    fn locked() -> Embedder {
        let embedder = Embedder::new();
        embedder.write("Cargo.toml", WORKSPACE);
        embedder.write("host/Cargo.toml", HOST);
        embedder.write("tool/Cargo.toml", TOOL);
        embedder.write("host/src/lib.rs", "");
        embedder.write("tool/src/lib.rs", "");
        embedder.lock();
        assert!(
            embedder
                .read("Cargo.lock")
                .contains("\"wasmtime\"\nversion = \"1.0.1\"")
        );
        embedder
    }

    /// A package with these dependencies.
    fn package(dependencies: &str) -> Embedder {
        let embedder = Embedder::new();
        embedder.write(
            "Cargo.toml",
            &format!(
                "[package]\nname = \"embedder\"\nedition = \"2024\"\n\n\
                 [dependencies]\n{dependencies}"
            ),
        );
        embedder.write("src/lib.rs", "");
        embedder
    }

    fn lock(&self) {
        let dir = self.dir.to_str().unwrap();
        self.fixture
            .cargo_in(dir, &["generate-lockfile", "--quiet"]);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.join(path)).unwrap()
    }

    fn adopt(&self, args: &[&str]) -> crate::fixture::Run {
        let mut words = vec!["adopt", self.dir.to_str().unwrap()];
        words.extend(args);
        self.fixture.xtask(&words)
    }

    /// All files, and what is in them.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, files),
                    false => drop(files.insert(path.clone(), fs::read(path).unwrap())),
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(&self.dir, &mut files);
        files
    }

    /// Adopting fails with a message that has all of `parts`, and changes nothing.
    #[track_caller]
    fn refuses(&self, parts: &[&str]) {
        let before = self.files();
        self.adopt(&[]).expect_error(parts);
        assert!(self.files() == before);
    }

    /// The packages that cargo sees, with their sources.
    fn tree(&self, options: &[&str]) -> String {
        let mut args = options.to_vec();
        args.extend(["tree", "--workspace", "--offline", "--locked"]);
        args.extend(["--prefix=none", "--format={p} {f}"]);
        self.fixture.cargo_output(&self.dir, &args)
    }
}

#[test]
fn adopted_workspace_uses_the_fork_until_it_is_undone() {
    let embedder = Embedder::locked();
    let before = embedder.files();
    let run = embedder.adopt(&[]).expect_ok();
    for part in [
        "Cargo.toml: 3 patches",
        "host/Cargo.toml: the feature `preemptive-threads`",
        "tool/Cargo.toml: the feature `preemptive-threads`",
        "Cargo.lock: the fork's crates, 2 moved from 1.0.1 to 1.0.0",
        "shows 2 crates of the fork",
        "--undo",
    ] {
        assert!(run.stdout.contains(part), "no {part:?} in: {}", run.stdout);
    }
    let vendor = embedder.fixture.wasmtime().canonicalize().unwrap();
    let expected = format!(
        "wasmtime v1.0.0 ({}/crates/wasmtime) preemptive-threads",
        vendor.display()
    );
    let tree = embedder.tree(&[]);
    assert!(tree.contains(&expected), "{tree}");
    // A registry's package has no path.
    for line in tree.lines().filter(|line| line.starts_with("wasmtime")) {
        assert!(line.contains(vendor.to_str().unwrap()), "{line}");
    }
    assert!(
        embedder
            .read("host/Cargo.toml")
            .contains("wasmtime.workspace = true # Ours.\n")
    );

    embedder.refuses(&["adopted already", "--undo"]);
    embedder.adopt(&["--undo"]).expect_ok();
    assert!(embedder.files() == before);
    embedder
        .adopt(&["--undo"])
        .expect_error(&["has not been adopted"]);
}

#[test]
fn configuration_adopts_without_a_change_of_manifests() {
    let embedder = Embedder::locked();
    let before = embedder.files();
    let config = embedder.dir.join("fork.toml");
    let config = config.to_str().unwrap();
    let run = embedder.adopt(&["--config", config]).expect_ok();
    let advice = "cargo --config fork.toml build --package host --features \
                  wasmtime/preemptive-threads";
    assert!(run.stdout.contains(advice), "{}", run.stdout);
    for file in ["Cargo.toml", "host/Cargo.toml", "tool/Cargo.toml"] {
        assert_eq!(
            embedder.read(file).as_bytes(),
            before[&embedder.dir.join(file)]
        );
    }
    let tree = embedder.tree(&["--config", config]);
    assert!(tree.contains("vendor/wasmtime/crates/wasmtime)"), "{tree}");
    embedder.adopt(&["--undo"]).expect_ok();
    assert!(embedder.files() == before);
}

#[test]
fn configuration_that_is_there_keeps_what_it_says() {
    let embedder = Embedder::locked();
    embedder.write(".cargo/config.toml", "# Ours.\n[build]\njobs = 2\n");
    let before = embedder.files();
    let config = embedder.dir.join(".cargo/config.toml");
    embedder
        .adopt(&["--config", config.to_str().unwrap()])
        .expect_ok();
    let text = embedder.read(".cargo/config.toml");
    assert!(text.starts_with("# Ours.\n[build]\njobs = 2\n"), "{text}");
    // Cargo reads this one without being told.
    let tree = embedder.tree(&[]);
    assert!(tree.contains("vendor/wasmtime/crates/wasmtime)"), "{tree}");
    embedder.adopt(&["--undo"]).expect_ok();
    assert!(embedder.files() == before);
}

#[test]
fn package_without_a_lock_file_is_adopted() {
    let embedder = Embedder::package("wasmtime = \"1\"\n");
    let before = embedder.files();
    embedder.adopt(&[]).expect_ok();
    assert!(embedder.tree(&[]).contains("preemptive-threads"));
    embedder.adopt(&["--undo"]).expect_ok();
    assert!(embedder.files() == before);
}

#[test]
fn user_of_wasmtime_at_second_hand_is_told_where_the_feature_would_be_enabled() {
    let embedder = Embedder::package("wasmtime-cli = \"1\"\nuser = \"1\"\n");
    embedder.fixture.publish_user("user", "wasmtime", ">=1, <3");
    embedder.fixture.publish_release("2.0.0", "line 20\n");
    embedder.lock();
    // Its requirement takes the fork's version just as well.
    assert!(
        embedder
            .read("Cargo.lock")
            .contains("\"wasmtime\"\nversion = \"2.0.0\"")
    );
    let run = embedder.adopt(&[]).expect_ok();
    for part in [
        "2 moved from 2.0.0 to 1.0.0",
        "no member depends on `wasmtime` itself",
        "features = [\"preemptive-threads\"]",
    ] {
        assert!(run.stdout.contains(part), "no {part:?} in: {}", run.stdout);
    }
}

#[test]
fn other_versions_that_something_needs_are_named() {
    for (dependencies, parts) in [
        (
            "wasmtime = \"2\"\n",
            [
                "`embedder` 0.0.0 asks for `wasmtime` as `^2`",
                "the fork is Wasmtime 1.0.0",
            ],
        ),
        (
            "wasmtime = \"=1.0.1\"\n",
            [
                "asks for `wasmtime` as `=1.0.1`",
                "the fork is Wasmtime 1.0.0",
            ],
        ),
        (
            "wasmtime = \"1\"\nuser = \"1\"\n",
            [
                "`user` 1.0.0 asks for `wasmtime` as `^2`",
                "the fork is Wasmtime 1.0.0",
            ],
        ),
    ] {
        let embedder = Embedder::package(dependencies);
        embedder.fixture.publish_release("2.0.0", "line 20\n");
        embedder.fixture.publish_user("user", "wasmtime", "2");
        embedder.refuses(&parts);
        embedder.lock();
        embedder.refuses(&parts);
    }
}

#[test]
fn what_cannot_be_adopted_is_refused() {
    let embedder = Embedder::package("elsewhere = \"1\"\n");
    embedder.refuses(&["no package in", "depends on `wasmtime`"]);

    let embedder = Embedder::package(&format!("wasmtime = \"1\"\n{OWN_PATCH}"));
    embedder.write(
        "inner/Cargo.toml",
        "[package]\nname = \"wasmtime-inner\"\nversion = \"1.0.0\"\n",
    );
    embedder.write("inner/src/lib.rs", "");
    embedder.refuses(&["Cargo.toml", "a [patch] of its own for `wasmtime-inner`"]);

    let embedder = Embedder::package("wasmtime = { path = \"wasmtime\" }\n");
    embedder.write(
        "wasmtime/Cargo.toml",
        "[package]\nname = \"wasmtime\"\nversion = \"1.0.0\"\n",
    );
    embedder.write("wasmtime/src/lib.rs", "");
    embedder.refuses(&["takes `wasmtime` from a path"]);

    fs::remove_file(embedder.dir.join("Cargo.toml")).unwrap();
    embedder.refuses(&["has no Cargo.toml"]);
    fs::remove_dir_all(&embedder.dir).unwrap();
    embedder
        .adopt(&[])
        .expect_error(&["there is no", "embedder"]);
}

#[test]
fn undoing_loses_no_later_work() {
    let embedder = Embedder::locked();
    let before = embedder.files();
    embedder.adopt(&[]).expect_ok();
    let adopted = embedder.read("tool/Cargo.toml");
    embedder.write("tool/Cargo.toml", &format!("{adopted}elsewhere = \"1\"\n"));
    let edited = embedder.files();
    let parts = [
        "changed since it was adopted",
        "tool/Cargo.toml",
        ".wasmtime-preempt.json",
    ];
    embedder.adopt(&["--undo"]).expect_error(&parts);
    assert!(embedder.files() == edited);
    embedder.write("tool/Cargo.toml", &adopted);
    embedder.adopt(&["--undo"]).expect_ok();
    assert!(embedder.files() == before);
}
