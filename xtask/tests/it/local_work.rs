//! Work in vendor/wasmtime is never overwritten.

use crate::fixture::{FIBER, Fixture, LIB};
use std::fs;

const PATCH: &str = "patches/0001-Count-in-words.patch";

/// Makes the next `vendor` want to change vendor/wasmtime.
fn change_inputs(fixture: &Fixture) {
    let patch = fixture.read(PATCH);
    fixture.write(PATCH, &patch.replace("A reason.", "Another reason."));
}

#[test]
fn uncommitted_edit_is_kept_and_named() {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.write("vendor/wasmtime/crates/wasmtime/src/mine.rs", "// Mine.\n");
    // Nothing is to be done: nothing is in the way.
    fixture.xtask(&["vendor"]).expect_ok();

    change_inputs(&fixture);
    let before = fixture.snapshot();
    fixture.xtask(&["vendor"]).expect_error(&[
        "local edits",
        &format!("edited: {LIB}"),
        "new: crates/wasmtime/src/mine.rs",
        "patches save",
        "--force",
    ]);
    assert!(before == fixture.snapshot());
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn commit_that_is_not_in_patches_is_kept_and_named() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    fixture.commit("Count fibers");
    change_inputs(&fixture);
    let before = fixture.snapshot();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["commits that are not in patches/", "--force"]);
    assert!(before == fixture.snapshot());
}

#[test]
fn edit_that_replaced_a_link_is_kept_and_named() {
    let fixture = Fixture::patched();
    let file = "crates/wasmtime/src/new.rs";
    fixture.write(&format!("overlay/{file}"), "// New.\n");
    fixture.xtask(&["vendor"]).expect_ok();
    // As `sed -i` does.
    fs::remove_file(fixture.wasmtime().join(file)).unwrap();
    fixture.write(&format!("vendor/wasmtime/{file}"), "// Edited.\n");
    for _ in 0..2 {
        fixture
            .xtask(&["vendor"])
            .expect_error(&[file, "patches save", "--force"]);
        assert_eq!(
            fixture.read(&format!("vendor/wasmtime/{file}")),
            "// Edited.\n"
        );
        change_inputs(&fixture);
    }
}

#[test]
fn forced_update_keeps_what_it_replaces() {
    let fixture = Fixture::patched();
    let new = "crates/wasmtime/src/mine.rs";
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.commit("Count further");
    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    fixture.write(&format!("vendor/wasmtime/{new}"), "// Mine.\n");
    let run = fixture.xtask(&["vendor", "--force"]).expect_ok();
    assert!(run.stderr.contains("refs/xtask/replaced"));
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    assert!(lib.contains("line ten\n") && !lib.contains("line thirty\n"));
    for (file, text) in [(LIB, "line thirty"), (FIBER, "line thirty"), (new, "Mine")] {
        let kept = fixture.git(&["show", &format!("refs/xtask/replaced:{file}")]);
        assert!(kept.contains(text), "{file}");
    }
}

#[test]
fn saved_work_is_not_local_any_more() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    fixture.commit("Count fibers");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fs::remove_file(fixture.path("patches/0002-Count-fibers.patch")).unwrap();
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    let fiber = fixture.read(&format!("vendor/wasmtime/{FIBER}"));
    assert!(fiber.contains("line 30\n"));
}

#[test]
fn forced_update_ends_a_rebase() {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line ten\n", "line 0xa\n");
    fixture.commit("Count in hexadecimals");
    let rebase = std::process::Command::new("git")
        .current_dir(fixture.wasmtime())
        .args([
            "-c",
            "sequence.editor=sed -i 1,2d",
            "rebase",
            "--interactive",
            "--root",
        ])
        .output()
        .unwrap();
    assert!(!rebase.status.success());
    change_inputs(&fixture);
    fixture
        .xtask(&["vendor"])
        .expect_error(&["a rebase", "is going on"]);
    fixture.xtask(&["vendor", "--force"]).expect_ok();
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    fixture.xtask(&["patches", "save"]).expect_ok();
}
