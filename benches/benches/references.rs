//! Guests that live on references to the garbage-collected heap: a table with aims.

fn main() -> wasmtime::Result<()> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use clap::Parser;
        use preempt_benches::{cli::Args, report, summary};

        let args = Args::parse();
        let rows = summary::references(args.quick)?;
        report::publish(&rows, args.json.as_deref())?;
    }
    Ok(())
}
