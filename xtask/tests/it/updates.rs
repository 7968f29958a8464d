//! Changes of the inputs, and what they move in vendor/wasmtime.

use crate::fixture::{FIBER, Fixture, LIB, NEXT_COMMIT};
use std::fs;

const NEW: &str = "crates/wasmtime/src/new.rs";

/// Two patches; the second one is then taken away again by `undo`.
fn with_second_patch() -> (Fixture, String) {
    let fixture = Fixture::patched();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit("Count fibers");
    fixture.xtask(&["patches", "save"]).expect_ok();
    let patch = fixture.read("patches/0002-Count-fibers.patch");
    (fixture, patch)
}

#[test]
fn changed_series_moves_only_the_files_that_differ() {
    let (fixture, _) = with_second_patch();
    let before = fixture.snapshot();
    fs::remove_file(fixture.path("patches/0002-Count-fibers.patch")).unwrap();
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    let after = fixture.snapshot();
    let moved: Vec<&str> = before
        .iter()
        .zip(&after)
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0.as_str())
        .collect();
    assert_eq!(before.len(), after.len());
    assert_eq!(moved, [FIBER]);
    assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn overlay_is_linked_and_its_edits_are_no_change() {
    let fixture = Fixture::patched();
    fixture.write(&format!("overlay/{NEW}"), "// One.\n");
    fixture.write("overlay/crates/wasmtime/src/deep/er/still.rs", "");
    fixture.xtask(&["vendor"]).expect_ok();
    let pin = fixture.read("vendor/upstream/pin.toml");
    let linked = fixture.wasmtime().join(NEW);
    assert!(fs::read_link(&linked).unwrap().is_relative());
    fixture.write(&format!("overlay/{NEW}"), "// Two.\n");
    assert_eq!(fs::read_to_string(&linked).unwrap(), "// Two.\n");
    assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();

    // A fresh layout has the links too.
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask(&["vendor"]).expect_ok();
    assert_eq!(fs::read_to_string(&linked).unwrap(), "// Two.\n");
    assert_eq!(fixture.read("vendor/upstream/pin.toml"), pin);

    fs::remove_file(fixture.path(&format!("overlay/{NEW}"))).unwrap();
    fixture.xtask(&["vendor"]).expect_ok();
    assert!(fs::symlink_metadata(linked).is_err());
    assert_eq!(fixture.git(&["status", "--porcelain"]), "");
}

#[test]
fn new_overlay_file_is_linked_in_the_midst_of_local_work() {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.write(&format!("overlay/{NEW}"), "// New.\n");
    fixture.xtask(&["vendor"]).expect_ok();
    assert!(fixture.wasmtime().join(NEW).is_symlink());
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    assert!(lib.contains("line thirty"));
}

#[test]
fn lost_link_comes_back() {
    let fixture = Fixture::patched();
    fixture.write(&format!("overlay/{NEW}"), "// New.\n");
    fixture.xtask(&["vendor"]).expect_ok();
    fixture.git(&["clean", "--force", "-x", "-d", "--quiet"]);
    assert!(!fixture.wasmtime().join(NEW).exists());
    fixture.xtask(&["vendor"]).expect_ok();
    assert!(fixture.wasmtime().join(NEW).is_symlink());
}

#[test]
fn overlay_is_copied_where_there_are_no_links() {
    let fixture = Fixture::patched();
    let no_links = |command: &mut std::process::Command| {
        command.env("XTASK_NO_SYMLINKS", "1");
    };
    fixture.write(&format!("overlay/{NEW}"), "// One.\n");
    let run = fixture.xtask_with(&["vendor"], no_links).expect_ok();
    assert!(run.stderr.contains("no symbolic links here"));
    let copy = fixture.wasmtime().join(NEW);
    assert!(!copy.is_symlink());
    assert_eq!(fs::read_to_string(&copy).unwrap(), "// One.\n");
    fixture
        .xtask_with(&["vendor", "--check"], no_links)
        .expect_ok();

    fixture.write(&format!("overlay/{NEW}"), "// Two.\n");
    let run = fixture.xtask_with(&["vendor"], no_links).expect_ok();
    assert_eq!(run.stderr, "");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "// Two.\n");

    // The other way round it is an edit, and would get lost.
    fs::write(&copy, "// Three.\n").unwrap();
    fixture
        .xtask_with(&["vendor"], no_links)
        .expect_error(&[NEW, "patches save"]);
    fixture
        .xtask_with(&["patches", "save"], no_links)
        .expect_ok();
    assert_eq!(fixture.read(&format!("overlay/{NEW}")), "// Three.\n");
    fixture
        .xtask_with(&["patches", "check"], no_links)
        .expect_ok();

    fs::remove_file(fixture.path(&format!("overlay/{NEW}"))).unwrap();
    fixture.xtask_with(&["vendor"], no_links).expect_ok();
    assert!(!copy.exists());
}

#[test]
fn overlay_file_that_upstream_has_is_refused() {
    let fixture = Fixture::patched();
    fixture.write(&format!("overlay/{LIB}"), "// Ours.\n");
    let before = fixture.snapshot();
    for args in [&["vendor"][..], &["patches", "check"]] {
        fixture
            .xtask(args)
            .expect_error(&[&format!("overlay/{LIB} exists in upstream's tree")]);
    }
    assert!(before == fixture.snapshot());
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture
        .xtask(&["vendor"])
        .expect_error(&[&format!("overlay/{LIB} exists in upstream's tree")]);
    assert_eq!(fixture.in_vendor(), ["upstream"]);
}

/// As a run leaves it that is killed while git writes files: `FIBER` is to get
/// a patch, and is half-written.
fn interrupted() -> Fixture {
    let (fixture, patch) = with_second_patch();
    let pin = fixture.read("vendor/upstream/pin.toml");
    let stamp = fixture.wasmtime().join(".git/xtask.json");
    let read = || -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(&stamp).unwrap()).unwrap()
    };
    let new = read();
    fs::remove_file(fixture.path("patches/0002-Count-fibers.patch")).unwrap();
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    fixture.write("patches/0002-Count-fibers.patch", &patch);
    fixture.write("vendor/upstream/pin.toml", &pin);
    let mut old = read();
    old["updating"] = new;
    fs::write(&stamp, old.to_string()).unwrap();
    fixture
}

#[test]
fn overlay_file_in_the_way_of_upstreams_is_named_alone() {
    for (file, what) in [
        ("crates/wasmtime", "is a directory in upstream's tree"),
        (
            "crates/wasmtime/src/lib.rs/mod.rs",
            "would be below crates/wasmtime/src/lib.rs, a file in upstream's tree",
        ),
    ] {
        let fixture = Fixture::patched();
        fixture.write(&format!("overlay/{file}"), "// Ours.\n");
        let before = fixture.snapshot();
        let run = fixture
            .xtask(&["vendor"])
            .expect_error(&[&format!("overlay/{file} {what}: overlay/ is for new files")]);
        assert!(run.stderr.lines().count() == 1, "{}", run.stderr);
        assert!(before == fixture.snapshot());
    }
}

#[test]
fn interrupted_update_is_completed() {
    let fixture = interrupted();
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    let run = fixture.xtask(&["vendor"]).expect_ok();
    assert!(run.stderr.contains("completing an interrupted update"));
    assert!(!run.stderr.contains("replaced"), "{}", run.stderr);
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    let fiber = fixture.read(&format!("vendor/wasmtime/{FIBER}"));
    assert!(fiber.contains("line ten\n"));
}

#[test]
fn what_was_edited_since_an_interruption_is_kept() {
    let fixture = interrupted();
    fixture.edit(FIBER, "line 10\n", "half a line");
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    let before = fixture.snapshot();
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&["was interrupted", "`cargo xtask vendor` completes it"]);
    assert!(before == fixture.snapshot());

    let run = fixture.xtask(&["vendor"]).expect_ok();
    assert!(run.stderr.contains("kept as refs/xtask/replaced-1"));
    assert!(run.stderr.contains(LIB) && run.stderr.contains(FIBER));
    let kept = fixture.git(&["show", &format!("refs/xtask/replaced-1:{LIB}")]);
    assert!(kept.contains("line thirty\n"));
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    let fiber = fixture.read(&format!("vendor/wasmtime/{FIBER}"));
    assert!(fiber.contains("line ten\n"));
}

#[test]
fn change_of_the_pinned_crates_is_noticed() {
    let fixture = Fixture::patched();
    let manifest = fixture.read("vendor/upstream/Cargo.toml");
    fixture.write(
        "vendor/upstream/Cargo.toml",
        &manifest.replace("wasmtime-inner = \"=1.0.0\"\n", ""),
    );
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&["vendor/upstream or patches/ has changed"]);
    fixture
        .xtask(&["vendor"])
        .expect_error(&["vendor/upstream/Cargo.lock does not fit"]);
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let fixture = Fixture::pinned();
    fixture.write("vendor/.wasmtime-abc123/crates/x.rs", "");
    let half = ["patches/.xtask-abc123", "vendor/upstream/.xtask-abc123"];
    for file in half {
        fixture.write(file, "Half of it");
    }
    fixture.xtask(&["vendor"]).expect_ok();
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
    assert!(half.iter().all(|file| !fixture.path(file).exists()));
}

#[test]
fn leftovers_that_are_still_written_to_are_removed() {
    let fixture = Fixture::pinned();
    let leftover = fixture.path("vendor/.wasmtime-abc123");
    fs::create_dir(&leftover).unwrap();
    let git = std::thread::spawn(move || {
        let end = std::time::Instant::now() + std::time::Duration::from_millis(700);
        let mut number = 0;
        while end > std::time::Instant::now() {
            number += 1;
            if fs::write(leftover.join(number.to_string()), "").is_err() {
                break;
            }
        }
    });
    fixture.xtask(&["vendor"]).expect_ok();
    git.join().unwrap();
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn lock_file_of_a_killed_git_is_named() {
    let (fixture, _) = with_second_patch();
    fs::remove_file(fixture.path("patches/0002-Count-fibers.patch")).unwrap();
    let lock = fixture.wasmtime().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    for _ in 0..2 {
        fixture.xtask(&["vendor", "--repin"]).expect_error(&[
            &format!("{} is in the way", lock.display()),
            "remove that file and run the command again",
        ]);
    }
    fs::remove_file(&lock).unwrap();
    fixture.xtask(&["vendor", "--repin"]).expect_ok();
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn two_runs_at_once_lay_out_one_after_the_other() {
    let fixture = Fixture::pinned();
    std::thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| fixture.xtask(&["vendor"]).expect_ok()));
        let laid_out = runs
            .map(|run| run.join().unwrap().stderr.contains("laying out"))
            .iter()
            .filter(|laid_out| **laid_out)
            .count();
        assert_eq!(laid_out, 1);
    });
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn repin_moves_to_another_version() {
    let fixture = Fixture::patched();
    fixture.publish_next("line twenty\n");
    fixture.pin_version("1.0.1");
    let run = fixture.xtask(&["vendor", "--repin"]).expect_ok();
    let pin = fixture.read("vendor/upstream/pin.toml");
    assert!(pin.contains("version = \"1.0.1\""));
    assert!(pin.contains(NEXT_COMMIT));
    for id in run.stdout.lines().map(|line| line.split(' ').next_back()) {
        assert!(pin.contains(id.unwrap()));
    }
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    assert!(lib.contains("line ten\n") && lib.contains("line twenty\n"));
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    // The hunk has moved by no line, but its blob ids have changed.
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn repin_offers_a_rebase_when_the_series_conflicts() {
    let fixture = Fixture::pinned();
    fixture.xtask(&["vendor"]).expect_ok();
    fixture.edit(LIB, "line 21\n", "line twenty-one\n");
    fixture.commit("Count in words");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.publish_next("line twenty\n");
    fixture.pin_version("1.0.1");
    let run = fixture.xtask(&["vendor", "--repin"]).expect_error(&[
        "must be rebased",
        "rebase --onto refs/xtask/base",
        "0001-Count-in-words.patch does not apply",
    ]);
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);

    let old_base = run
        .stderr
        .split_whitespace()
        .skip_while(|word| *word != "refs/xtask/base")
        .nth(1)
        .unwrap();
    let rebase = std::process::Command::new("git")
        .current_dir(fixture.wasmtime())
        .args(["rebase", "--quiet", "--onto", "refs/xtask/base", old_base])
        .output()
        .unwrap();
    assert!(!rebase.status.success());
    // Stopped halfway, the repository is left alone.
    fixture.xtask(&["vendor"]).expect_error(&["rebase"]);
    fixture
        .xtask(&["patches", "save"])
        .expect_error(&["rebase", "going on"]);

    let path = format!("vendor/wasmtime/{LIB}");
    let kept: String = fixture
        .read(&path)
        .lines()
        .filter(|line| {
            !line.starts_with("<<<<<<<")
                && !line.starts_with("=======")
                && !line.starts_with(">>>>>>>")
                && !["line 20", "line 21"].contains(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    let kept: String = kept
        .lines()
        .filter(|line| seen.insert(line.to_string()))
        .map(|line| format!("{line}\n"))
        .collect();
    fixture.write(&path, &kept);
    fixture.git(&["add", LIB]);
    fixture.git(&["-c", "core.editor=true", "rebase", "--continue"]);
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
    let lib = fixture.read(&path);
    assert!(
        lib.contains("line twenty\nline twenty-one\nline 22\n"),
        "{lib}"
    );
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask(&["vendor"]).expect_ok();
    assert_eq!(fixture.read(&path), lib);
}
