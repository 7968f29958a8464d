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
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = fs::read_dir(corpus.join(target)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
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
