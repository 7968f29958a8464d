//! The inputs that fuzzing has found to be worth keeping do what they should: see docs/fuzzing.md.

use std::fs;
use std::path::{Path, PathBuf};

fn replay(target: &str) {
    let all = preempt_fuzzing::TARGETS;
    let (_, run) = all.iter().find(|(name, _)| *name == target).unwrap();
    let mut inputs = inputs(target);
    inputs.sort();
    assert!(inputs.len() > 10, "{} inputs", inputs.len());
    for input in inputs {
        // Told if it fails.
        eprintln!("{}", input.display());
        run(&fs::read(input).unwrap());
    }
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus(target)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn corpus(target: &str) -> PathBuf {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    corpora.join(target)
}

#[test]
fn sequences_of_calls_leave_stores_as_they_must_be() {
    replay("api");
}

#[test]
fn calls_of_components_end_as_they_may() {
    replay("components");
}

#[test]
fn random_modules_do_the_same_as_in_plain_calls() {
    replay("differential");
}

#[test]
fn text_is_read_as_it_was_written() {
    replay("text");
}

#[test]
fn programs_with_locks_end_as_they_must() {
    replay("wasi_threads");
}

#[test]
fn seeds_are_what_their_authors_wrote() {
    for seed in preempt_fuzzing::seeds() {
        let file = corpus(seed.target).join(&seed.name);
        let committed = fs::read(&file).unwrap_or_default();
        assert!(
            committed == seed.bytes,
            "{}: `cargo run -p preempt-fuzzing --example seeds` writes it",
            file.display()
        );
    }
}
