//! `wasmtime serve`, with epochs that checks and signals deliver, and `preempt serve`: how long
//! requests take beside ones that spin; how many there are per second if nobody spins; and how
//! long JavaScript takes to compute.

#[path = "../tests/server/mod.rs"]
mod server;

use self::server::{SERVE, Server, answer, fixture};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Computes for some 1 ms.
const WORK: &str = "/work";

/// Computes for some 400 ms.
const COMPUTE: &str = "/compute?n=256";

/// A server to measure: its command, and its options.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    command: Serves,
    options: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Serves {
    Wasmtime,
    /// `preempt serve`, which `cargo build --release --workspace --bin preempt` makes.
    Preempt,
}

const PREEMPT: &str = "../target/release/preempt";

const KINDS: [Kind; 4] = [
    Kind {
        name: "`wasmtime serve`, uninterrupted",
        command: Serves::Wasmtime,
        options: &[],
    },
    Kind {
        name: "`wasmtime serve`, epochs by check",
        command: Serves::Wasmtime,
        options: &["-Wtimeout=3600s,epoch-delivery=check"],
    },
    Kind {
        name: "`wasmtime serve`, epochs by signal",
        command: Serves::Wasmtime,
        options: &["-Wtimeout=3600s,epoch-delivery=signal"],
    },
    Kind {
        name: "`preempt serve`",
        command: Serves::Preempt,
        options: &["--timeout=3600s"],
    },
];

impl Kind {
    /// Those that there are.
    fn all() -> Vec<Kind> {
        let preempt = fixture("../wasmtime-cli").join(PREEMPT);
        let is_there = preempt.exists();
        if !is_there {
            println!("`cargo build --release --workspace --bin preempt` makes a server, too.\n");
        }
        let mut kinds = KINDS.to_vec();
        kinds.retain(|kind| is_there || kind.command == Serves::Wasmtime);
        kinds
    }

    fn serve(self, guest: &Path) -> Server {
        match self.command {
            Serves::Wasmtime => Server::of(guest, &[self.options, &["-Scli"]].concat()),
            Serves::Preempt => {
                let mut command = Command::new(fixture("../wasmtime-cli").join(PREEMPT));
                command.args(SERVE).args(self.options).stdin(Stdio::null());
                Server::run(&mut command, guest)
            }
        }
    }
}

fn main() {
    // Of `cargo bench`.
    let quick = std::env::args().any(|arg| arg == "--quick");
    let kinds = Kind::all();
    let guest = fixture("serve.wat");
    let count = if quick { 50 } else { 300 };
    println!("| server | requests beside | median | p99 |");
    println!("|---|---|---|---|");
    // Nothing interrupts the first one, which would never answer.
    for kind in &kinds[1..] {
        for spinners in [0, 3, 100] {
            let server = kind.serve(&guest);
            let spinning: Vec<TcpStream> = (0..spinners).map(|_| server.send("/spin")).collect();
            thread::sleep(Duration::from_millis(500));
            // Each takes seconds beside checks.
            let is_slow = kind.name == KINDS[1].name && spinners > 0;
            let count = if is_slow { count.min(20) } else { count };
            let [median, p99] = latency(&server, count);
            let name = kind.name;
            println!("| {name} | {spinners} that spin | {median:.1?} | {p99:.1?} |");
            drop(spinning);
        }
    }
    println!();
    println!("| server | requests per second | beside an uninterrupted one |");
    println!("|---|---|---|");
    let seconds = if quick { 1 } else { 3 };
    let servers: Vec<Server> = kinds.iter().map(|kind| kind.serve(&guest)).collect();
    let rates = in_turns(if quick { 4 } else { 10 }, servers.len(), |at| {
        rate(&servers[at], Duration::from_secs(seconds))
    });
    for (kind, figures) in kinds.iter().zip(&rates) {
        let ratio = ratio(figures, &rates[0]);
        let name = kind.name;
        println!("| {name} | {:.0} | {ratio:.2} |", median(figures.clone()));
    }
    drop(servers);

    println!();
    let guest = fixture("../target/components/js.wasm");
    if !guest.exists() {
        println!(
            "`fixtures/components/build.sh` makes a JavaScript component, to be measured too."
        );
        return;
    }
    println!("| server | JavaScript that computes | beside an uninterrupted one |");
    println!("|---|---|---|");
    let servers: Vec<Server> = kinds.iter().map(|kind| kind.serve(&guest)).collect();
    let times = in_turns(if quick { 6 } else { 30 }, servers.len(), |at| {
        let start = Instant::now();
        assert!(servers[at].get(COMPUTE).starts_with("HTTP/1.1 200 "));
        start.elapsed().as_secs_f64()
    });
    for (kind, figures) in kinds.iter().zip(&times) {
        let ratio = ratio(figures, &times[0]);
        let name = kind.name;
        println!(
            "| {name} | {:.1} ms | {ratio:.3} |",
            median(figures.clone()) * 1e3
        );
    }
}

/// Measures each of so many in each round, in alternating order.
fn in_turns(rounds: usize, count: usize, mut measure: impl FnMut(usize) -> f64) -> Vec<Vec<f64>> {
    let mut figures = vec![Vec::new(); count];
    for round in 0..rounds {
        for at in 0..count {
            let at = (at + round) % count;
            figures[at].push(measure(at));
        }
    }
    figures
}

/// The median of the ratios within each round.
fn ratio(figures: &[f64], base: &[f64]) -> f64 {
    let ratios = figures.iter().zip(base).map(|(figure, base)| figure / base);
    median(ratios.collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The median and the 99th percentile of so many requests, one after the other.
fn latency(server: &Server, count: usize) -> [Duration; 2] {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let start = Instant::now();
            assert!(answer(&mut server.send(WORK)).starts_with("HTTP/1.1 200 "));
            start.elapsed()
        })
        .collect();
    times.sort();
    [0.5, 0.99].map(|quantile| times[(quantile * (count - 1) as f64).round() as usize])
}

/// How many requests four clients get answered in a second.
fn rate(server: &Server, time: Duration) -> f64 {
    let start = Instant::now();
    let answered = thread::scope(|scope| {
        let clients = [(); 4].map(|()| {
            scope.spawn(|| {
                let mut answered = 0;
                while start.elapsed() < time {
                    assert!(server.get("/").starts_with("HTTP/1.1 200 "));
                    answered += 1;
                }
                answered
            })
        });
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum::<u32>()
    });
    f64::from(answered) / start.elapsed().as_secs_f64()
}
