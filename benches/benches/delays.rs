//! How long a sibling waits for the CPU once a guest's slice is over: docs/latency.md.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn main() -> wasmtime::Result<()> {
    use clap::Parser;
    preempt_benches::delays::run(&preempt_benches::delays::Args::parse())
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
fn main() {
    println!("delays: nothing to measure, as `Preemption::Signal` needs x86-64 Linux");
}
