//! `cargo xtask demo`: guests that never yield, side by side in one Store.
//!
//! The demo shows that one guest loops forever and another one traps, so `preempt` exits
//! with status 1. The demo succeeds if the run's figures show everything it promises.

use crate::preempt;
use crate::root::Root;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fmt::Write as _;

/// How many seconds to run: at first, and in each further attempt if the machine was too
/// busy to show anything.
const SECONDS: [u32; 4] = [2, 8, 32, 128];
const SPIN: &str = "fixtures/spin.wat";
const FIB: &str = "fixtures/fib.wat:fib(38)";
const TRAP: &str = "fixtures/trap.wat";
const PRIMES: &str = "fixtures/primes.wasm(3000000)";

const INTRODUCTION: &str = "\
Four guests in one Store, on one OS thread; not one of them ever yields. The first
loops for ever, the second calls itself, the third traps after a while, and the
fourth is a C program that prints how far it has got.
";

/// What `preempt` reports about the run.
#[derive(Deserialize)]
struct Report {
    #[serde(flatten)]
    step: Step,
    threads: Vec<Thread>,
}

/// The width of a column of `interleaving`.
#[derive(Deserialize)]
enum Step {
    #[serde(rename = "interleaving_step_ms")]
    Time(f64),
    #[serde(rename = "interleaving_step_fuel")]
    Fuel(f64),
}

impl Step {
    /// How far `columns` of this width reach.
    fn times(&self, columns: usize) -> String {
        match self {
            Step::Time(ms) => format!("{:.0} ms", columns as f64 * ms),
            Step::Fuel(units) => {
                format!("{:.0} million units of fuel", columns as f64 * units / 1e6)
            }
        }
    }
}

#[derive(Deserialize)]
struct Thread {
    guest: String,
    exit: String,
    results: Vec<serde_json::Value>,
    cpu_time_ms: f64,
    preemptions: u64,
    /// The share of the CPU time in each step.
    interleaving: Vec<f64>,
}

/// Runs the demo, passing `args` on to `preempt run`.
///
/// # Errors
///
/// If the run did not show something that it should.
pub fn demo(root: &Root, args: &[String]) -> Result<()> {
    println!("{INTRODUCTION}");
    let mut report = run(root, args, SECONDS[0])?;
    for seconds in &SECONDS[1..] {
        let trap = report.threads.iter().find(|thread| thread.guest == TRAP);
        if trap.is_none_or(|trap| trap.exit != "stopped") {
            break;
        }
        println!(
            "\n{TRAP} got too little CPU time to trap: something else keeps this machine\n\
             busy. Once more, for {seconds} s:\n"
        );
        report = run(root, args, *seconds)?;
    }
    print!("\n{}", seen(&report)?);
    Ok(())
}

/// Runs the guests for this many seconds.
fn run(root: &Root, args: &[String], seconds: u32) -> Result<Report> {
    let mut preempt = preempt::build(root)?;
    let guests = [SPIN, FIB, TRAP, PRIMES];
    let time = format!("{seconds}s");
    let options = ["--for", &time, "--interleaving"];
    let mut shown = options.map(str::to_string).to_vec();
    shown.extend_from_slice(args);
    shown.extend(guests.map(|guest| match guest.contains('(') {
        true => format!("'{guest}'"),
        false => guest.to_string(),
    }));
    println!("$ cargo xtask run -- run {}\n", shown.join(" "));

    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("report.json");
    let status = preempt
        .current_dir(&root.path)
        .arg("run")
        .args(options)
        .args(args)
        .args(guests)
        .arg("--json-file")
        .arg(&file)
        .status()
        .context("cannot start preempt")?;
    ensure!(
        status.code() == Some(1),
        "preempt ended with {status} instead of 1, which tells of the guests that \
         trapped or were stopped"
    );
    let report = std::fs::read(&file).context("preempt has written no report")?;
    serde_json::from_slice(&report).context("preempt's report is not as expected")
}

/// Describes what the run showed.
///
/// # Errors
///
/// If it did not show it.
fn seen(report: &Report) -> Result<String> {
    let find = |guest: &str| {
        let found = report.threads.iter().find(|thread| thread.guest == guest);
        found.with_context(|| format!("the report has no guest {guest}"))
    };
    let (spin, fib, trap, primes) = (find(SPIN)?, find(FIB)?, find(TRAP)?, find(PRIMES)?);

    ensure!(
        spin.exit == "stopped" && spin.preemptions > 0 && spin.cpu_time_ms > 0.0,
        "{SPIN} should have been preempted again and again, and stopped in the end; \
         it {} after {} preemptions",
        spin.exit,
        spin.preemptions
    );
    let mut text = format!(
        "What was to be seen:\n\n\
         - All made progress, beside a guest that never ends. {SPIN} was preempted \
         {} times,\n  and stopped when the time was up.\n",
        spin.preemptions
    );
    for guest in [fib, primes] {
        let (name, time) = (&guest.guest, guest.cpu_time_ms);
        ensure!(time > 0.0, "{name} got no CPU time beside {SPIN}");
        match &*guest.exit {
            "returned" => write!(text, "  {name} returned")?,
            "stopped" => write!(text, "  {name} was not yet done")?,
            exit => bail!("{name} {exit}, which was not to be expected"),
        }
        if let [result] = &guest.results[..] {
            write!(text, " {result}")?;
        }
        writeln!(text, " after {time:.0} ms on the CPU.")?;
    }

    ensure!(
        trap.exit == "trapped",
        "{TRAP} {} instead of trapping; does something else keep this machine busy?",
        trap.exit
    );
    let last = trap.interleaving.iter().rposition(|share| *share > 0.0);
    let after = last.context("the run shows no CPU time of the guest that trapped")? + 1;
    let survivors: Vec<&str> = [spin, fib, primes]
        .into_iter()
        .filter(|thread| {
            thread.interleaving[after..]
                .iter()
                .any(|share| *share > 0.0)
        })
        .map(|thread| &*thread.guest)
        .collect();
    ensure!(
        !survivors.is_empty(),
        "no guest ran on after {TRAP} had trapped"
    );
    writeln!(
        text,
        "- The trap hurt no one. {TRAP} trapped about {} into the run; after that\n  \
         {} ran on.",
        report.step.times(after),
        survivors.join(", ")
    )?;
    writeln!(
        text,
        "- How the slices interleaved: under \"the first steps\", whose turn it was in each\n  \
         column; under \"the whole run\", how the shares grow as guests end."
    )?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(guest: &str, exit: &str, interleaving: [f64; 3]) -> Thread {
        Thread {
            guest: guest.to_string(),
            exit: exit.to_string(),
            results: Vec::new(),
            cpu_time_ms: 100.0,
            preemptions: 10,
            interleaving: interleaving.to_vec(),
        }
    }

    fn good() -> Report {
        Report {
            step: Step::Time(40.0),
            threads: vec![
                thread(SPIN, "stopped", [0.25, 0.3, 0.5]),
                thread(FIB, "returned", [0.25, 0.3, 0.0]),
                thread(TRAP, "trapped", [0.25, 0.1, 0.0]),
                thread(PRIMES, "stopped", [0.25, 0.3, 0.5]),
            ],
        }
    }

    fn error(change: impl Fn(&mut [Thread])) -> String {
        let mut report = good();
        change(&mut report.threads);
        seen(&report).unwrap_err().to_string()
    }

    #[test]
    fn all_that_was_promised_is_reported() {
        let mut report = good();
        report.threads[1].results = vec![39088169.into()];
        let text = seen(&report).unwrap();
        for part in [
            "preempted 10 times",
            "fib(38) returned 39088169 after 100 ms",
            "primes.wasm(3000000) was not yet done after 100 ms",
            "trapped about 80 ms into the run",
            "fixtures/spin.wat, fixtures/primes.wasm(3000000) ran on",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn endless_guest_has_to_be_preempted_and_stopped() {
        assert!(error(|t| t[0].exit = "returned".into()).contains("it returned after 10"));
        assert!(error(|t| t[0].preemptions = 0).contains("after 0 preemptions"));
    }

    #[test]
    fn siblings_have_to_make_progress() {
        assert!(error(|t| t[3].cpu_time_ms = 0.0).contains("primes.wasm(3000000) got no CPU"));
        assert!(error(|t| t[1].exit = "trapped".into()).contains("fib(38) trapped"));
    }

    #[test]
    fn trap_has_to_happen_while_others_run_on() {
        assert!(error(|t| t[2].exit = "stopped".into()).contains("instead of trapping"));
        assert!(error(|t| t[2].interleaving[2] = 0.1).contains("no guest ran on"));
        assert!(error(|t| t[2].guest.clear()).contains("no guest fixtures/trap.wat"));
    }
}
