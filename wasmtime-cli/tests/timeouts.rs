//! `-W timeout` of upstream's command, with epochs that are delivered by checks and by signals.

mod server;

use self::server::{HANGS, Server, fixture, wasmtime};
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

const DELIVERIES: &[&str] = match cfg!(all(target_arch = "x86_64", target_os = "linux")) {
    true => &["check", "signal"],
    false => &["check"],
};

#[test]
#[cfg(unix)]
fn requests_are_served_beside_ones_that_spin() {
    for delivery in DELIVERIES {
        let server = Server::start("3600s", delivery);
        // More than there are OS threads to run them.
        let spinners = 1 + thread::available_parallelism().unwrap().get();
        let spinning: Vec<TcpStream> = (0..spinners).map(|_| server.send("/spin")).collect();
        for _ in 0..2 {
            let answer = server.get("/");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{delivery}: {answer}");
        }
        for mut stream in spinning {
            stream.set_nonblocking(true).unwrap();
            let read = stream.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(read, Err(std::io::ErrorKind::WouldBlock), "{delivery}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn request_that_spins_ends_at_its_timeout_and_leaks_nothing() {
    const LEAKS: usize = 40;
    for delivery in DELIVERIES {
        let server = Server::start("50ms", delivery);
        let spin = |times: usize| {
            for _ in 0..times {
                let answer = server.get("/spin");
                assert!(!answer.starts_with("HTTP/1.1 200 "), "{delivery}: {answer}");
            }
        };
        // Pools and OS threads are made.
        spin(8);
        let before = ["maps", "fd", "task"].map(|what| server.count(what));
        spin(LEAKS);
        let end = Instant::now() + HANGS;
        loop {
            let after = ["maps", "fd", "task"].map(|what| server.count(what));
            // Each is used for something else too.
            if (0..3).all(|n| after[n] < before[n] + LEAKS / 2) {
                break;
            }
            assert!(
                Instant::now() < end,
                "{delivery}: {before:?}, then {after:?}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn module_that_spins_ends_at_its_timeout() {
    for delivery in DELIVERIES {
        let options = format!("-Wtimeout=50ms,epoch-delivery={delivery}");
        let mut run = wasmtime(&["run", &options, "--invoke=run"]);
        let output = run.arg(fixture("spin.wat")).output().unwrap();
        assert!(!output.status.success());
        let error = error(&output);
        assert!(
            error.contains("wasm trap: interrupt"),
            "{delivery}: {error}"
        );
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn code_whose_epochs_are_signals_has_no_checks() {
    let compile = |options: &[&str]| {
        let dir = std::env::temp_dir().join(format!("preempt-{}.cwasm", std::process::id()));
        let output = wasmtime(&["compile"])
            .args(options)
            .arg("-o")
            .args([&dir, &fixture("serve.wat")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", error(&output));
        let code = fs::read(&dir).unwrap();
        fs::remove_file(dir).unwrap();
        code
    };
    let plain = compile(&[]);
    let checks = compile(&["-Wepoch-interruption"]);
    let signals = compile(&["-Wepoch-interruption", "-Wepoch-delivery=signal"]);
    assert!(plain != checks);
    assert!(plain == signals);
}

#[test]
fn bad_deliveries_are_named() {
    let fails = |options: &str| {
        let mut run = wasmtime(&["run", options, "--invoke=run"]);
        let output = run.arg(fixture("spin.wat")).output().unwrap();
        assert!(!output.status.success());
        error(&output)
    };
    let unknown = fails("-Wepoch-delivery=maybe");
    assert!(
        unknown.contains("unknown epoch delivery `maybe`"),
        "{unknown}"
    );
    if DELIVERIES.contains(&"signal") {
        let idle = fails("-Wepoch-delivery=signal");
        assert!(idle.contains("epoch_interruption"), "{idle}");
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
