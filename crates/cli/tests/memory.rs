//! `--memory-limit` keeps a guest from taking all memory there is, and no other guest
//! from its own.

mod common;

use common::{bad_usage, each_mode, file, run};
use serde_json::Value;

const PAGE: u64 = 64 * 1024;

/// Takes as many pages as it gets, and returns how many those are.
fn taker(name: &str, memory: &str) -> String {
    file(
        name,
        format!(
            r#"(module
                {memory}
                (func (export "run") (result i32)
                    (loop $more
                        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
                    (memory.size)))"#
        ),
    )
}

fn results(json: &Value) -> Vec<&Value> {
    let threads = json["threads"].as_array().unwrap();
    threads.iter().map(|thread| &thread["results"][0]).collect()
}

#[test]
fn each_guest_gets_what_its_limit_allows() {
    let plain = taker("taker.wat", "(memory 1)");
    let shared = taker("taker-shared.wat", "(memory 1 65536 shared)");
    let two = taker("taker-two.wat", "(memory 1) (memory 3)");
    for mode in each_mode() {
        let ran = mode
            .run(&[
                "--json",
                "--memory-limit=1M",
                "--memory-limit=2=512K",
                &plain,
                &plain,
                &shared,
                &two,
            ])
            .expect(0);
        assert_eq!(results(&ran.json()), [16, 8, 16, 13]);
    }
}

#[test]
fn limit_without_the_option_is_a_gibibyte() {
    let plain = taker("taker-default.wat", "(memory 16000)");
    let ran = run(&["--json", &plain, &plain]).expect(0);
    let pages = (1 << 30) / PAGE;
    assert_eq!(results(&ran.json()), [pages, pages]);
    let ran = run(&["--json", "--memory-limit=1001M", &plain]).expect(0);
    assert_eq!(results(&ran.json()), [16016]);
}

#[test]
fn tables_count_too() {
    let guest = file(
        "taker-table.wat",
        r#"(module
            (table 0 funcref)
            (func (export "run") (result i32)
                (loop $more
                    (br_if $more (i32.ne (i32.const -1)
                        (table.grow (ref.null func) (i32.const 1000)))))
                (table.size)))"#,
    );
    for mode in ["epoch", "fuel"] {
        let args = ["--json", "--memory-limit=64K", "--preemption", mode, &guest];
        assert_eq!(results(&run(&args).expect(0).json()), [8000]);
    }
}

#[test]
fn threads_of_a_program_share_its_limit() {
    for mode in each_mode() {
        let grow = "threads/exit.wasm(grow)";
        mode.run(&[grow]).expect(0);
        mode.run(&["--memory-limit=512K", grow]).expect(1);
    }
    bad_usage(
        &["--memory-limit=1K", "threads/hello.wasm"],
        &[
            "cannot start guest `threads/hello.wasm`",
            "may have 1024 bytes",
        ],
    );
}

#[test]
fn guest_that_starts_with_more_is_an_error() {
    let plain = taker("large.wat", "(memory 20)");
    bad_usage(
        &["--memory-limit=1M", &plain],
        &["cannot start guest", "1.00 MiB", "--memory-limit"],
    );
    let shared = taker("large-shared.wat", "(memory 20 20 shared)");
    bad_usage(
        &["--memory-limit=1M", &shared],
        &["needs 1.25 MiB", "1.00 MiB", "--memory-limit"],
    );
}

#[test]
fn limits_that_make_no_sense_are_errors() {
    bad_usage(&["--memory-limit=0", "spin.wat"], &["above zero"]);
    for text in ["much", "-1", "1X", ""] {
        let option = format!("--memory-limit={text}");
        bad_usage(&[&option, "spin.wat"], &["such as 64K, 512M or 2G"]);
    }
    bad_usage(&["--memory-limit=x=1M", "spin.wat"], &["no guest `x`"]);
}
