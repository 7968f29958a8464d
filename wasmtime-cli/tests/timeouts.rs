//! `-W timeout` of upstream's command, with epochs that are delivered by checks and by signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const DELIVERIES: &[&str] = match cfg!(all(target_arch = "x86_64", target_os = "linux")) {
    true => &["check", "signal"],
    false => &["check"],
};

/// Nothing takes as long on any machine: what does hangs.
const HANGS: Duration = Duration::from_secs(300);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

fn wasmtime(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmtime"));
    command.args(args).stdin(Stdio::null());
    command
}

/// `wasmtime serve` of the guest that spins if asked to.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(timeout: &str, delivery: &str) -> Server {
        let options = format!("-Wtimeout={timeout},epoch-delivery={delivery}");
        let mut process = wasmtime(&["serve", "--addr=127.0.0.1:0", &options])
            .arg(fixture("serve.wat"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Serving HTTP on http://");
        let address = address.unwrap_or_else(|| panic!("{line}"));
        let address = address.trim_end_matches('/').to_string();
        // It reports each request that fails.
        thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        Server { process, address }
    }

    fn send(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        answer(&mut self.send(path))
    }

    /// How many of these files the process has in /proc.
    #[cfg(target_os = "linux")]
    fn count(&self, what: &str) -> usize {
        let path = format!("/proc/{}/{what}", self.process.id());
        match what {
            "maps" => fs::read_to_string(path).unwrap().lines().count(),
            _ => fs::read_dir(path).unwrap().count(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// All that is sent until the connection is closed.
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset also closes it.
    if let Err(error) = read {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it hangs");
    }
    String::from_utf8(answer).unwrap()
}

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
