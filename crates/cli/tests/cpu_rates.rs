//! `--cpu-rate`: guests, and tenants of a server, wait when they have used up their CPU time.

mod common;

use common::server::Server;
use common::{ENDLESS, bad_usage, each_mode, rows, run};
use serde_json::Value;
use std::time::{Duration, Instant};

fn row(json: &Value, index: usize) -> &Value {
    &rows(json)[index]
}

#[test]
fn guest_with_a_rate_waits_while_others_run() {
    for mode in each_mode() {
        let slice = match mode.name {
            "fuel" => "--slice=100000",
            _ => "--slice=2ms",
        };
        // A spinner, and threads that spin: one rate for all of them.
        for guest in ["spin.wat", ENDLESS] {
            let args = [
                slice,
                "--cpu-rate=1=10ms/10s",
                "--for=1s",
                guest,
                "fib.wat:fib(20)",
            ];
            let ran = mode.run(&[&["--json"], &args[..]].concat()).expect(1);
            let json = ran.json();
            let limited = row(&json, 0);
            assert_eq!(limited["exit"], "stopped", "{limited}");
            assert!(limited["throttles"].as_u64().unwrap() > 0, "{limited}");
            assert!(
                limited["cpu_time_ms"].as_f64().unwrap() < 500.0,
                "{limited}"
            );
            assert_eq!(row(&json, 1)["results"][0], 6765);
            assert_eq!(row(&json, 1)["throttles"], 0);
        }
        let args = [slice, "--cpu-rate=5ms/10s", "--for=200ms", "spin.wat"];
        let ran = mode.run(&args).expect(1);
        assert!(ran.stdout.contains("throttled"), "{}", ran.stdout);
        assert!(ran.stdout.contains("its CPU rate"), "{}", ran.stdout);
    }
}

#[test]
fn guests_that_are_throttled_return_in_the_end() {
    for mode in each_mode() {
        let args = ["--json", "--cpu-rate=50%", "--cpu-rate=2=1ms/5ms"];
        let guests = ["fib.wat:fib(24)", "fib.wat:fib(25)"];
        let ran = mode.run(&[&args[..], &guests].concat()).expect(0);
        assert_eq!(row(&ran.json(), 1)["results"][0], 75025);
    }
}

#[test]
fn run_with_a_seed_counts_fuel_and_repeats() {
    let once = || {
        let args = ["--json", "--preemption=fuel", "--slice=10000", "--seed=7"];
        let rest = [
            "--policy=random",
            "--cpu-rate=100us/1ms",
            "fib.wat:fib(22)",
            "fib.wat:fib(21)",
        ];
        let ran = run(&[&args[..], &rest].concat()).expect(0);
        let json = ran.json();
        [0, 1].map(|index| {
            let fields = ["throttles", "slices", "preemptions", "fuel"];
            fields.map(|field| row(&json, index)[field].as_u64().unwrap())
        })
    };
    let first = once();
    assert!(first[0][0] > 0, "{first:?}");
    assert_eq!(once(), first);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    for (rate, says) in [
        ("0%", "at least 100us"),
        ("150%", "100% at most"),
        ("20ms", "such as 20ms/100ms"),
        ("20ms/0s", "from 1ms to 1h"),
        ("x=20%", "there is no guest `x`"),
    ] {
        bad_usage(
            &[&format!("--cpu-rate={rate}"), "spin.wat"],
            &["--cpu-rate", says],
        );
    }
    let args = [
        "--policy=fair",
        "--weight=2",
        "--cpu-rate=20%",
        "threads/hello.wasm",
    ];
    bad_usage(&args, &["has threads of its own", "--cpu-rate"]);
}

#[cfg(target_os = "linux")]
#[test]
fn tenant_of_a_server_has_its_rate_on_all_os_threads_together() {
    for mode in each_mode() {
        let server = Server::start(
            mode,
            &[
                "--threads=2",
                "--tenant=header:x-tenant",
                "--cpu-rate=1ms/10s",
                "--cpu-rate=free=1000%",
                "--timeout=3s",
            ],
        );
        let send =
            |path: &str, tenant: &str| server.send_with(path, &format!("X-Tenant: {tenant}\r\n"));
        let spinning = [(); 4].map(|()| send("/spin", "a"));
        std::thread::sleep(Duration::from_millis(500));
        let before = server.cpu_time();
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let (used, time) = (server.cpu_time() - before, start.elapsed());
        assert!(used < time / 2, "{}: {used:?} of {time:?}", mode.name);
        // Others are answered meanwhile, those of the same tenant later or not at all.
        common::server::response(send("/", "free")).expect(200);
        for stream in spinning {
            common::server::response(stream).expect(504);
        }
        server.stop();
    }
}

#[test]
fn rates_of_tenants_need_tenants() {
    for (args, says) in [
        (&["--cpu-rate=20%"][..], "--tenant"),
        (&["--tenant=host", "--cpu-rate=a=0%"], "at least 100us"),
        (&["--tenant=host", "--cpu-rate=a"], "such as 20ms/100ms"),
    ] {
        let output = common::server::command(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(says), "{error}");
    }
}
