//! `--until`: the run ends when the guests that it names have ended.

mod common;

use common::{ENDLESS, bad_usage, each_mode, file, rows, run};

/// Sleeps for an hour.
fn sleeper() -> String {
    file(
        "until-sleeper.wat",
        r#"(module
            (import "preempt" "sleep" (func $sleep (param i64)))
            (func (export "run") (call $sleep (i64.const 3600000000000))))"#,
    )
}

#[test]
fn others_are_ended_wherever_they_are() {
    let sleeper = sleeper();
    for mode in each_mode() {
        let guests = ["fib.wat:fib(20)", "spin.wat:run", &sleeper, ENDLESS];
        let options = ["--json", "--until", "1"];
        let ran = mode.run(&[&options, &guests[..]].concat()).expect(0);
        let json = ran.json();
        assert_eq!(json["end"], "until");
        assert_eq!(rows(&json)[0]["exit"], "returned");
        assert_eq!(rows(&json)[0]["results"][0], 6765);
        for row in &rows(&json)[1..] {
            assert_eq!(row["exit"], "ended", "{row}");
        }
        let ran = mode
            .run(&["--until=fib.wat:fib(20)", "fib.wat:fib(20)", "spin.wat:run"])
            .expect(0);
        assert!(
            ran.stdout.contains("\nguests of --until ended after "),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn all_that_are_named_are_waited_for() {
    for mode in each_mode() {
        let guests = [
            "fib.wat:fib(5)",
            "fib.wat:fib(25)",
            "spin.wat:run",
            "trap.wat",
        ];
        let ran = mode
            .run(
                &[
                    &["--json", "--until=1", "--until=2", "--until=4"],
                    &guests[..],
                ]
                .concat(),
            )
            .expect(1);
        let exits = rows(&ran.json()).clone();
        let exits: Vec<_> = exits.iter().map(|row| row["exit"].clone()).collect();
        assert_eq!(exits, ["returned", "returned", "ended", "trapped"]);
    }
}

#[test]
fn process_has_ended_when_all_of_it_has() {
    for mode in each_mode() {
        let args = [
            "--json",
            "--until=1",
            "threads/queue.wasm(2,2,100)",
            "spin.wat:run",
        ];
        let json = mode.run(&args).expect(0).json();
        assert_eq!(json["end"], "until");
        assert_eq!(rows(&json)[0]["exit"], "returned");
    }
}

#[test]
fn run_without_others_left_ends_as_ever() {
    let json = run(&["--json", "--until=1", "fib.wat:fib(5)"])
        .expect(0)
        .json();
    assert_eq!(json["end"], "all_finished");
}

#[test]
fn unknown_guest_is_named() {
    bad_usage(
        &["--until=2", "fib.wat:fib(5)"],
        &["--until 2: there is no guest `2`", "1 (`fib.wat:fib(5)`)"],
    );
}
