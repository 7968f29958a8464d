use crate::fixture::{FIBER, Fixture, LIB};
use std::fs;

const PATCH: &str = "patches/0001-Count-in-words.patch";

fn patches(fixture: &Fixture) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(fixture.path("patches"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn save_exports_commits_and_pins_their_tree() {
    let fixture = Fixture::patched();
    assert_eq!(patches(&fixture), ["0001-Count-in-words.patch"]);
    let patch = fixture.read(PATCH);
    assert!(patch.starts_with(&format!("From {}", "0".repeat(40))));
    // As plain `git format-patch` has it: one empty line.
    assert!(patch.contains("\nSubject: [PATCH] Count in words\n\nA reason.\n"));
    assert!(patch.contains("\nUpstream-Status: local, a test\n"));
    assert!(patch.contains(&format!("diff --git a/{LIB} b/{LIB}")));
    let tree = fixture.git(&["rev-parse", "HEAD^{tree}"]);
    let pin = fixture.read("vendor/upstream/pin.toml");
    assert!(pin.contains(&format!("patched = \"{}\"", tree.trim())));
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn save_removes_patches_that_have_no_commit() {
    let fixture = Fixture::patched();
    fixture.git(&[
        "commit",
        "--quiet",
        "--amend",
        "--message",
        "Say ten\n\nIt is a word.\n\nUpstream-Status: pending, with tests",
    ]);
    fixture.xtask(&["patches", "save"]).expect_ok();
    assert_eq!(patches(&fixture), ["0001-Say-ten.patch"]);
}

#[test]
fn save_moves_new_files_to_the_overlay() {
    let fixture = Fixture::patched();
    let dir = "crates/wasmtime/src";
    for name in ["committed", "staged", "untracked"] {
        fixture.write(
            &format!("vendor/wasmtime/{dir}/{name}.rs"),
            &format!("// {name}\n"),
        );
    }
    fixture.git(&["add", &format!("{dir}/committed.rs")]);
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit("Count fibers");
    fixture.git(&["add", &format!("{dir}/staged.rs")]);
    fixture.xtask(&["patches", "save"]).expect_ok();
    for name in ["committed", "staged", "untracked"] {
        let text = format!("// {name}\n");
        assert_eq!(fixture.read(&format!("overlay/{dir}/{name}.rs")), text);
        let link = fixture.wasmtime().join(format!("{dir}/{name}.rs"));
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(link).unwrap(), text);
    }
    assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    let patch = fixture.read("patches/0002-Count-fibers.patch");
    assert!(!patch.contains("committed.rs"));
    fixture.xtask(&["patches", "check"]).expect_ok();
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn save_takes_new_files_wherever_code_may_be() {
    let fixture = Fixture::patched();
    // Upstream's .gitignore has the second one's directory.
    for file in ["tests/all/ours.rs", "crates/wasmtime/src/target/mod.rs"] {
        fixture.write(&format!("vendor/wasmtime/{file}"), "// New.\n");
        fixture.xtask(&["patches", "save"]).expect_ok();
        assert_eq!(fixture.read(&format!("overlay/{file}")), "// New.\n");
        assert!(fixture.wasmtime().join(file).is_symlink());
    }
    fixture.xtask(&["patches", "check"]).expect_ok();
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn save_takes_over_an_edit_that_replaced_a_link() {
    let fixture = Fixture::patched();
    let file = "crates/wasmtime/src/new.rs";
    fixture.write(&format!("overlay/{file}"), "// New.\n");
    fixture.xtask(&["vendor"]).expect_ok();
    fs::remove_file(fixture.wasmtime().join(file)).unwrap();
    fixture.write(&format!("vendor/wasmtime/{file}"), "// Edited.\n");
    fixture.xtask(&["patches", "save"]).expect_ok();
    assert_eq!(fixture.read(&format!("overlay/{file}")), "// Edited.\n");
    assert!(fixture.wasmtime().join(file).is_symlink());
}

#[test]
fn fixup_of_a_patch_is_saved_into_it() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit("Count fibers");
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.git(&["commit", "--quiet", "--all", "--fixup", "HEAD~1"]);
    // As vendor/README.md says, with an editor that leaves the plan as it is.
    let editor = "sequence.editor=true";
    let rebase = [
        "rebase",
        "--quiet",
        "--interactive",
        "--autosquash",
        "--root",
    ];
    fixture.git(&[&["-c", editor], &rebase[..]].concat());
    fixture.xtask(&["patches", "save"]).expect_ok();
    assert_eq!(
        patches(&fixture),
        ["0001-Count-in-words.patch", "0002-Count-fibers.patch"]
    );
    assert!(fixture.read(PATCH).contains("+line thirty\n"));
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn saving_twice_changes_nothing() {
    let fixture = Fixture::patched();
    let time = || {
        let meta = fs::metadata(fixture.path(PATCH)).unwrap();
        (
            meta.modified().unwrap(),
            fixture.read(PATCH),
            fixture.snapshot(),
        )
    };
    let before = time();
    fixture.xtask(&["patches", "save"]).expect_ok();
    assert!(before == time());
}

/// `save` must refuse, name `parts`, and write nothing.
#[track_caller]
fn refused(fixture: &Fixture, parts: &[&str]) {
    let before = (
        fixture.read(PATCH),
        fixture.read("vendor/upstream/pin.toml"),
    );
    let names = patches(fixture);
    let tree = fixture.snapshot();
    fixture.xtask(&["patches", "save"]).expect_error(parts);
    let after = (
        fixture.read(PATCH),
        fixture.read("vendor/upstream/pin.toml"),
    );
    assert!(before == after && names == patches(fixture) && tree == fixture.snapshot());
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn save_refuses_uncommitted_edits() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    refused(&fixture, &["uncommitted edits", FIBER, "--fixup"]);
}

#[test]
fn save_refuses_a_commit_without_status() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit_message("Count fibers\n\nA reason.");
    refused(
        &fixture,
        &["0002-Count-fibers.patch has no `Upstream-Status:`"],
    );
}

#[test]
fn save_refuses_an_unknown_status() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit_message("Count fibers\n\nA reason.\n\nUpstream-Status: maybe");
    refused(
        &fixture,
        &["says `Upstream-Status: maybe`", "pending, submitted"],
    );
}

#[test]
fn save_refuses_a_status_without_its_remark() {
    for (status, missing, remark) in [
        (
            "submitted",
            "the pull request's address",
            ": https://example.org/1",
        ),
        ("backport", "the version that has it", " of 49.0.0"),
        ("local: ", "the reason why", "no other has guest threads"),
    ] {
        let fixture = Fixture::patched();
        fixture.edit(FIBER, "line 10\n", "line ten\n");
        let message = format!("Count fibers\n\nA reason.\n\nUpstream-Status: {status}");
        fixture.commit_message(&message);
        refused(&fixture, &["0002-Count-fibers.patch says", missing]);
        let message = format!("{message}{remark}");
        fixture.git(&["commit", "--quiet", "--amend", "--message", &message]);
        fixture.xtask(&["patches", "save"]).expect_ok();
    }
}

#[test]
fn save_refuses_a_commit_without_a_reason() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit_message("Count fibers\n\nUpstream-Status: pending");
    refused(&fixture, &["0002-Count-fibers.patch does not say why"]);
}

#[test]
fn save_refuses_deletions_and_renames() {
    let fixture = Fixture::patched();
    fixture.git(&["rm", "--quiet", FIBER]);
    fixture.commit("Do without fibers");
    refused(&fixture, &["0002-Do-without-fibers.patch deletes", FIBER]);

    let fixture = Fixture::patched();
    fixture.git(&["mv", FIBER, "crates/wasmtime/src/strand.rs"]);
    fixture.commit("Rename fibers");
    refused(&fixture, &["0002-Rename-fibers.patch deletes", FIBER]);
}

#[test]
fn save_refuses_what_it_cannot_place() {
    let fixture = Fixture::patched();
    fixture.write("vendor/wasmtime/notes.txt", "");
    refused(&fixture, &["vendor/wasmtime/notes.txt is new"]);
}

#[test]
fn save_refuses_fixups_and_other_bases() {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.commit_message("fixup! Count in words\n\nUpstream-Status: local");
    refused(&fixture, &["is a fixup", "--autosquash"]);

    let fixture = Fixture::patched();
    let pin = fixture.read("vendor/upstream/pin.toml");
    let base = pin.lines().find(|line| line.starts_with("base")).unwrap();
    let other = format!("base = \"{}\"", "0".repeat(40));
    fixture.write("vendor/upstream/pin.toml", &pin.replace(base, &other));
    refused(&fixture, &["it is not the pinned Wasmtime"]);
}

#[test]
fn check_finds_one_differing_byte() {
    let fixture = Fixture::patched();
    let patch = fixture.read(PATCH);
    // The message's, which is in no tree.
    fixture.write(PATCH, &patch.replace("A reason.", "A reason. "));
    fixture.xtask(&["patches", "check"]).expect_error(&[
        "patches/0001-Count-in-words.patch differs from its commit in line",
        "patches save",
    ]);
    fixture.write(PATCH, &patch);
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn check_finds_work_that_is_not_saved() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture
        .xtask(&["patches", "check"])
        .expect_error(&[FIBER, "is not committed"]);
    fixture.commit("Count fibers");
    fixture
        .xtask(&["patches", "check"])
        .expect_error(&["0002-Count-fibers.patch", "is not in patches/"]);
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn check_refuses_a_patch_that_adds_a_file_or_has_no_status() {
    let fixture = Fixture::patched();
    fixture.write("vendor/wasmtime/crates/added.txt", "New.\n");
    fixture.git(&["add", "crates/added.txt"]);
    fixture.commit("Add");
    let exported = fixture.git(&["format-patch", "--stdout", "-1"]);
    fixture.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    fixture.write("patches/0002-Add.patch", &exported);
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    fixture
        .xtask(&["patches", "check"])
        .expect_error(&["0002-Add.patch adds crates/added.txt"]);

    let fixture = Fixture::patched();
    let patch = fixture.read(PATCH);
    fixture.write(
        PATCH,
        &patch.replace("Upstream-Status: local, a test\n", ""),
    );
    fixture
        .xtask(&["patches", "check"])
        .expect_error(&["has no `Upstream-Status:`"]);
}

#[test]
fn series_applies_to_a_plain_tree_of_upstreams() {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit("Süßes, a subject that is longer than what fits into one line of a mail header");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();

    let upstream = fixture.dir.path().join("upstream-git");
    let from = fixture.wasmtime();
    fixture.git(&[
        "clone",
        "--quiet",
        from.to_str().unwrap(),
        upstream.to_str().unwrap(),
    ]);
    let root = fixture.git(&["rev-list", "--max-parents=0", "HEAD"]);
    fixture.git_in(&upstream, &["checkout", "--quiet", "--detach", root.trim()]);
    let names = patches(&fixture);
    let paths: Vec<String> = names
        .iter()
        .map(|name| fixture.path("patches").join(name).display().to_string())
        .collect();
    let mut args = vec!["-c", "user.name=n", "-c", "user.email=e", "am", "--quiet"];
    args.extend(paths.iter().map(String::as_str));
    fixture.git_in(&upstream, &args);
    assert_eq!(
        fixture.git_in(&upstream, &["rev-parse", "HEAD^{tree}"]),
        fixture.git(&["rev-parse", "HEAD^{tree}"])
    );
    let subject = fixture.git_in(&upstream, &["log", "-1", "--format=%s"]);
    assert!(subject.starts_with("Süßes, a subject that is longer"));
}

#[test]
fn list_shows_the_series() {
    let fixture = Fixture::patched();
    let run = fixture.xtask(&["patches", "list"]).expect_ok();
    assert_eq!(
        run.stdout,
        format!("0001  Count in words  [local, a test]\n        +1    -1    {LIB}\n")
    );
}
