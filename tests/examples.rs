//! The programs in `examples/` do what they say.

use crate::support::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo puts the examples that it builds with this test.
fn folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().with_file_name("examples")
}

/// What the example prints.
fn run(name: &str) -> String {
    let program = folder().join(name);
    assert!(
        program.is_file(),
        "{} is missing: `cargo test` builds it, `cargo test --test all` does not; \
         `cargo build --examples` does too",
        program.display(),
    );
    let run = move || Command::new(program).output().unwrap();
    let output = must_end(run);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {stdout}{stderr}",
        output.status
    );
    stdout
}

/// The first line that begins like this.
fn line<'a>(stdout: &'a str, start: &str) -> &'a str {
    let line = stdout
        .lines()
        .find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no line `{start}`: {stdout}"))
}

/// The numbers in a line.
fn numbers(line: &str) -> Vec<f64> {
    let words = line.split_whitespace();
    let number = |word: &str| word.trim_matches(['%', ',', ':']).parse().ok();
    words.filter_map(number).collect()
}

#[test]
fn each_example_is_tested() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let names = std::fs::read_dir(files).unwrap().map(|file| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_string()
    });
    let tested = [
        "spawn",
        "timeouts",
        "fair_share",
        "priorities",
        "find_race",
        "tokio",
        "pthreads",
        "limits",
    ];
    let tested: BTreeSet<String> = tested.map(str::to_string).into();
    assert_eq!(names.collect::<BTreeSet<String>>(), tested);
}

#[test]
fn spawn_takes_three_exits() {
    let stdout = run("spawn");
    let end = line(&stdout, "AllFinished");
    assert!(end.starts_with("AllFinished: 3 threads finished"), "{end}");
    line(&stdout, "typed: returned 450000015000000");
    line(&stdout, "untyped: returned [I64(200000010000000)]");
    line(
        &stdout,
        "divider: trapped, wasm trap: integer divide by zero",
    );
}

#[test]
fn timeouts_end_the_infinite_loops_only() {
    let stdout = run("timeouts");
    line(&stdout, "AllFinished after");
    line(&stdout, "loop: over the CPU time limit of 50ms: ");
    line(&stdout, "sibling: returned [I32(50000000)]");
    line(&stdout, "patient: over the CPU time limit of 60ms: ");
    line(&stdout, "and may have 60 ms in all");
    let asked = stdout.matches("patient: asks for more time").count();
    // Not a second time if the machine was so busy that both limits were over.
    assert!((1..=2).contains(&asked), "{stdout}");
}

#[test]
fn limits_end_what_takes_too_long() {
    let stdout = run("limits");
    line(
        &stdout,
        "forever: the guest has reached its deadline of 20ms of CPU time",
    );
    line(
        &stdout,
        "count(1000000): wasm trap: all fuel consumed by WebAssembly",
    );
    line(&stdout, "count(50): 50");
}

#[test]
fn fair_share_is_fair() {
    // How near depends on how busy the machine is just before the end.
    let near = |stdout: &str| {
        let index = numbers(line(stdout, "Jain's index:"))[0];
        let shares = [("bronze", 12.5), ("silver", 25.0), ("gold", 62.5)];
        let near = shares.map(|(name, due)| {
            let numbers = numbers(line(stdout, name));
            assert_eq!((numbers.len(), numbers[2]), (3, due), "{stdout}");
            (numbers[1] - due).abs() < 5.0
        });
        (0.95..=1.0).contains(&index) && near == [true; 3]
    };
    let far = (0..10).map(|_| run("fair_share"));
    let far: Vec<String> = far.take_while(|stdout| !near(stdout)).collect();
    assert!(far.len() < 10, "{}", far.join("\n"));
}

#[test]
fn priorities_let_nobody_starve() {
    let stdout = run("priorities");
    let (strict, aging) = stdout.split_once("with aging:").unwrap();
    line(strict, "finished in this order: urgent, normal, background");
    let wait = |part| *numbers(line(part, "background")).last().unwrap();
    assert!(wait(strict) > 500_000.0, "{stdout}");
    // The patience, and twice the slices of three threads.
    assert!(wait(aging) < 100_000.0 + 2.0 * 3.0 * 10_100.0, "{stdout}");
    line(aging, "finished in this order: urgent");
}

#[test]
fn find_race_finds_it_and_repeats_it() {
    let stdout = run("find_race");
    line(&stdout, "round robin, long slices: 8 of 8");
    let found = line(&stdout, "seed");
    assert!(found.ends_with("so an update was lost"), "{found}");
    line(&stdout, "preempt-schedule 1");
    let value = numbers(found)[1];
    assert!(value < 8.0);
    let again = format!("replayed: {value} of 8 again");
    assert_eq!(stdout.matches(&again).count(), 3, "{stdout}");
    // Under fuel even the search is the same every time.
    assert_eq!(run("find_race"), stdout);
}

#[test]
fn tokio_shows_that_stores_and_other_tasks_share_a_runtime() {
    let stdout = run("tokio");
    for i in 0..8 {
        let line = line(&stdout, &format!("store {i}:"));
        let expected = "AllFinished, counted Some(Returned(100000000)), added Some(Returned(55))";
        assert!(line.contains(expected), "{line}");
    }
    line(&stdout, "a sleep of 2 ms took");
}

#[test]
fn pthreads_runs_a_program_with_threads() {
    let stdout = run("pthreads");
    line(&stdout, "20000 items, sum 200010000");
    line(&stdout, "AllFinished: 9 threads finished in ");
    line(&stdout, "9 threads at a time, in 9 instances");
    line(&stdout, "ended by thread 0: Returned([])");
}
