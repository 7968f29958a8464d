//! The text of a schedule is read as it was written, and errors name the place.

use preempt_policies::Schedule;
use proptest::prelude::*;
use wasmtime::ThreadId;
use wasmtime::preempt::Pick;

fn any_pick() -> impl Strategy<Value = Pick> {
    let thread = prop_oneof![4 => 0..4_u64, 1 => any::<u64>()];
    let slice = prop_oneof![
        4 => Just(None),
        2 => Just(Some(1000)),
        1 => any::<u64>().prop_map(Some)
    ];
    (thread, slice).prop_map(|(thread, slice)| Pick {
        thread: ThreadId::from_u64(thread),
        slice,
    })
}

proptest! {
    #[test]
    fn goes_there_and_back(
        runs in prop::collection::vec((any_pick(), 1..5_usize), 0..100),
    ) {
        let picks = || runs.iter().flat_map(|(pick, times)| vec![*pick; *times]);
        let schedule: Schedule = picks().collect();
        prop_assert_eq!(schedule.len(), picks().count() as u64);
        prop_assert!(schedule.iter().eq(picks()));
        let text = schedule.to_string();
        prop_assert!(text.lines().all(|line| line.len() <= 80), "{}", text);
        prop_assert_eq!(text.parse(), Ok(schedule));
    }

    #[test]
    fn nonsense_is_an_error(text in "(preempt-schedule 1\npicks )?[0-9:* \n]{0,20}\\PC{0,9}") {
        if let Ok(schedule) = text.parse::<Schedule>() {
            prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
    }
}

#[test]
fn equal_picks_are_written_once() {
    let text = "preempt-schedule 1\npicks 9\n1 1 1:5\n\n1:5*3 2 2*2\n";
    let schedule: Schedule = text.parse().unwrap();
    assert_eq!(
        schedule.to_string(),
        "preempt-schedule 1\npicks 9\n1*2 1:5*4 2*3\n"
    );
}

#[test]
fn an_empty_schedule_has_a_text_too() {
    let schedule = Schedule::new();
    assert!(schedule.is_empty());
    assert_eq!(schedule.to_string(), "preempt-schedule 1\npicks 0\n");
    assert_eq!(schedule.to_string().parse(), Ok(schedule));
}

#[test]
fn errors_name_the_line_and_the_value() {
    let head = "preempt-schedule 1\npicks 2\n";
    let with = |rest: &str| format!("{head}{rest}");
    let long = "x".repeat(100);
    for (text, line, value, message) in [
        ("", 1, "", "the header"),
        (
            "preempt-schedule 2\n",
            1,
            "preempt-schedule 2",
            "`preempt-schedule 1`",
        ),
        ("preempt-schedule 1\n7\n", 2, "7", "as in `picks 12`"),
        (
            "preempt-schedule 1\npicks -7\n",
            2,
            "picks -7",
            "as in `picks 12`",
        ),
        (&with("1 x"), 3, "x", "a pick, as in"),
        (&with("1\n\n2:"), 5, "2:", "a slice"),
        (
            &with("1:99999999999999999999"),
            3,
            "1:99999999999999999999",
            "a slice",
        ),
        (&with("1*0"), 3, "1*0", "how often"),
        (&with("1*18446744073709551615 2"), 3, "2", "fewer than 2^64"),
        (&with("1"), 2, "picks 2", "cut off"),
        (&with("1 2 3"), 2, "picks 2", "there are more"),
        (&with(&long), 3, &format!("{}...", "x".repeat(60)), "a pick"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err();
        assert_eq!((error.line(), error.value()), (line, value), "{text:?}");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("line {line}: found {value:?}, wanted ")));
        assert!(shown.contains(message), "{shown}");
    }
}

#[test]
fn a_seed_is_kept() {
    let text = "preempt-schedule 1\npicks 2\nseed 18446744073709551615\n1 2\n";
    let schedule: Schedule = text.parse().unwrap();
    assert_eq!(schedule.seed(), Some(u64::MAX));
    assert_eq!(schedule.to_string(), text);
    let mut schedule = Schedule::new();
    assert_eq!(schedule.seed(), None);
    schedule.set_seed(Some(0));
    assert_eq!(schedule.to_string().parse(), Ok(schedule));
    let error = "preempt-schedule 1\npicks 0\nseed -1\n".parse::<Schedule>();
    assert!(error.unwrap_err().to_string().contains("as in `seed 12`"));
}
