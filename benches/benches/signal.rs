//! Preemption by signals: the paper's workloads, one forced switch, and how long
//! slices really are.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn main() -> wasmtime::Result<()> {
    use clap::Parser;
    use preempt_benches::signal;
    use std::path::Path;

    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("signal");
    let paper = Path::new(env!("CARGO_BIN_EXE_bench-paper"));
    signal::run(&signal::Args::parse(), &pictures, paper)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
fn main() {
    println!("signal: nothing to measure, as `Preemption::Signal` needs x86-64 Linux");
}
