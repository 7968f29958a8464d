//! `--search`: runs with one seed after another.

mod common;

use common::{Ran, bad_usage, out, read_trace, run};
use serde_json::json;

const RACE: &str = "threads/race.wasm(2,20,100)";

/// The seed that a search has found.
fn found(ran: &Ran) -> u64 {
    let (_, line) = ran.stdout.rsplit_once("\nseed ").expect(&ran.stdout);
    line.split_once(':').unwrap().0.parse().unwrap()
}

/// What a table says of a run but for its times.
fn figures(ran: &Ran, guest: &str) -> (String, Vec<String>) {
    let (printed, _) = ran.stdout.split_once("thread  guest ").unwrap();
    let row = ran
        .stdout
        .lines()
        .find(|line| line.contains(guest))
        .unwrap();
    let words = row.split_whitespace().map(str::to_string);
    (
        printed.to_string(),
        words
            .filter(|word| !word.contains('.') || word == guest)
            .collect(),
    )
}

#[test]
fn search_finds_the_race_and_its_seed_replays_it() {
    for (policy, guest) in [
        (&["--policy=random", "--slice=5000"][..], RACE),
        (
            &["--policy=pct", "--slice=1", "--depth=2", "--steps=400"],
            "threads/race.wasm(2,4,10)",
        ),
    ] {
        let args = [policy, &["--preemption=fuel", guest]].concat();
        let searched = run(&[&["--search=300"], &args[..]].concat()).expect(1);
        let seed = found(&searched);
        let says = format!("seed {seed}: {guest} exited 3 (");
        assert!(searched.stdout.contains(&says), "{}", searched.stdout);
        let seed = format!("--seed={seed}");
        for _ in 0..2 {
            let again = run(&[&[&*seed], &args[..]].concat()).expect(3);
            assert_eq!(figures(&again, guest), figures(&searched, guest));
            assert!(again.stdout.starts_with("lost update\n"));
        }

        // And by its picks.
        let schedule = out(&format!("threads-{}.schedule", &policy[0][2..]));
        let record = ["--record", &schedule, &seed];
        run(&[&record, &args[..]].concat()).expect(3);
        let replay = ["--preemption=fuel", policy[1], "--replay", &schedule, guest];
        let replayed = run(&replay).expect(3);
        assert_eq!(figures(&replayed, guest), figures(&searched, guest));
        assert!(
            replayed
                .stdout
                .contains("\nall picks were made as recorded\n")
        );
    }
}

#[test]
fn search_prints_nothing_of_runs_that_go_well() {
    let args = ["--policy=random", "--preemption=fuel", "--slice=2000"];
    let guest = ["threads/deadlock.wasm(maybe)"];
    let ran = run(&[&args[..], &["--search=200"], &guest[..]].concat()).expect(1);
    assert!(!ran.stdout.contains("no deadlock\n"), "{}", ran.stdout);
    assert_eq!(
        (ran.stderr.as_str(), ran.stdout.matches("seed").count() > 2),
        ("", true)
    );
    let seed = found(&ran);
    assert!(
        ran.stdout.contains(&format!("\nseed {seed}: deadlock (")),
        "{}",
        ran.stdout
    );

    let trace = out("threads-search.txt");
    let from = format!("--seed={seed}");
    let options = ["--search=5", "--json", "--trace", &trace, &from];
    let ran = run(&[&args[..], &options, &guest[..]].concat()).expect(1);
    let expected = json!({ "first_seed": seed, "runs": 1, "found": seed });
    assert_eq!(ran.json()["search"], expected);
    assert_eq!(ran.json()["seed"], seed);
    let names = read_trace(&trace).names;
    let names: Vec<&str> = names.iter().map(|(_, name)| &**name).collect();
    let guest = guest[0];
    assert_eq!(names, [guest, &format!("{guest}#1"), &format!("{guest}#2")]);
}

#[test]
fn search_that_finds_nothing_says_so() {
    let args = [
        "--policy=random",
        "--preemption=fuel",
        "--search=3",
        "--seed=10",
    ];
    let ran = run(&[&args[..], &["threads/queue.wasm(2,2,100)"]].concat()).expect(0);
    assert_eq!(
        ran.stdout,
        "all guests returned with each of 3 seeds, 10 to 12\n"
    );
    assert_eq!(ran.stderr, "");
    let ran = run(&[&args[..], &["--json", "threads/queue.wasm(2,2,100)"]].concat()).expect(0);
    let expected = json!({ "first_seed": 10, "runs": 3, "found": null });
    assert_eq!(ran.json()["search"], expected);
}

#[test]
fn search_takes_chance_and_fuel() {
    bad_usage(
        &["--search=5", "--preemption=fuel", RACE],
        &[
            "--search 5 has no effect with --policy round-robin",
            "--policy pct",
        ],
    );
    bad_usage(
        &["--search=5", "--policy=pct", "--preemption=epoch", RACE],
        &[
            "--search 5: with --preemption epoch",
            "use --preemption fuel",
        ],
    );
    let last = format!("--seed={}", u64::MAX);
    let args = ["--policy=pct", "--preemption=fuel", &last, RACE];
    bad_usage(
        &[&["--search=2"], &args[..]].concat(),
        &["--search 2: there are fewer seeds than that from --seed 18446744073709551615"],
    );
    bad_usage(&[&["--search=0"], &args[..]].concat(), &["--search"]);
}
