//! `bench-scale THREADS [default|exact]`: prints `scale::Figures` as JSON; with a second argument,
//! which says what address space memories get, `scale::instances::Figures`.

use preempt_benches::scale::instances::{self, Memories};
use preempt_benches::scale::measure;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (threads, memories) = match args[..] {
        [threads] => (threads, None),
        [threads, memories] => (threads, Some(memories)),
        _ => bail!("usage: bench-scale THREADS [default|exact]"),
    };
    let threads = threads
        .parse()
        .ok()
        .filter(|threads| *threads > 0)
        .with_context(|| format!("`{threads}` is not a number of threads"))?;
    let json = match memories {
        None => serde_json::to_string(&measure(threads)?)?,
        Some(name) => {
            let memories = Memories::ALL.into_iter().find(|(known, _)| *known == name);
            let Some((_, memories)) = memories else {
                bail!("`{name}` is neither `default` nor `exact`");
            };
            serde_json::to_string(&instances::measure(threads, memories)?)?
        }
    };
    println!("{json}");
    Ok(())
}
