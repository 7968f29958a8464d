//! Each failure has its message, and leaves nothing half-written.

use crate::fixture::{COMMIT, Fixture, LARGE, LIB, NEXT_COMMIT};
use std::fs;

#[test]
fn no_network_and_a_cold_cache() {
    let fixture = Fixture::pinned();
    fixture.empty_cargo_cache();
    fixture
        .xtask_with(&["vendor"], |command| {
            command.env("CARGO_NET_OFFLINE", "true");
        })
        .expect_error(&["cannot be downloaded", "once with access"]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);

    fixture.registry.stop();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["cannot be downloaded", "once with access"]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);
}

#[test]
fn patch_that_does_not_apply() {
    let fixture = Fixture::patched();
    let name = "patches/0001-Count-in-words.patch";
    let patch = fixture.read(name);
    fixture.write(name, &patch.replace("-line 10\n", "-line 0\n"));
    let before = fixture.snapshot();
    fixture.xtask(&["vendor"]).expect_error(&[
        "patch 0001-Count-in-words.patch does not apply",
        LIB,
        "Nothing was changed",
    ]);
    assert!(before == fixture.snapshot());
    assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);

    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask(&["vendor"]).expect_error(&["does not apply"]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);

    fixture.write(name, &patch);
    fixture.xtask(&["vendor"]).expect_ok();
}

#[test]
fn patch_that_is_no_patch() {
    let fixture = Fixture::patched();
    fixture.write("patches/0002-prose.patch", "Only words.\n");
    fixture
        .xtask(&["vendor"])
        .expect_error(&["0002-prose.patch does not apply"]);
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn patch_that_was_changed_by_hand() {
    let fixture = Fixture::patched();
    let name = "patches/0001-Count-in-words.patch";
    fixture.write(name, &fixture.read(name).replace("line ten", "line 0x0a"));
    fixture
        .xtask(&["vendor"])
        .expect_error(&["is pinned", "pin.toml", "vendor --repin"]);
    assert!(
        fixture
            .read(&format!("vendor/wasmtime/{LIB}"))
            .contains("line ten")
    );
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    assert!(
        fixture
            .read(&format!("vendor/wasmtime/{LIB}"))
            .contains("line 0x0a")
    );
}

#[test]
fn tampered_file_is_named() {
    let fixture = Fixture::pinned();
    let unpacked = fixture.unpacked("wasmtime");
    let lib = unpacked.join("src/lib.rs");
    fs::write(&lib, fs::read_to_string(&lib).unwrap() + "evil\n").unwrap();
    fs::write(unpacked.join("src/extra.rs"), "evil\n").unwrap();
    fs::remove_file(unpacked.join("src/fiber.rs")).unwrap();
    fixture.xtask(&["vendor"]).expect_error(&[
        "crate `wasmtime` 1.0.0 has been tampered with",
        "src/lib.rs differs",
        "src/fiber.rs is missing",
        "src/extra.rs is not part of it",
        &format!("remove {}", unpacked.display()),
    ]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);

    // The remedy is one.
    fs::remove_dir_all(unpacked).unwrap();
    fixture.registry.stop();
    fixture.xtask(&["vendor"]).expect_ok();
}

#[test]
fn line_endings_are_no_less_tampered_with() {
    let fixture = Fixture::pinned();
    let lib = fixture.unpacked("wasmtime").join("src/lib.rs");
    let text = fs::read_to_string(&lib).unwrap();
    fs::write(&lib, text.replace('\n', "\r\n")).unwrap();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["`wasmtime` 1.0.0 has been tampered with: src/lib.rs differs"]);
}

/// Writes another text over the commit or the path that a crate states.
fn tamper_with_origin(fixture: &Fixture, from: &str, to: &str) {
    let info = fixture
        .unpacked("wasmtime-inner")
        .join(".cargo_vcs_info.json");
    let text = fs::read_to_string(&info).unwrap();
    assert!(text.contains(from));
    fs::write(&info, text.replace(from, to)).unwrap();
}

#[test]
fn crate_that_points_out_of_the_tree_writes_nothing() {
    for path in ["../../../ESCAPED", "/ESCAPED", "crates/.git", "crates/./x"] {
        let fixture = Fixture::pinned();
        tamper_with_origin(&fixture, "crates/wasmtime/inner", path);
        fixture.xtask(&["vendor"]).expect_error(&[
            "`wasmtime-inner` 1.0.0 has been tampered with: .cargo_vcs_info.json differs",
            &format!("says that it is at `{path}`"),
        ]);
        // Nor does it where the pin is not asked.
        fixture
            .xtask(&["vendor", "--repin"])
            .expect_error(&["has been tampered with"]);
        assert_eq!(fixture.in_vendor(), ["upstream"]);
        assert!(!fixture.path("../ESCAPED").exists() && !fixture.path("ESCAPED").exists());
    }
}

#[test]
fn crate_with_files_of_a_repository_is_not_laid_out() {
    let fixture = Fixture::pinned();
    let git = fixture.unpacked("wasmtime-cli").join(".git");
    fs::create_dir_all(&git).unwrap();
    fs::write(git.join("config"), "[core]\nfsmonitor = evil\n").unwrap();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["`wasmtime-cli` 1.0.0 has been tampered with: .git/config"]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);
}

#[test]
fn tampered_commit_is_explained() {
    let fixture = Fixture::pinned();
    tamper_with_origin(&fixture, COMMIT, NEXT_COMMIT);
    fixture.xtask(&["vendor"]).expect_error(&[
        "`wasmtime-inner` 1.0.0 has been tampered with: .cargo_vcs_info.json differs",
        "was not made from commit",
    ]);
}

#[test]
fn tampered_archive_is_named() {
    let fixture = Fixture::pinned();
    let unpacked = fixture.unpacked("wasmtime-inner");
    fs::write(unpacked.join("src/lib.rs"), "evil\n").unwrap();
    let archive = fixture.archive("wasmtime-inner");
    let mut bytes = fs::read(&archive).unwrap();
    bytes.push(0);
    fs::write(&archive, bytes).unwrap();
    fixture.xtask(&["vendor"]).expect_error(&[
        "crate `wasmtime-inner` 1.0.0 has been tampered with",
        "does not have the checksum",
    ]);

    // The remedy is one.
    fs::remove_file(&archive).unwrap();
    fs::remove_dir_all(unpacked).unwrap();
    fixture.xtask(&["vendor"]).expect_ok();
}

#[test]
fn crates_that_cargo_vendored() {
    let fixture = Fixture::pinned();
    fixture.vendor_by_cargo();
    fixture.xtask(&["vendor"]).expect_error(&[
        "which of 3 crates differ cannot be told",
        "take these crates from a registry",
    ]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);
}

#[test]
fn full_disk_while_laying_out() {
    let fixture = Fixture::pinned();
    fixture
        .xtask_with_small_files(100, &["vendor"])
        .expect_error(&["the disk is full", LARGE]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);
    fixture.xtask(&["vendor"]).expect_ok();
}

#[test]
fn full_disk_while_updating() {
    let fixture = Fixture::patched();
    fixture.edit(LARGE, "A line", "A long line");
    fixture.commit("Lengthen");
    fixture.xtask(&["patches", "save"]).expect_ok();
    let patches = ["0001-Count-in-words.patch", "0002-Lengthen.patch"];
    let series = patches.map(|name| fixture.read(&format!("patches/{name}")));
    let pin = fixture.read("vendor/upstream/pin.toml");
    let large = fixture.read(&format!("vendor/wasmtime/{LARGE}"));

    // Back to the time before these patches ...
    for name in patches {
        fs::remove_file(fixture.path(&format!("patches/{name}"))).unwrap();
    }
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    let before = fixture.snapshot();
    // ... and forth to them, on a disk that has room for upstream's files only.
    for (name, text) in patches.iter().zip(&series) {
        fixture.write(&format!("patches/{name}"), text);
    }
    fixture.write("vendor/upstream/pin.toml", &pin);
    fixture
        .xtask_with_small_files(270, &["vendor"])
        .expect_error(&["the disk is full"]);
    assert!(before == fixture.snapshot());
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);

    fixture.xtask(&["vendor"]).expect_ok();
    assert_eq!(fixture.read(&format!("vendor/wasmtime/{LARGE}")), large);
}

#[test]
fn full_disk_while_saving_patches() {
    let fixture = Fixture::patched();
    let before = fixture.read("patches/0001-Count-in-words.patch");
    let pin = fixture.read("vendor/upstream/pin.toml");
    fixture.edit(LARGE, "A line", "A long line");
    fixture.commit("Lengthen");
    fixture
        .xtask_with_small_files(100, &["patches", "save"])
        .expect_error(&["the disk is full"]);
    assert_eq!(fixture.read("patches/0001-Count-in-words.patch"), before);
    assert!(!fixture.path("patches/0002-Lengthen.patch").exists());
    assert_eq!(fixture.read("vendor/upstream/pin.toml"), pin);
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn missing_git() {
    let fixture = Fixture::pinned();
    for args in [&["vendor"][..], &["patches", "check"], &["test"]] {
        fixture
            .xtask_with(args, |command| {
                command.env("PATH", fixture.home());
            })
            .expect_error(&["cannot run `git`", "install git"]);
    }
    assert_eq!(fixture.in_vendor(), ["upstream"]);
}

#[test]
fn lock_file_that_does_not_fit() {
    let fixture = Fixture::pinned();
    let manifest = fixture.read("vendor/upstream/Cargo.toml");
    fixture.write(
        "vendor/upstream/Cargo.toml",
        &format!("{manifest}thirdparty = \"=1.0.0\"\n"),
    );
    fixture
        .xtask(&["vendor"])
        .expect_error(&["Cargo.lock does not fit", "cargo generate-lockfile"]);
}

#[test]
fn crate_that_is_not_of_the_pinned_commit() {
    let fixture = Fixture::pinned();
    let manifest = fixture.read("vendor/upstream/Cargo.toml");
    fixture.publish_next("line 20\n");
    fixture.pin_version("1.0.1");
    let mixed = manifest.replace("wasmtime-cli = \"=1.0.0\"", "wasmtime-cli = \"=1.0.1\"");
    fixture.write("vendor/upstream/Cargo.toml", &mixed);
    fixture.lock_upstream();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["`wasmtime` in vendor/upstream/Cargo.toml was not made from commit"]);
}

#[test]
fn version_without_a_new_pin() {
    let fixture = Fixture::pinned();
    fixture.publish_next("line 20\n");
    fixture.pin_version("1.0.1");
    fixture.xtask(&["vendor"]).expect_error(&[
        "pins Wasmtime 1.0.1",
        &format!("1.0.0 (commit {COMMIT})"),
        "vendor --repin",
    ]);
    let pin = fixture.read("vendor/upstream/pin.toml");
    fixture.write("vendor/upstream/pin.toml", "base = 1\n");
    fixture
        .xtask(&["vendor"])
        .expect_error(&["pin.toml is not a pin", "vendor --repin"]);
    assert_ne!(pin, fixture.read("vendor/upstream/pin.toml"));
}

#[test]
fn pin_of_another_tree() {
    let fixture = Fixture::pinned();
    let pin = fixture.read("vendor/upstream/pin.toml");
    let base = pin.lines().find(|line| line.starts_with("base")).unwrap();
    let other = format!("base = \"{}\"", "0".repeat(40));
    fixture.write("vendor/upstream/pin.toml", &pin.replace(base, &other));
    fixture.xtask(&["vendor"]).expect_error(&[
        "the crates are as published",
        "lay out as tree",
        "--repin",
    ]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);
}

#[test]
fn directory_that_xtask_did_not_make() {
    let fixture = Fixture::pinned();
    fixture.write("vendor/wasmtime/notes.txt", "mine");
    for args in [&["vendor"][..], &["vendor", "--force"]] {
        fixture
            .xtask(args)
            .expect_error(&["was not made by `cargo xtask vendor`", "move it away"]);
    }
    assert_eq!(fixture.read("vendor/wasmtime/notes.txt"), "mine");
}

#[test]
fn directory_that_is_no_checkout() {
    let fixture = Fixture::pinned();
    fs::remove_file(fixture.path("vendor/upstream/Cargo.toml")).unwrap();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["is not a checkout of this project"]);
}

#[cfg(target_os = "linux")]
#[test]
fn checkout_at_a_path_that_is_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::pinned();
    let moved = fixture
        .dir
        .path()
        .join(std::ffi::OsStr::from_bytes(b"r\xf6\xf6t"));
    fs::rename(fixture.root(), &moved).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("--root")
        .arg(moved)
        .arg("vendor")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(
        !run.status.success() && stderr.contains("UTF-8 only"),
        "{stderr}"
    );
}
