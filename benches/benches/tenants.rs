//! CPU rates of tenants, and shares on tokio: a table with aims.

use clap::Parser;
use preempt_benches::report::Row;
use preempt_benches::{cli::Args, report, tenants};
use std::time::Duration;

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let time = Duration::from_secs(if args.quick { 3 } else { 10 });
    let missed = tenants::rates(time)?;
    let group = "rates";
    let of_tenant = "tenant furthest from its rate, of 4 with 100 stores on two OS threads";
    let of_store = "store furthest from the mean of its tenant's";
    let mut rows = vec![
        Row::new(group, of_tenant, (missed.tenant, "%"), None, Some(2.0)),
        Row::new(group, of_store, (missed.store, "%"), None, Some(2.0)),
    ];
    for workers in [1, 2] {
        for (by, share) in tenants::shares_of_one(workers, args.quick)? {
            let what = match by {
                tenants::By::Shares => "equal shares",
                tenants::By::Runs => "no shares",
                tenants::By::CallAsync => "call_async, epochs of 10 ms",
            };
            let what =
                format!("CPU of one store beside 99 of another tenant, {workers} workers: {what}");
            rows.push(Row::new("shares", &what, (share.median, "%"), None, None));
        }
    }
    report::publish(&rows, args.json.as_deref())
}
