//! `wasmtime serve`: how long requests take beside ones that spin, with epochs that checks and
//! signals deliver; how many there are per second if nobody spins; and how long JavaScript takes
//! to compute.

#[path = "../tests/server/mod.rs"]
mod server;

use self::server::{Server, answer, fixture};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Computes for some 1 ms.
const WORK: &str = "/work";

/// Computes for some 400 ms.
const COMPUTE: &str = "/compute?n=256";

fn main() {
    // Of `cargo bench`.
    let quick = std::env::args().any(|arg| arg == "--quick");
    let count = if quick { 50 } else { 300 };
    println!("| server | requests beside | median | p99 |");
    println!("|---|---|---|---|");
    for delivery in ["check", "signal"] {
        for spinners in [0, 3, 100] {
            let server = Server::start("3600s", delivery);
            let spinning: Vec<TcpStream> = (0..spinners).map(|_| server.send("/spin")).collect();
            thread::sleep(Duration::from_millis(500));
            // Each takes seconds beside checks.
            let count = if delivery == "check" && spinners > 0 {
                count.min(20)
            } else {
                count
            };
            let [median, p99] = latency(&server, count);
            println!("| epochs by {delivery} | {spinners} that spin | {median:.1?} | {p99:.1?} |");
            drop(spinning);
        }
    }
    println!();
    println!("| server | requests per second |");
    println!("|---|---|");
    let seconds = if quick { 1 } else { 5 };
    let servers = MODES.map(|(_, options)| Server::with(options));
    let rates = in_turns(6, |at| rate(&servers[at], Duration::from_secs(seconds)));
    for ((name, _), rates) in MODES.iter().zip(rates) {
        println!("| {name} | {:.0} |", median(rates));
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
    let servers = MODES.map(|(_, options)| Server::of(&guest, &[options, &["-Scli"]].concat()));
    let times = in_turns(if quick { 6 } else { 30 }, |at| {
        let start = Instant::now();
        assert!(servers[at].get(COMPUTE).starts_with("HTTP/1.1 200 "));
        start.elapsed().as_secs_f64()
    });
    let base = times[0].clone();
    for ((name, _), times) in MODES.iter().zip(times) {
        let ratios = times.iter().zip(&base).map(|(time, base)| time / base);
        let ratio = median(ratios.collect());
        println!("| {name} | {:.1} ms | {ratio:.3} |", median(times) * 1e3);
    }
}

const MODES: [(&str, &[&str]); 3] = [
    ("uninterrupted", &[]),
    ("epochs by check", &["-Wtimeout=60s,epoch-delivery=check"]),
    ("epochs by signal", &["-Wtimeout=60s,epoch-delivery=signal"]),
];

/// Measures each mode in each round, in alternating order.
fn in_turns(rounds: usize, mut measure: impl FnMut(usize) -> f64) -> [Vec<f64>; 3] {
    let mut figures = [(); 3].map(|()| Vec::new());
    for round in 0..rounds {
        for at in 0..3 {
            let at = (at + round) % 3;
            figures[at].push(measure(at));
        }
    }
    figures
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
