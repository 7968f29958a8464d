//! `cargo xtask dist`.

use crate::fixture::{Fixture, LIB};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the patched tree of the fixture goes.
fn target(fixture: &Fixture) -> std::path::PathBuf {
    fixture.dir.path().canonicalize().unwrap().join("dist")
}

fn dist(fixture: &Fixture) -> crate::fixture::Run {
    fixture.xtask(&["dist", target(fixture).to_str().unwrap()])
}

#[test]
fn two_lines_of_git_dependency_will_do() {
    let fixture = Fixture::with_feature();
    let run = dist(&fixture).expect_ok();
    assert!(run.stdout.contains("wasmtime = { git = "), "{}", run.stdout);

    let user = fixture.dir.path().join("user");
    fs::create_dir_all(user.join("src")).unwrap();
    fs::write(user.join("src/lib.rs"), "").unwrap();
    let url = format!("file://{}", target(&fixture).display());
    let manifest = format!(
        "[package]\nname = \"user\"\nedition = \"2024\"\n[dependencies]\n\
         wasmtime = {{ git = \"{url}\", features = [\"preemptive-threads\"] }}\n\
         wasmtime-cli = {{ git = \"{url}\" }}\n"
    );
    fs::write(user.join("Cargo.toml"), manifest).unwrap();
    let tree = fixture.cargo_output(&user, &["tree", "--prefix=none"]);
    // The second one's dependency `thirdparty` is from the registry.
    for name in ["wasmtime", "wasmtime-inner", "wasmtime-cli"] {
        let line = format!("{name} v1.0.0 ({url}#");
        assert!(tree.contains(&line), "no {line:?} in: {tree}");
    }
}

#[test]
fn repository_has_the_patched_tree_and_the_overlay_as_files() {
    let fixture = Fixture::with_feature();
    dist(&fixture).expect_ok();
    let dir = target(&fixture);
    let git = |args: &[&str]| fixture.git_in(&dir, args);
    let of = |tree: &str| fixture.git(&["ls-tree", "-r", tree]);
    let there = git(&["ls-tree", "-r", "HEAD"]);
    let overlay = "\tcrates/wasmtime/src/preempt.rs\n";
    let mut lines: Vec<&str> = there.split_inclusive('\n').collect();
    let file = lines
        .iter()
        .position(|line| line.ends_with(overlay))
        .unwrap();
    // A file, and no link.
    assert!(lines.remove(file).starts_with("100644 blob "));
    assert_eq!(lines.concat(), of("HEAD"));
    assert_eq!(git(&["status", "--porcelain", "--ignored"]), "");
    assert_eq!(git(&["rev-list", "--count", "HEAD"]), "1\n");
}

#[test]
fn later_run_adds_a_commit_if_there_is_something_new() {
    let fixture = Fixture::with_feature();
    dist(&fixture).expect_ok();
    let commits = || fixture.git_in(&target(&fixture), &["rev-list", "--count", "HEAD"]);
    let run = dist(&fixture).expect_ok();
    assert!(run.stdout.contains("is up to date"), "{}", run.stdout);
    assert_eq!(commits(), "1\n");

    fs::remove_file(fixture.path("overlay/crates/wasmtime/src/preempt.rs")).unwrap();
    fixture.write("overlay/crates/wasmtime/src/threads.rs", "// Newer.\n");
    dist(&fixture).expect_ok();
    assert_eq!(commits(), "2\n");
    let files = fixture.git_in(&target(&fixture), &["ls-files"]);
    assert!(files.contains("src/threads.rs\n"), "{files}");
    assert!(!files.contains("src/preempt.rs\n"), "{files}");
}

#[test]
fn unsaved_work_and_foreign_directories_are_refused() {
    let fixture = Fixture::with_feature();
    fixture.edit(LIB, "line 10\n", "line ten\n");
    dist(&fixture).expect_error(&["uncommitted edits", LIB]);
    fixture.commit("Count in words");
    dist(&fixture).expect_error(&["commits that are not in patches/", "patches save"]);
    assert!(!target(&fixture).exists());
    fixture.xtask(&["patches", "save"]).expect_ok();

    let dir = target(&fixture);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("mine"), "").unwrap();
    dist(&fixture).expect_error(&["is not empty", dir.to_str().unwrap()]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

/// The real one, which cargo reads without a network.
#[test]
#[ignore = "copies all of Wasmtime"]
fn wasmtime_itself_can_be_a_git_dependency() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().canonicalize().unwrap().join("dist");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let run = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("--root")
        .arg(&root)
        .arg("dist")
        .arg(&dir)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");

    let user = scratch.path().join("user");
    fs::create_dir_all(user.join("src")).unwrap();
    fs::write(user.join("src/lib.rs"), "").unwrap();
    fs::copy(root.join("Cargo.lock"), user.join("Cargo.lock")).unwrap();
    let url = format!("file://{}", dir.display());
    let manifest = format!(
        "[package]\nname = \"user\"\nedition = \"2024\"\n[dependencies]\n\
         wasmtime = {{ git = \"{url}\", features = [\"preemptive-threads\"] }}\n\
         wasmtime-wasi = {{ git = \"{url}\" }}\n"
    );
    fs::write(user.join("Cargo.toml"), manifest).unwrap();
    let tree = Command::new(crate::fixture::cargo())
        .current_dir(&user)
        .args(["tree", "--prefix=none", "--no-dedupe"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    for line in tree.lines() {
        let upstreams = ["wasmtime", "cranelift-", "pulley-", "wiggle"];
        if upstreams.iter().any(|name| line.starts_with(name)) {
            assert!(line.contains(&url), "{line}");
        }
    }
    assert!(tree.contains("\nwasmtime-wasi "), "{tree}");
}
