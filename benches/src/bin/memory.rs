//! `bench-memory THREADS on-demand|pooled one|each`: prints `memory::Figures` as
//! JSON. The last argument says how many instances the threads have.

use preempt_benches::guest::Stacks;
use preempt_benches::memory::{Instances, measure};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [threads, stacks, instances] = args[..] else {
        bail!("usage: bench-memory THREADS on-demand|pooled one|each");
    };
    let threads = threads
        .parse::<u32>()
        .with_context(|| format!("`{threads}` is not a number of threads"))?;
    let stacks = match stacks {
        "on-demand" => Stacks::OnDemand,
        "pooled" => Stacks::Pooled(threads),
        _ => bail!("`{stacks}` is neither `on-demand` nor `pooled`"),
    };
    let instances = match instances {
        "one" => Instances::One,
        "each" => Instances::Each,
        _ => bail!("`{instances}` is neither `one` nor `each`"),
    };
    let figures = measure(threads, stacks, instances)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
