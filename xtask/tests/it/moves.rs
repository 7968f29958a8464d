//! Moves to another patch release, and whether there is one.

use crate::fixture::{Fixture, LIB, NEXT_COMMIT, Run};

/// The files that hold the pin, our own manifests, and the patch of [`Fixture::patched`].
const FILES: [&str; 8] = [
    "vendor/upstream/Cargo.toml",
    "vendor/upstream/Cargo.lock",
    "vendor/upstream/pin.toml",
    "Cargo.toml",
    "Cargo.lock",
    "benches/stock/Cargo.toml",
    "benches/stock/Cargo.lock",
    "patches/0001-Count-in-words.patch",
];

/// With workspaces of our own that depend on upstream's crates, as ours do.
fn with_workspaces() -> Fixture {
    let fixture = Fixture::patched();
    fixture.publish_astray("elsewhere", "1.0.0");
    let manifest = |more: &str| {
        format!(
            "[workspace]\nexclude = [\"benches/stock\", \"vendor\"]\n[package]\nname = \"ours\"\n\
             edition = \"2024\"\n[dependencies]\nelsewhere = \"=1.0.0\" # Not upstream's.\n{more}"
        )
    };
    fixture.write(
        "Cargo.toml",
        &manifest(
            "wasmtime.workspace = true\n[workspace.dependencies]\n\
             wasmtime = { version = \"=1.0.0\", features = [] } # The patched one.\n\
             [patch.crates-io]\nwasmtime = { path = \"vendor/wasmtime/crates/wasmtime\" }\n\
             wasmtime-inner = { path = \"vendor/wasmtime/crates/wasmtime/inner\" }\n",
        ),
    );
    fixture.write(
        "benches/stock/Cargo.toml",
        &manifest("wasmtime = \"=1.0.0\"\n"),
    );
    for (dir, source) in [
        ("", "src/lib.rs"),
        ("benches/stock", "benches/stock/src/lib.rs"),
    ] {
        fixture.write(source, "");
        fixture.cargo_in(dir, &["generate-lockfile", "--quiet"]);
    }
    fixture.xtask(&["vendor"]).expect_ok();
    // Newer than what is locked, and no part of the move.
    fixture.publish_astray("elsewhere", "1.0.1");
    fixture.publish_astray("thirdparty", "1.0.1");
    fixture
}

fn contents(fixture: &Fixture) -> Vec<String> {
    FILES.iter().map(|file| fixture.read(file)).collect()
}

/// Runs an update that must fail, and leave everything as it was.
#[track_caller]
fn expect_unmoved(fixture: &Fixture, args: &[&str], parts: &[&str]) -> Run {
    let (files, snapshot) = (contents(fixture), fixture.snapshot());
    let in_vendor = fixture.in_vendor();
    let run = fixture
        .xtask(&[&["vendor", "--update"], args].concat())
        .expect_error(parts);
    assert!(contents(fixture) == files);
    assert!(fixture.snapshot() == snapshot);
    assert_eq!(fixture.in_vendor(), in_vendor);
    let upstream = std::fs::read_dir(fixture.path("vendor/upstream")).unwrap();
    assert_eq!(upstream.count(), 4, "Cargo.toml, Cargo.lock, pin.toml, src");
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    run
}

#[test]
fn update_moves_everything_in_one_command() {
    let fixture = with_workspaces();
    let before = contents(&fixture);
    fixture.publish_next("line twenty\n");
    fixture.xtask(&["vendor", "--update"]).expect_ok();

    let pin = fixture.read("vendor/upstream/pin.toml");
    assert!(pin.contains("version = \"1.0.1\"") && pin.contains(NEXT_COMMIT));
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    assert!(lib.contains("line ten\n") && lib.contains("line twenty\n"));

    let after = contents(&fixture);
    assert_eq!(after[0], before[0].replace("=1.0.0", "=1.0.1"));
    let ours = before[3].replace("version = \"=1.0.0\"", "version = \"=1.0.1\"");
    assert_eq!(after[3], ours);
    let stock = before[5].replace("wasmtime = \"=1.0.0\"", "wasmtime = \"=1.0.1\"");
    assert_eq!(after[5], stock);
    // What is not upstream's stays at its version.
    for (lock, upstream) in [(&after[1], 3), (&after[4], 2), (&after[6], 2)] {
        let moved = lock.matches("version = \"1.0.1\"").count();
        assert_eq!(moved, upstream, "{lock}");
    }

    fixture.xtask(&["vendor", "--check"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
    for dir in ["", "benches/stock"] {
        let args = ["metadata", "--locked", "--offline", "--format-version=1"];
        fixture.cargo_in(dir, &args);
    }
    let again = fixture.xtask(&["vendor", "--update"]).expect_ok();
    assert!(again.stdout.contains("1.0.1 is pinned already"));
    assert!(contents(&fixture) == after);
}

#[test]
fn update_makes_what_is_not_laid_out_yet() {
    let fixture = with_workspaces();
    fixture.publish_next("line twenty\n");
    std::fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask(&["vendor", "--update"]).expect_ok();
    fixture.xtask(&["vendor", "--check"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[test]
fn update_moves_to_the_newest_patch_release_or_to_the_one_asked_for() {
    for (args, version) in [(&[][..], "1.0.10"), (&["1.0.2"], "1.0.2")] {
        let fixture = with_workspaces();
        for version in ["1.0.2", "1.0.9", "1.0.10", "1.1.0", "2.0.0"] {
            fixture.publish_release(version, "line twenty\n");
        }
        let args = [&["vendor", "--update"], args].concat();
        fixture.xtask(&args).expect_ok();
        let pin = fixture.read("vendor/upstream/pin.toml");
        assert!(pin.contains(&format!("version = \"{version}\"")), "{pin}");
        fixture.xtask(&["vendor", "--check"]).expect_ok();
    }
}

#[test]
fn update_refuses_what_is_no_newer_patch_release() {
    let fixture = with_workspaces();
    fixture.publish_release("1.1.0", "line 20\n");
    for (version, parts) in [
        (
            "1.1.0",
            &[
                "Wasmtime 1.1.0 is no newer patch release of 1.0.0",
                "README.md",
            ][..],
        ),
        (
            "0.9.0",
            &["Wasmtime 0.9.0 is no newer patch release of 1.0.0"],
        ),
        (
            "1.0.7",
            &[
                "pin the crates of Wasmtime 1.0.7",
                "registry does not have them",
            ],
        ),
        (
            "1.0",
            &["`1.0` is not the version of a release, such as 48.0.8"],
        ),
        ("v1.0.1", &["`v1.0.1` is not the version of a release"]),
    ] {
        expect_unmoved(&fixture, &[version], parts);
    }
}

#[test]
fn update_names_the_patch_and_the_file_that_conflict_and_changes_nothing() {
    let fixture = with_workspaces();
    fixture.edit(LIB, "line 21\n", "line twenty-one\n");
    fixture.commit("Count further");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.publish_next("line twenty\n");
    expect_unmoved(
        &fixture,
        &[],
        &[
            "Wasmtime 1.0.0 stays pinned, as 1.0.1 cannot be moved to",
            "patch 0002-Count-further.patch does not apply",
            &format!("patch failed: {LIB}:"),
            "`cargo xtask vendor --update 1.0.1 --repin`",
        ],
    );

    // As that says.
    fixture
        .xtask(&["vendor", "--update", "1.0.1", "--repin"])
        .expect_error(&["rebase --onto refs/xtask/base", "0002-Count-further.patch"]);
    assert!(fixture.read("Cargo.toml").contains("version = \"=1.0.1\""));
    let pin = fixture.read("vendor/upstream/pin.toml");
    assert!(pin.contains("version = \"1.0.1\""), "{pin}");
    let old_base = fixture.git(&["rev-list", "--max-parents=0", "HEAD"]);
    fixture.git(&["checkout", "--quiet", "--detach", "refs/xtask/base"]);
    fixture.git(&["branch", "--force", "main"]);
    fixture.git(&["checkout", "--quiet", "main"]);
    assert_ne!(fixture.git(&["rev-parse", "HEAD"]), old_base);
    fixture.edit(LIB, "line 10\n", "line ten\n");
    fixture.commit("Count in words");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["vendor"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn update_that_fails_in_any_other_way_changes_nothing() {
    // A crate that was made from another commit.
    let fixture = with_workspaces();
    fixture.publish_release("1.0.2", "line twenty\n");
    let manifest = fixture.read("vendor/upstream/Cargo.toml");
    fixture.publish_astray("wasmtime-extra", "1.0.1");
    fixture.publish_next("line twenty\n");
    let name = "wasmtime-extra = \"=1.0.0\"\n";
    fixture.write("vendor/upstream/Cargo.toml", &format!("{manifest}{name}"));
    let run = fixture.xtask(&["vendor", "--update", "1.0.1"]);
    run.expect_error(&["`wasmtime-extra`", "was not made from commit"]);
    assert_eq!(
        fixture.read("vendor/upstream/Cargo.toml"),
        format!("{manifest}{name}")
    );
    fixture.write("vendor/upstream/Cargo.toml", &manifest);

    // Work that is not saved.
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    let before = (contents(&fixture), fixture.snapshot());
    let run = fixture.xtask(&["vendor", "--update"]);
    run.expect_error(&["local edits", LIB]);
    assert!(before == (contents(&fixture), fixture.snapshot()));
    fixture.edit(LIB, "line thirty\n", "line 30\n");

    // Versions that are not of one release.
    let mixed = manifest.replacen("=1.0.0", "1", 1);
    fixture.write("vendor/upstream/Cargo.toml", &mixed);
    let run = fixture.xtask(&["vendor", "--update"]);
    run.expect_error(&["is pinned to `1`, which is not a patch release 0"]);
    fixture.write("vendor/upstream/Cargo.toml", &manifest);

    // No registry.
    fixture.registry.stop();
    expect_unmoved(&fixture, &[], &["could not ask the crate registry"]);
    expect_unmoved(&fixture, &["1.0.2"], &["or cannot be reached"]);
}

#[test]
fn outdated_tells_whether_there_is_a_newer_patch_release() {
    let fixture = Fixture::pinned();
    fixture.publish_release("1.1.0", "line 20\n");
    let run = fixture.xtask(&["outdated"]).expect_ok();
    assert!(run.stdout.contains("1.0.0 is pinned"), "{}", run.stdout);
    assert!(run.stdout.contains("no newer patch release"));
    assert_eq!(fixture.in_vendor(), ["upstream"]);

    fixture.publish_next("line 20\n");
    fixture.publish_release("1.0.10", "line 20\n");
    for offline in ["false", "true"] {
        // Or cargo would go by what it knew before.
        let set = |command: &mut std::process::Command| {
            command.env("CARGO_NET_OFFLINE", offline);
        };
        fixture.xtask_with(&["outdated"], set).expect_error(&[
            "Wasmtime 1.0.10 is in the crate registry, and 1.0.0 is pinned",
            "`cargo xtask vendor --update`",
        ]);
    }

    fixture.registry.stop();
    fixture.xtask(&["outdated"]).expect_error(&[
        "cargo could not ask the crate registry for releases of Wasmtime 1.0",
        "network access",
    ]);
}

#[test]
fn outdated_tells_that_the_pinned_release_is_not_offered() {
    let fixture = Fixture::pinned();
    let pin = fixture.read("vendor/upstream/pin.toml");
    fixture.write("vendor/upstream/pin.toml", &pin.replace("1.0.0", "1.0.5"));
    let run = fixture.xtask(&["outdated"]).expect_ok();
    assert!(run.stdout.contains("1.0.0 is the newest"), "{}", run.stdout);
    assert!(run.stdout.contains("1.0.5 was withdrawn"));
}
