//! The picture is well-formed, says what it shows, and stays small.

use crate::support::*;
use preempt_trace::timeline::Timeline;
use proptest::prelude::*;
use roxmltree::{Document, Node};
use wasmtime::preempt::Traced::*;
use wasmtime::preempt::{Trace, Traced};

fn texts(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    let nodes = document.descendants();
    let texts = nodes.filter(|node| node.has_tag_name("text"));
    texts
        .map(|node| node.text().unwrap_or_default().to_string())
        .collect()
}

/// How many pixels wide the strokes of a path are together, and from where.
fn strokes(path: Node) -> (usize, usize) {
    let d = path.attribute("d").unwrap();
    let start = d[1..].split(' ').next().unwrap().parse().unwrap();
    let lengths = d.split('h').skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse::<usize>().unwrap()
    });
    (start, lengths.sum())
}

/// The strokes of this class in this row (counted from 0).
fn drawn(svg: &str, row: usize, class: &str) -> Option<(usize, usize)> {
    let document = Document::parse(svg).unwrap();
    let mut rows = document.descendants().filter(|node| {
        let class = node.attribute("class").unwrap_or_default();
        node.has_tag_name("g") && class.starts_with('c')
    });
    let row = rows.nth(row).unwrap();
    let path = row
        .children()
        .find(|node| node.attribute("class") == Some(class))?;
    Some(strokes(path))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pictures_are_well_formed(schedule in schedules()) {
        let svg = Timeline::new().svg(&schedule.trace);
        let texts = texts(&svg);
        for (thread, name) in &schedule.trace.names {
            let label = format!("{thread} {name}");
            prop_assert!(texts.contains(&label), "{texts:?}");
        }
    }
}

#[test]
fn bars_are_where_the_thread_ran() {
    let trace = trace(&[
        (0, 1, Spawned),
        (0, 2, Spawned),
        (0, 0, RunStarted),
        (0, 1, slice(250)),
        (250, 1, Preempted),
        (250, 2, slice(250)),
        (500, 2, Parked),
        (500, 1, slice(500)),
        (1000, 1, Returned),
    ]);
    let svg = Timeline::new().width(100).svg(&trace);
    assert_eq!(drawn(&svg, 0, "q4"), Some((190, 75)));
    assert_eq!(drawn(&svg, 0, "ready"), Some((190, 100)));
    assert_eq!(drawn(&svg, 0, "parked"), None);
    assert_eq!(drawn(&svg, 1, "q4"), Some((215, 25)));
    assert_eq!(drawn(&svg, 1, "ready"), Some((190, 50)));
    assert_eq!(drawn(&svg, 1, "parked"), Some((240, 50)));
}

#[test]
fn turns_within_a_pixel_are_as_dark_as_their_share() {
    let mut events = vec![(0, 1, Spawned), (0, 2, Spawned), (0, 0, RunStarted)];
    for turn in 0..10_000 {
        let at = turn * 10;
        events.extend([(at, 1, slice(9)), (at + 7, 1, Preempted)]);
        events.extend([(at + 7, 2, slice(9)), (at + 10, 2, Preempted)]);
    }
    let svg = Timeline::new().width(100).svg(&trace(&events));
    assert_eq!(drawn(&svg, 0, "q3"), Some((190, 100)));
    assert_eq!(drawn(&svg, 0, "q4"), None);
    assert_eq!(drawn(&svg, 1, "q2"), Some((190, 100)));
}

#[test]
fn short_slice_in_a_long_trace_shows() {
    let trace = trace(&[
        (0, 1, Spawned),
        (0, 0, RunStarted),
        (500_000_500, 1, slice(9)),
        (500_000_501, 1, Parked),
        (1_000_000_000, 1, Killed),
    ]);
    let svg = Timeline::new().svg(&trace);
    assert_eq!(drawn(&svg, 0, "q1"), Some((670, 1)));
}

#[test]
fn exits_have_marks() {
    let exits = |what: Traced| {
        let svg = Timeline::new().svg(&trace(&[(0, 1, Spawned), (9, 1, what)]));
        drawn_marks(&svg)
    };
    assert_eq!(exits(Parked), 4, "those of the legend");
    for what in [Returned, Trapped, Killed, OverLimit] {
        assert_eq!(exits(what), 5);
    }
}

fn drawn_marks(svg: &str) -> usize {
    let document = Document::parse(svg).unwrap();
    let marks = document.descendants();
    marks
        .filter(|node| node.attribute("class") == Some("mark"))
        .count()
}

#[test]
fn names_are_escaped_and_cut() {
    let mut trace = trace(&[(0, 1, Spawned), (0, 2, Spawned), (0, 3, Spawned)]);
    trace.names = vec![
        (id(1), "<&\">]]></text>'\u{0}\u{fffe}\n".to_string()),
        (id(2), "x".repeat(1000)),
        (id(3), String::new()),
    ];
    let svg = Timeline::new().title("a < b & c").svg(&trace);
    let texts = texts(&svg);
    for text in [
        "a < b & c",
        "1 <&\">]]></text>'\u{fffd}\u{fffd} ",
        "thread 3",
    ] {
        assert!(texts.iter().any(|t| t == text), "{texts:?}");
    }
    let longest = texts.iter().map(|text| text.chars().count()).max();
    assert!(longest < Some(40), "{texts:?}");
}

#[test]
fn long_names_keep_what_tells_them_apart() {
    let mut trace = trace(&[(0, 1, Spawned), (0, 2, Spawned), (0, 3, Spawned)]);
    let names = ["fib.wat:fib(30)", "primes.wasm(5000)", "spin.wat"];
    let names = names.map(|name| format!("/long/path/to/fixtures/{name}"));
    trace.names = (1..).map(id).zip(names).collect();
    let svg = Timeline::new().svg(&trace);
    let texts = texts(&svg);
    for label in [
        "1 …tures/fib.wat:fib(30)",
        "2 …res/primes.wasm(5000)",
        "3 …/to/fixtures/spin.wat",
    ] {
        assert!(texts.iter().any(|text| text == label), "{texts:?}");
    }
    // Whole where there is room.
    let whole = "<title>\n1 /long/path/to/fixtures/fib.wat:fib(30): ";
    assert!(svg.contains(whole), "{svg}");
}

#[test]
fn picture_has_title_and_description() {
    let mut trace = trace(&[
        (0, 1, Spawned),
        (0, 0, RunStarted),
        (0, 1, slice(9_000_000)),
        (8_000_000, 1, Trapped),
    ]);
    trace.names = vec![(id(1), "reader".to_string())];
    let svg = Timeline::new().svg(&trace);
    let document = Document::parse(&svg).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("role"), Some("img"));
    for part in root.attribute("aria-labelledby").unwrap().split(' ') {
        let labels = root
            .children()
            .filter(|node| node.attribute("id") == Some(part));
        assert_eq!(labels.count(), 1, "{part}");
    }
    let desc = root.children().find(|node| node.has_tag_name("desc"));
    let desc = desc.unwrap().text().unwrap().trim();
    assert_eq!(
        desc,
        "1 guest thread over 8 ms. 1 reader: on the CPU for 8 ms in 1 slice, \
         waited 0 ns, parked 0 ns, trapped."
    );
}

#[test]
fn axis_has_sensible_units() {
    let axis = |length: u64, fuel: bool| {
        let mut trace = trace(&[(7, 1, Spawned), (7 + length, 1, Killed)]);
        trace.fuel = fuel;
        let svg = Timeline::new().svg(&trace);
        let document = Document::parse(&svg).unwrap();
        let ticks = document.descendants();
        let ticks = ticks.filter(|node| node.attribute("class") == Some("tick"));
        let ticks: Vec<_> = ticks.map(|node| node.text().unwrap().to_string()).collect();
        assert!((1..=9).contains(&ticks.len()), "{ticks:?}");
        ticks.last().unwrap().clone()
    };
    assert_eq!(axis(0, false), "0 ns");
    assert_eq!(axis(1, false), "1 ns");
    assert_eq!(axis(800, false), "800 ns");
    assert_eq!(axis(1500, false), "1400 ns");
    assert_eq!(axis(1_200_000_000, false), "1200 ms");
    assert_eq!(axis(80_000_000, false), "80 ms");
    assert_eq!(axis(100_000_000_000, false), "100 s");
    assert_eq!(axis(100_000_000, true), "100 M fuel");
    assert_eq!(axis(u64::MAX - 7, false), "15000000000 s");
}

#[test]
fn picture_says_what_it_does_not_show() {
    let mut trace = trace(&[(0, 1, Spawned), (0, 2, Spawned), (0, 3, Spawned)]);
    let notes = |trace: &Trace, rows: usize| {
        let texts = texts(&Timeline::new().rows(rows).svg(trace));
        texts.last().unwrap().clone()
    };
    assert_eq!(notes(&trace, 3), "thread 3");
    assert_eq!(notes(&trace, 2), "1 more thread left out");
    trace.lost = 7;
    assert_eq!(notes(&trace, 3), "7 older events lost");
    assert_eq!(
        notes(&trace, 0),
        "2 more threads left out, 7 older events lost"
    );
}

#[test]
fn nothing_is_a_picture_that_says_so() {
    let texts = texts(&Timeline::new().svg(&Trace::default()));
    assert!(texts.contains(&"no threads".to_string()), "{texts:?}");
}

/// The relative luminance of a colour, as the accessibility guidelines of the
/// web (WCAG 2) have it.
fn luminance(colour: &str) -> f64 {
    let channel = |place: usize| {
        let value = u8::from_str_radix(&colour[place..place + 2], 16).unwrap();
        let value = f64::from(value) / 255.0;
        match value <= 0.04045 {
            true => value / 12.92,
            false => ((value + 0.055) / 1.055).powf(2.4),
        }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[test]
fn colours_are_legible_in_light_and_dark_mode() {
    let svg = Timeline::new().svg(&Trace::default());
    let papers = [luminance("#ffffff"), luminance("#0d1117")];
    for place in 0..8 {
        let rule = format!(".c{place}{{stroke:");
        let (_, colour) = svg.split_once(&rule).unwrap();
        let own = luminance(&colour[..7]);
        for paper in papers {
            let contrast = (own.max(paper) + 0.05) / (own.min(paper) + 0.05);
            assert!(contrast >= 3.0, "{}: {contrast}", &colour[..7]);
        }
    }
}
