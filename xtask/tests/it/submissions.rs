//! The submissions in patches/series/ have each patch once, and apply in their order.

use crate::fixture::{FIBER, Fixture, LIB};

const COVER: &str = "patches/series/1-words.md";

/// With a second patch, of the same file as the first but far from it.
fn two_patches() -> Fixture {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.commit("Lengthen");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture
}

/// Writes the cover text of a submission with these patches.
fn submit(fixture: &Fixture, file: &str, subjects: &[&str]) {
    let list: String = subjects.iter().map(|s| format!("- {s}\n")).collect();
    let text = format!("# Words\n\n- no subject\n\n## Patches\n\n{list}\n## Why\n\n- neither\n");
    fixture.write(file, &text);
}

#[test]
fn each_patch_is_listed_with_its_submission() {
    let fixture = two_patches();
    submit(&fixture, COVER, &["Lengthen"]);
    submit(&fixture, "patches/series/2-counts.md", &["Count in words"]);
    fixture.xtask(&["patches", "check"]).expect_ok();
    let run = fixture.xtask(&["patches", "list"]).expect_ok();
    for line in [
        "0001  Count in words  [local, a test]  2-counts\n",
        "0002  Lengthen  [local, a test]  1-words\n",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
}

#[test]
fn patch_in_no_submission_is_named() {
    let fixture = two_patches();
    submit(&fixture, COVER, &["Count in words"]);
    for command in ["check", "list"] {
        fixture
            .xtask(&["patches", command])
            .expect_error(&["0002-Lengthen.patch is in no submission", "- Lengthen"]);
    }
}

#[test]
fn subject_that_is_unknown_or_listed_twice_is_named() {
    let fixture = two_patches();
    submit(&fixture, COVER, &["Count in words", "Lengthen"]);
    for (subject, file) in [("Shorten", COVER), ("Lengthen", "patches/series/2-more.md")] {
        submit(&fixture, file, &["Lengthen", subject]);
        fixture
            .xtask(&["patches", "check"])
            .expect_error(&[file, "lists `"]);
        submit(&fixture, COVER, &["Count in words"]);
    }
}

#[test]
fn submission_without_patches_is_named() {
    let fixture = two_patches();
    submit(&fixture, COVER, &["Count in words", "Lengthen"]);
    fixture.write("patches/series/2-none.md", "# None\n\n- Lengthen\n");
    fixture
        .xtask(&["patches", "check"])
        .expect_error(&["2-none.md lists no patch below `## Patches`"]);
}

#[test]
fn submission_before_one_that_it_needs_is_named() {
    let fixture = Fixture::patched();
    fixture.edit(LIB, "line ten\n", "line of ten\n");
    fixture.edit(FIBER, "line 10\n", "line ten\n");
    fixture.commit("Lengthen");
    fixture.xtask(&["patches", "save"]).expect_ok();
    let later = "patches/series/2-counts.md";
    submit(&fixture, COVER, &["Lengthen"]);
    submit(&fixture, later, &["Count in words"]);
    let before = fixture.snapshot();
    fixture.xtask(&["patches", "check"]).expect_error(&[
        "0002-Lengthen.patch does not apply in submission 1-words",
        LIB,
        "behind those that it needs",
    ]);
    assert!(before == fixture.snapshot());

    submit(&fixture, COVER, &["Count in words"]);
    submit(&fixture, later, &["Lengthen"]);
    fixture.xtask(&["patches", "check"]).expect_ok();
}
