//! The files that a run writes.

mod common;

use common::{bad_usage, each_mode, out, read, read_trace, run};
use preempt_trace::check::Checker;
use serde_json::Value;
use std::collections::BTreeMap;
use wasmtime::ThreadId;
use wasmtime::preempt::Traced;

/// The events of a Perfetto trace.
fn perfetto(path: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(&read(path)).unwrap();
    json["traceEvents"].as_array().unwrap().clone()
}

/// The name of each thread's track.
fn tracks(events: &[Value]) -> BTreeMap<u64, String> {
    let of_threads = |e: &&Value| e["ph"] == "M" && e["name"] == "thread_name" && e["pid"] == 1;
    let name = |event: &Value| {
        let name = event["args"]["name"].as_str().unwrap().to_string();
        (event["tid"].as_u64().unwrap(), name)
    };
    events.iter().filter(of_threads).map(name).collect()
}

#[test]
fn perfetto_trace_has_a_track_for_each_guest() {
    for mode in each_mode() {
        let path = out(&format!("perfetto-{}.json", mode.name));
        let ran = mode
            .run(&[
                "--json",
                "--trace",
                &path,
                "fib.wat:fib(20)",
                "trap.wat",
                "numbers.wat:nothing",
            ])
            .expect(1);
        let events = perfetto(&path);
        let names = ["fib.wat:fib(20)", "trap.wat", "numbers.wat:nothing"];
        let names = names.map(str::to_string);
        assert_eq!(tracks(&events), (1..).zip(names).collect());
        let count = |ph: &str, name: &str, tid: u64| {
            let is = |e: &&Value| e["ph"] == ph && e["name"] == name && e["pid"] == 1;
            events.iter().filter(is).filter(|e| e["tid"] == tid).count() as u64
        };
        for (tid, exit) in [(1, "returned"), (2, "trapped"), (3, "returned")] {
            let thread = &ran.json()["threads"][tid as usize - 1];
            assert_eq!(
                count("X", "running", tid),
                thread["slices"].as_u64().unwrap()
            );
            assert_eq!(
                count("i", "preempted", tid),
                thread["preemptions"].as_u64().unwrap()
            );
            assert_eq!(count("i", exit, tid), 1);
            assert_eq!(count("i", "spawned", tid), 1);
        }
        // No two are on the CPU at once.
        let number = |event: &Value, field: &str| event[field].as_f64().unwrap();
        let running = events.iter().filter(|e| e["ph"] == "X" && e["pid"] == 1);
        let mut spans: Vec<(f64, f64)> = running
            .map(|event| (number(event, "ts"), number(event, "dur")))
            .collect();
        spans.sort_by(|a, b| a.partial_cmp(b).unwrap());
        for pair in spans.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0 + 1e-3, "{pair:?}");
        }
    }
}

#[test]
fn traces_of_one_run_tell_the_same() {
    let (json, text, svg) = (out("same.json"), out("same.txt"), out("same.svg"));
    let args = ["--trace", &json, "--trace", &text, "--timeline", &svg];
    let ran = run(&[&args[..], &["--json", "fib.wat:fib(20)", "fib.wat:fib(21)"]].concat());
    let trace = read_trace(&text);
    assert_eq!(ran.expect(0).json()["trace"]["events"], trace.events.len());
    let dispatches = |what| matches!(what, Traced::Dispatched { .. });
    let dispatched = trace.events.iter().filter(|e| dispatches(e.what)).count();
    let is_running = |e: &&Value| e["name"] == "running";
    assert_eq!(
        perfetto(&json).iter().filter(is_running).count(),
        dispatched
    );
    let names = ["fib.wat:fib(20)", "fib.wat:fib(21)"].map(str::to_string);
    let ids = (1..).map(ThreadId::from_u64);
    assert_eq!(trace.names, ids.zip(names).collect::<Vec<_>>());
}

#[test]
fn timeline_shows_each_guest() {
    for mode in each_mode() {
        let path = out(&format!("timeline-{}.svg", mode.name));
        let timeline = format!("--timeline={path}");
        mode.run(&[
            "--for=100ms",
            &timeline,
            "spin.wat",
            "spin.wat",
            "fib.wat:fib(20)",
        ])
        .expect(1);
        let svg = read(&path);
        assert!(
            svg.starts_with("<svg") || svg.starts_with("<?xml"),
            "{svg:.100}"
        );
        assert!(svg.trim_end().ends_with("</svg>"));
        let title = format!("{} preemption, slices of ", mode.name);
        for part in [
            "1 spin.wat",
            "2 spin.wat",
            "3 fib.wat:fib(20)",
            &title,
            "policy round-robin",
        ] {
            assert!(svg.contains(part), "{part}");
        }
    }
}

#[test]
fn ring_keeps_the_latest_events_and_tells_of_the_others() {
    let path = out("ring.txt");
    let args = [
        "--preemption=fuel",
        "--slice=1000",
        "--trace-events=50",
        "--trace",
        &path,
        "fib.wat:fib(18)",
        "fib.wat:fib(18)",
    ];
    let ran = run(&[&args[..], &["--json"]].concat()).expect(0);
    let trace = read_trace(&path);
    assert_eq!(trace.events.len(), 50);
    let told = &ran.json()["trace"];
    assert_eq!(
        (&told["events"], &told["lost"]),
        (&50.into(), &trace.lost.into())
    );
    assert!(trace.lost > 100, "{told}");
    assert_eq!(trace.events.last().unwrap().what, Traced::RunEnded);
    let report = Checker::new()
        .tolerance(1000)
        .all_finished(true)
        .check(&trace);
    assert!(report.is_ok(), "{report}");

    let ran = run(&args).expect(0);
    let all = trace.lost + 50;
    let says = format!("the trace has the last 50 of {all} events; --trace-events makes room");
    assert!(ran.stdout.contains(&says), "{}", ran.stdout);
}

#[test]
fn traces_are_written_when_guests_trap_and_when_time_is_up() {
    for mode in each_mode() {
        let path = out(&format!("stopped-{}.txt", mode.name));
        let trace = format!("--trace={path}");
        mode.run(&[
            "--for=1s",
            &trace,
            "spin.wat",
            "spin.wat",
            "overflow.wat(0)",
        ])
        .expect(1);
        let trace = read_trace(&path);
        let ended = |id: u64, what: Traced| {
            let is = |e: &&wasmtime::preempt::TraceEvent| e.thread.as_u64() == id && e.what == what;
            trace.events.iter().filter(is).count()
        };
        assert_eq!(ended(3, Traced::Trapped), 1);
        assert_eq!([ended(1, Traced::Killed), ended(2, Traced::Killed)], [1, 1]);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_guests_and_everything_is_written() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    for mode in each_mode() {
        let name = |extension| out(&format!("ctrl-c-{}.{extension}", mode.name));
        let (trace, json, schedule) = (name("txt"), name("json"), name("schedule"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(["run", "--preemption", mode.name])
            .args([
                "--trace",
                &trace,
                "--json-file",
                &json,
                "--record",
                &schedule,
            ])
            .args(["spin.wat", "primes.wasm(100)", "spin.wat"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Then they run.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("primes"), "{line}");
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");

        assert!(rest.contains("\ninterrupted after "), "{rest}");
        let report: Value = serde_json::from_str(&read(&json)).unwrap();
        assert_eq!(report["end"], "interrupted");
        assert_eq!(report["threads"][0]["exit"], "stopped");
        let killed = read_trace(&trace);
        let killed = killed.events.iter().filter(|e| e.what == Traced::Killed);
        assert!(killed.count() >= 2);
        assert!(read(&schedule).starts_with("preempt-schedule 1\n"));
    }
}

#[test]
fn extension_of_a_trace_must_name_its_format() {
    for path in ["trace", "trace.svg", "trace.trace", "json"] {
        bad_usage(
            &["--trace", path, "primes.wasm(1000)"],
            &["--trace", &format!("'{path}'"), ".json", ".txt"],
        );
    }
}

#[test]
fn files_that_cannot_be_written_are_found_before_anything_runs() {
    for (option, path) in [
        ("--trace", "nowhere/trace.json"),
        ("--trace", "nowhere/trace.txt"),
        ("--timeline", "nowhere/timeline.svg"),
        ("--record", "nowhere/schedule"),
        ("--json-file", "nowhere/report.json"),
    ] {
        bad_usage(
            &[option, path, "primes.wasm(1000)"],
            &[&format!("{option}: cannot write {path}"), "No such file"],
        );
    }
    let twice = out("twice.json");
    bad_usage(
        &[
            "--trace",
            &twice,
            "--json-file",
            &twice,
            "primes.wasm(1000)",
        ],
        &[&format!(
            "--json-file {twice}: --trace writes to the same file"
        )],
    );
    assert!(!std::path::Path::new(&twice).exists());
}

#[test]
fn room_for_events_must_be_sensible_and_for_a_trace() {
    bad_usage(
        &["--trace-events=10", "spin.wat"],
        &[
            "--trace-events 10",
            "--trace FILE, --timeline FILE or --interleaving",
        ],
    );
    let trace = out("room.txt");
    let bad = |count: &str, says: &str| {
        bad_usage(
            &[
                "--trace-events",
                count,
                "--trace",
                &trace,
                "primes.wasm(1000)",
            ],
            &["--trace-events", count, says],
        );
    };
    bad("0", "above zero");
    bad("many", "a number of events");
    bad("1000000000000000000", "no memory for a trace");
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_is_an_error_and_the_report_is_printed_nevertheless() {
    use std::os::unix::fs::symlink;
    let path = out("full.txt");
    symlink("/dev/full", &path).unwrap();
    let ran = run(&["--trace", &path, "fib.wat:fib(10)"]).expect(2);
    assert!(ran.stdout.contains("all finished after"), "{}", ran.stdout);
    let says = format!("--trace: cannot write {path}: No space left");
    assert!(ran.stderr.contains(&says), "{}", ran.stderr);
}
