//! Cost against the number of guest threads in one store: a table and a picture. And a table of
//! what threads with instances of their own take.

use clap::Parser;
use preempt_benches::scale::{self, instances, render};
use std::path::{Path, PathBuf};

#[derive(Debug, Parser)]
struct Args {
    /// Measure up to this many threads.
    #[arg(long, value_name = "THREADS", default_value_t = 1_000_000)]
    most: u32,

    /// Measure once, and up to 100,000 threads.
    #[arg(long)]
    quick: bool,

    /// Where to put the picture, scale.svg.
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,

    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let exe = Path::new(env!("CARGO_BIN_EXE_bench-scale"));
    let (most, processes) = match args.quick {
        true => (args.most.min(100_000), 1),
        false => (args.most, 3),
    };
    let steps = (1..=6).flat_map(|power| [1, 3].map(|n| n * 10_u32.pow(power)));
    let all = steps
        .filter(|threads| *threads <= most)
        .map(|threads| scale::in_processes(exe, threads, processes))
        .collect::<wasmtime::Result<Vec<_>>>()?;
    println!("{}", render::table(&all));
    print!("{}", instances::table(exe, most.min(100_000))?);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let picture = args.svg.as_deref().unwrap_or(folder).join("scale.svg");
    if !all.is_empty() {
        render::draw(&picture, &all)?;
        println!("{}", picture.display());
    }
    Ok(())
}
