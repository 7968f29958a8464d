//! Ports to another version: merged, completed by a person, saved, and laid out again.

use crate::fixture::{FIBER, Fixture, LIB};

const CHECKOUT: &str = "target/port-2/checkout";
const CHANGE: &str = "ports/2/patches/0001-Count-in-words.patch";

/// With a patch of lines 10 and 20, and a version 2 in which line 20 is another.
fn with_port() -> Fixture {
    let fixture = Fixture::pinned();
    fixture.xtask(&["vendor"]).expect_ok();
    fixture.edit(LIB, "line 20\n", "line twenty\n");
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit("Count in words");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.add_workspace();
    let manifest = fixture.read("Cargo.toml");
    let manifest = manifest.replace("wasmtime = \"1\"", "wasmtime = \"=1.0.0\"");
    fixture.write("Cargo.toml", &manifest);
    fixture.write(".gitignore", "/vendor/wasmtime\n/vendor/.*\n/target\n");
    fixture.git_in(&fixture.root(), &["init", "--quiet"]);
    fixture.git_in(&fixture.root(), &["add", "--all"]);

    fixture.publish_release("2.0.0", "LINE 20\n");
    let pin = fixture.read("vendor/upstream/Cargo.toml");
    fixture.write(
        "ports/2/upstream/Cargo.toml",
        &pin.replace("=1.0.0", "=2.0.0"),
    );
    fixture.write("ports/2/upstream/src/lib.rs", "");
    fixture.cargo_in("ports/2/upstream", &["generate-lockfile", "--quiet"]);
    fixture
}

/// Makes what cannot be merged, as a person would, and saves it.
fn complete(fixture: &Fixture) {
    fixture.xtask(&["port", "2"]).expect_error(&[
        "0001-Count-in-words.patch",
        "1 in crates/wasmtime/src/lib.rs",
    ]);
    let lib = format!("{CHECKOUT}/vendor/wasmtime/{LIB}");
    let text = fixture.read(&lib);
    assert!(text.contains("LINE 20\n"));
    fixture.write(&lib, &text.replace("LINE 20\n", "LINE TWENTY\n"));
    fixture
        .xtask(&["port", "2", "--save"])
        .expect_error(&["not committed"]);
    let wasmtime = fixture.path(&format!("{CHECKOUT}/vendor/wasmtime"));
    fixture.git_in(&wasmtime, &["commit", "--all", "--amend", "--no-edit"]);
    fixture.write(&format!("{CHECKOUT}/src/lib.rs"), "// For version 2.\n");
    fixture
        .xtask(&["port", "2"])
        .expect_error(&["src/lib.rs", "--save"]);
    let saved = fixture.xtask(&["port", "2", "--save"]).expect_ok();
    assert!(saved.stdout.contains("0001-Count-in-words.patch"));
}

fn give_reason(fixture: &Fixture) {
    let change = fixture.read(CHANGE);
    fixture.write(CHANGE, &format!("Upstream counts in capitals.\n\n{change}"));
}

#[test]
fn a_port_is_what_a_person_has_decided() {
    let fixture = with_port();
    complete(&fixture);
    let change = fixture.read(CHANGE);
    assert!(change.starts_with("Conflicts: 1 in crates/wasmtime/src/lib.rs\n"));
    assert!(change.contains("\n+LINE TWENTY\n") && !change.contains("line ten"));
    let patch = fixture.read("ports/2/repository.patch");
    assert!(patch.contains("\n+// For version 2.\n") && !patch.contains("Cargo.lock"));

    fixture
        .xtask(&["port", "2"])
        .expect_error(&["what is different in Wasmtime 2"]);
    give_reason(&fixture);
    std::fs::remove_dir_all(fixture.path("target/port-2")).unwrap();
    fixture.xtask(&["port", "2"]).expect_ok();
    let there = |path: &str| fixture.read(&format!("{CHECKOUT}/{path}"));
    assert!(there(&format!("vendor/wasmtime/{LIB}")).contains("LINE TWENTY\n"));
    assert!(there(&format!("vendor/wasmtime/{FIBER}")).contains("line ten\n"));
    assert_eq!(there("src/lib.rs"), "// For version 2.\n");
    assert!(there("Cargo.toml").contains("wasmtime = \"=2.0.0\""));
    assert!(there("vendor/upstream/pin.toml").contains("version = \"2.0.0\""));

    // Saving it again changes nothing.
    let before = (
        fixture.read(CHANGE),
        fixture.read("ports/2/repository.patch"),
    );
    fixture.xtask(&["port", "2", "--save"]).expect_ok();
    let after = (
        fixture.read(CHANGE),
        fixture.read("ports/2/repository.patch"),
    );
    assert_eq!(before, after);
}

#[test]
fn a_conflict_that_a_port_does_not_know_is_an_error() {
    let fixture = with_port();
    complete(&fixture);
    give_reason(&fixture);
    let change = fixture.read(CHANGE);
    fixture.write(
        CHANGE,
        &change.replace("Conflicts: 1 in", "Conflicts: 2 in"),
    );
    fixture
        .xtask(&["port", "2"])
        .expect_error(&["1 in crates/wasmtime/src/lib.rs"]);
}

#[test]
fn other_files_than_the_pinned_ones_are_refused() {
    let fixture = with_port();
    complete(&fixture);
    give_reason(&fixture);
    let pin = fixture.read("ports/2/upstream/pin.toml");
    let base = pin.lines().find(|line| line.starts_with("base")).unwrap();
    let other = format!("base = \"{}\"", "0".repeat(40));
    fixture.write("ports/2/upstream/pin.toml", &pin.replace(base, &other));
    fixture
        .xtask(&["port", "2"])
        .expect_error(&["lays out as tree"]);
    fixture
        .xtask(&["port", "3"])
        .expect_error(&["there is no port to Wasmtime 3"]);
}
