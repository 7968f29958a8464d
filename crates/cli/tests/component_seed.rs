//! What `--seed` repeats of components.

mod common;

use common::components::{command, sleeper};
use common::{rows, run};

fn random(name: &str) -> String {
    command(name, "", "(call $print-hex (call $random)) (i32.const 0)")
}

#[test]
fn random_numbers_are_repeated() {
    let guest = random("component-random.wat");
    let said = |seed: &str| {
        let args = ["--quiet", "--preemption=fuel", seed, &guest, &guest];
        run(&args).expect(0).stdout
    };
    assert_eq!(said("--seed=1"), said("--seed=1"));
    assert_ne!(said("--seed=1"), said("--seed=2"));
    let said = said("--seed=1");
    let [first, second] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert_ne!(first, second);
}

#[test]
fn sleep_that_could_not_be_repeated_is_an_error() {
    let guest = sleeper("component-seeded-sleep.wat", 10);
    let args = ["--json", "--preemption=fuel", "--seed=1", &*guest];
    let json = run(&args).expect(134).json();
    let error = rows(&json)[0]["error"].as_str().unwrap();
    assert!(
        error.contains("cannot sleep in a run that --seed repeats"),
        "{error}"
    );
    let nothing = sleeper("component-seeded-zero.wat", 0);
    run(&["--preemption=fuel", "--seed=1", &nothing]).expect(0);
}
