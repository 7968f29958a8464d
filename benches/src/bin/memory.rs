//! `bench-memory THREADS on-demand|pooled|slab one|each|components`: prints `memory::Figures` as
//! JSON. The last argument says what the threads run: one instance, each its own, or components.

use preempt_benches::guest::Stacks;
use preempt_benches::memory::{Guests, measure};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [threads, stacks, guests] = args[..] else {
        bail!("usage: bench-memory THREADS on-demand|pooled|slab one|each|components");
    };
    let threads = threads
        .parse::<u32>()
        .with_context(|| format!("`{threads}` is not a number of threads"))?;
    let stacks = match stacks {
        "on-demand" => Stacks::OnDemand,
        "pooled" => Stacks::Pooled(threads),
        "slab" => Stacks::Slab,
        _ => bail!("`{stacks}` is none of `on-demand`, `pooled` and `slab`"),
    };
    let guests = match guests {
        "one" => Guests::OneInstance,
        "each" => Guests::Instances,
        "components" => Guests::Components,
        _ => bail!("`{guests}` is none of `one`, `each` and `components`"),
    };
    let figures = measure(threads, stacks, guests)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
