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
    // Upstream's .gitignore has the second one's directory.
    let new = "crates/wasmtime/src/mine.rs";
    let ignored = "crates/wasmtime/src/target/mine.rs";
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.commit("Count further");
    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    for file in [new, ignored] {
        fixture.write(&format!("vendor/wasmtime/{file}"), "// Mine.\n");
    }
    let link = "crates/wasmtime/src/linked";
    #[cfg(unix)]
    std::os::unix::fs::symlink("../src", fixture.wasmtime().join(link)).unwrap();
    let run = fixture.xtask(&["vendor", "--force"]).expect_ok();
    assert!(run.stderr.contains("refs/xtask/replaced-1"));
    if cfg!(unix) {
        let kept = fixture.git(&["show", &format!("refs/xtask/replaced-1:{link}")]);
        assert_eq!(kept, "../src");
    }
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    assert!(lib.contains("line ten\n") && !lib.contains("line thirty\n"));
    for (file, text) in [
        (LIB, "line thirty"),
        (FIBER, "line thirty"),
        (new, "Mine"),
        (ignored, "Mine"),
    ] {
        let kept = fixture.git(&["show", &format!("refs/xtask/replaced-1:{file}")]);
        assert!(kept.contains(text), "{file}");
    }
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn each_forced_update_keeps_what_it_replaces_by_itself() {
    let fixture = Fixture::patched();
    let kept = || {
        fixture.git(&[
            "for-each-ref",
            "--format=%(refname)",
            "refs/xtask/replaced-*",
        ])
    };
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.xtask(&["vendor", "--force"]).expect_ok();
    // There is nothing to keep.
    let run = fixture.xtask(&["vendor", "--force"]).expect_ok();
    assert!(!run.stderr.contains("is kept"), "{}", run.stderr);
    assert_eq!(kept(), "refs/xtask/replaced-1\n");

    fixture.edit(LIB, "line 31\n", "line thirty-one\n");
    fixture.xtask(&["vendor", "--force"]).expect_ok();
    // The same once more.
    fixture.edit(LIB, "line 31\n", "line thirty-one\n");
    fixture.xtask(&["vendor", "--force"]).expect_ok();
    assert_eq!(kept(), "refs/xtask/replaced-1\nrefs/xtask/replaced-2\n");
    for (number, text) in [(1, "line thirty\n"), (2, "line thirty-one\n")] {
        let lib = fixture.git(&["show", &format!("refs/xtask/replaced-{number}:{LIB}")]);
        assert!(lib.contains(text));
    }
}

#[test]
fn forced_update_that_fails_replaces_nothing() {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.write("patches/0002-prose.patch", "Only words.\n");
    let before = fixture.snapshot();
    fixture
        .xtask(&["vendor", "--force"])
        .expect_error(&["0002-prose.patch does not apply"]);
    assert!(before == fixture.snapshot());
}

/// Somebody else's patch of `LIB` comes by `git pull`, with its pin, while
/// there is a commit of one's own.
fn pulled_beside_a_commit() -> (Fixture, String) {
    let fixture = Fixture::patched();
    let pin = fixture.read(PIN);
    fixture.edit(LIB, "line 35\n", "line thirty-five\n");
    fixture.commit("Pulled");
    fixture.xtask(&["patches", "save"]).expect_ok();
    let (pulled, new_pin) = (fixture.read(PULLED), fixture.read(PIN));
    fs::remove_file(fixture.path(PULLED)).unwrap();
    fixture.write(PIN, &pin);
    fixture.xtask(&["vendor"]).expect_ok();

    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    fixture.commit("Count fibers");
    fixture.write(PULLED, &pulled);
    fixture.write(PIN, &new_pin);
    (fixture, pulled)
}

const PIN: &str = "vendor/upstream/pin.toml";
const PULLED: &str = "patches/0002-Pulled.patch";

#[test]
fn pulled_patch_is_not_undone_by_save() {
    let (fixture, pulled) = pulled_beside_a_commit();
    let new_pin = fixture.read(PIN);
    let rebase = ["0002-Pulled.patch is new", "vendor --force", "cherry-pick"];
    fixture.xtask(&["vendor"]).expect_error(&rebase);
    fixture.xtask(&["patches", "save"]).expect_error(&rebase);
    assert_eq!((fixture.read(PULLED), fixture.read(PIN)), (pulled, new_pin));

    // The way that they tell of leads to both.
    let run = fixture.xtask(&["vendor", "--force"]).expect_ok();
    let command = run
        .stderr
        .split('`')
        .find(|part| part.starts_with("git -C"));
    let range = command.unwrap().rsplit(' ').next().unwrap();
    fixture.git(&["cherry-pick", range]);
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
    assert!(fixture.path(PULLED).exists());
    assert!(fixture.path("patches/0003-Count-fibers.patch").exists());
}

#[test]
fn pulled_patch_is_undone_by_force_only() {
    let (fixture, _) = pulled_beside_a_commit();
    fixture.xtask(&["patches", "save", "--force"]).expect_ok();
    assert!(!fixture.path(PULLED).exists());
    assert!(fixture.path("patches/0002-Count-fibers.patch").exists());
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn patch_that_was_edited_or_removed_is_not_undone_by_save() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    fixture.commit("Count fibers");
    let patch = fixture.read(PATCH);
    change_inputs(&fixture);
    let edited = fixture.read(PATCH);
    fixture
        .xtask(&["patches", "save"])
        .expect_error(&["0001-Count-in-words.patch is not as", "--force"]);
    assert_eq!(fixture.read(PATCH), edited);
    fs::remove_file(fixture.path(PATCH)).unwrap();
    fixture
        .xtask(&["patches", "save"])
        .expect_error(&["0001-Count-in-words.patch has gone"]);
    assert!(!fixture.path(PATCH).exists());
    fixture.write(PATCH, &patch);
    fixture.xtask(&["patches", "save"]).expect_ok();
}

#[test]
fn save_that_was_interrupted_is_completed_by_the_next() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 30\n", "line thirty\n");
    fixture.commit("Count fibers");
    fixture.git(&[
        "-c",
        "sequence.editor=sed -i '1{h;d};2G'",
        "rebase",
        "--quiet",
        "--interactive",
        "HEAD~2",
    ]);
    let exported = fixture.dir.path().join("exported");
    let pin = fixture.read(PIN);
    let stamp = fixture.read("vendor/wasmtime/.git/xtask.json");
    let old = fixture.read(PATCH);
    fixture.xtask(&["patches", "save"]).expect_ok();
    let (first, second) = (
        "patches/0001-Count-fibers.patch",
        "patches/0002-Count-in-words.patch",
    );
    // As it is after the first of two patches.
    fs::rename(fixture.path(second), &exported).unwrap();
    fixture.write(PATCH, &old);
    fixture.write(PIN, &pin);
    fixture.write("vendor/wasmtime/.git/xtask.json", &stamp);
    fixture.xtask(&["patches", "save"]).expect_ok();
    assert!(fixture.path(first).exists() && !fixture.path(PATCH).exists());
    assert_eq!(fixture.read(second), fs::read_to_string(&exported).unwrap());
    fixture.xtask(&["patches", "check"]).expect_ok();
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
