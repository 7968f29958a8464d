//! Runs of many OS threads beside those of one: a table with aims.

use clap::Parser;
use preempt_benches::paired::Spread;
use preempt_benches::report::{Beside, Row};
use preempt_benches::{cli::Args, many_cores, report};
use std::time::Duration;
use wasmtime::Preemption;

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let (rounds, time) = match args.quick {
        true => (3, Duration::from_millis(200)),
        false => (9, Duration::from_millis(500)),
    };
    let mut sources = vec![Preemption::Fuel, Preemption::Epoch];
    if Preemption::for_this_host() == Preemption::Signal {
        sources.push(Preemption::Signal);
    }
    let mut rows = Vec::new();
    for source in sources {
        for os_threads in [2, 8, 32] {
            let (mut one, mut many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds {
                let alone = many_cores::cost_of_run(source, 1, time)?;
                let beside = many_cores::cost_of_run(source, os_threads, time)?;
                ratios.push(beside / alone);
                one.push(alone);
                many.push(beside);
            }
            let what = format!("a run of two threads, {source}, {os_threads} OS threads");
            let beside = Beside {
                what: "one OS thread".into(),
                figure: Spread::of(one).median,
                ratio: Spread::of(ratios),
            };
            let figure = (Spread::of(many).median, "ns");
            rows.push(Row::new(
                "many cores",
                &what,
                figure,
                Some(beside),
                Some(1.1),
            ));
        }
    }
    report::publish(&rows, args.json.as_deref())
}
