//! The text of a trace reads back, and errors name line and value.

use crate::support::*;
use preempt_trace::text::{Text, parse};
use proptest::prelude::*;
use wasmtime::preempt::Trace;
use wasmtime::preempt::Traced::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn schedules_round_trip(schedule in schedules()) {
        let text = Text(&schedule.trace).to_string();
        let Text(back) = text.parse::<Text<Trace>>().unwrap();
        prop_assert_eq!(&back.events, &schedule.trace.events);
        prop_assert_eq!(&back.names, &schedule.trace.names);
        prop_assert_eq!(back.fuel, schedule.trace.fuel);
        prop_assert_eq!(Text(back).to_string(), text);
    }

    #[test]
    fn any_text_is_a_trace_or_an_error(text in "(preempt-trace 1\nclock ns\nlost 0\nevents 1\n)?\\PC{0,40}\n?") {
        if let Ok(trace) = parse(&text) {
            let again = Text(&trace).to_string();
            prop_assert_eq!(again.trim_end(), text.trim_end());
        }
    }
}

const SAMPLE: &str = r#"preempt-trace 1
clock fuel
lost 3
events 13
name 1 "a \"b\" <c>\n\u0001é"
name 2 ""
0 1 spawned
0 0 run-started
1 1 dispatched 18446744073709551615
2 1 preempted
3 1 yielded
4 1 parked
5 1 woken
6 1 returned
7 1 trapped
8 1 killed
9 1 over-limit
9 0 run-ended
18446744073709551615 18446744073709551615 spawned
"#;

#[test]
fn format_is_stable() {
    let trace = parse(SAMPLE).unwrap();
    assert_eq!(Text(&trace).to_string(), SAMPLE);
    assert_eq!((trace.lost, trace.fuel), (3, true));
    assert_eq!(trace.events[2], event(1, 1, slice(u64::MAX)));
    assert_eq!(trace.events[10], event(9, 1, OverLimit));
    assert_eq!(trace.names[0], (id(1), "a \"b\" <c>\n\u{1}é".to_string()));
    let windows = SAMPLE.replace('\n', "\r\n");
    assert_eq!(Text(parse(&windows).unwrap()).to_string(), SAMPLE);
}

#[test]
fn errors_name_line_and_value() {
    let check = |from: &str, to: &str, line: usize, parts: &[&str]| {
        assert!(SAMPLE.contains(from), "{from}");
        let error = parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.line(), line, "{error}");
        let message = error.to_string();
        let place = format!("line {line}: ");
        for part in parts.iter().copied().chain([place.as_str()]) {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    };
    check("preempt-trace 1", "preempt-trace 2", 1, &["`2`", "1 works"]);
    check(
        "preempt-trace",
        "trace",
        1,
        &["`trace 1`", "`preempt-trace ...`"],
    );
    check("clock fuel", "clock s", 2, &["`s`", "`ns`", "`fuel`"]);
    check("lost 3", "lost x", 3, &["`x`", "number of lost events"]);
    check("events 13", "events 14", 20, &["13 events", "promised 14"]);
    check("events 13", "events 12", 20, &["13 events", "promised 12"]);
    check("name 1 ", "name one ", 5, &["`one`", "thread"]);
    check("name 2 \"\"", "name 2", 6, &["`2`", "no name"]);
    check("name 2 \"\"", "name 2 b", 6, &["`b`", "JSON string"]);
    check("0 1 spawned", "0 1 born", 7, &["`born`", "no event"]);
    check("0 1 spawned", "0 1", 7, &["`0 1`", "no event"]);
    check("0 1 spawned", "0 1 spawned 4", 7, &["`4`", "after the end"]);
    check("0 1 spawned", "", 7, &["``"]);
    check(
        "dispatched 18446744073709551615",
        "dispatched",
        9,
        &["no slice"],
    );
    check(
        "18446744073709551615\n",
        "18446744073709551616\n",
        9,
        &["`18446744073709551616`", "slice"],
    );
    check("2 1 pre", "02 1 pre", 10, &["`02`", "time"]);
    check("2 1 pre", "+2 1 pre", 10, &["`+2`", "time"]);
    check("2 1 pre", "-2 1 pre", 10, &["`-2`", "time"]);
}

#[test]
fn short_texts_say_what_belongs_there() {
    for (text, line, part) in [
        ("", 1, "`preempt-trace ...` belongs"),
        ("preempt-trace 1", 2, "`clock ...` belongs"),
        (
            "preempt-trace 1\nclock ns\nlost 0\n",
            4,
            "`events ...` belongs",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line(), line);
        assert!(error.to_string().contains(part), "{error}");
    }
    let long = "x".repeat(10_000);
    assert!(parse(&long).unwrap_err().to_string().len() < 200);
}
