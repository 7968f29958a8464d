//! The tests on aarch64 Linux, built and run on an x86-64 machine.
//!
//! Debian's compiler has a standard library for the target, and an emulator runs what it makes: see
//! `tools.rs`. The emulator takes signals only between the blocks that it translates the program
//! into, and a loop may be one block. So the tests that want signals at any instruction are run
//! once more, with blocks of one instruction, which makes everything slow.

mod tools;

use crate::root::{Root, capture, cargo, run};
use crate::{nextest, vendor};
use anyhow::Result;
use semver::Version;
use std::path::Path;
use std::process::Command;
use tools::Tools;

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// `rust-version` of the workspace.
const OLDEST_RUST: Version = Version::new(1, 95, 0);

/// The tests of what depends on the architecture, by parts of their names.
const TESTS: &[&str] = &[
    "signal::",
    "signal_engine::",
    "signal_process::",
    "epoch_delivery::",
    "loop_checks::",
    "exceptions::",
    // Of the specification's tests.
    "conformance::a_sample_passes::under_signals",
    "conformance::a_sample_passes::before_each_instruction",
];

/// Those that want signals at any instruction.
const ANYWHERE: &[&str] = &["signal::registers::"];

/// What an emulator or its C library does not do as Linux does.
const NOT_EMULATED: &[&str] = &["forks::", "membarrier::"];

/// Why the tools cannot be set up on this machine, if so.
pub fn unavailable() -> Option<&'static str> {
    tools::unavailable()
}

/// Runs the tests whose names contain `filter`, or else those above.
pub fn test(root: &Root, filter: Option<&str>) -> Result<()> {
    vendor::ensure(root)?;
    let tools = Tools::ensure(root.target()?.join("aarch64-tools"), &OLDEST_RUST)?;
    let emulator = Emulator::of(&tools)?;
    let tests = Tests {
        root,
        emulator,
        tools,
    };
    eprintln!("test: the kernel without Wasmtime, on aarch64");
    tests.kernel(filter)?;
    eprintln!("test: Wasmtime on aarch64; the first build takes 5 to 10 minutes on two cores");
    match filter {
        Some(filter) => tests.workspace(Blocks::Whole, &[filter]),
        None => {
            tests.workspace(Blocks::Whole, TESTS)?;
            eprintln!("test: signals at any instruction, on aarch64");
            tests.workspace(Blocks::OfOneInstruction, ANYWHERE)
        }
    }
}

/// What the emulator translates at a time.
#[derive(Clone, Copy)]
enum Blocks {
    Whole,
    OfOneInstruction,
}

struct Emulator {
    /// The option for [`Blocks::OfOneInstruction`], which newer versions call otherwise.
    single: &'static str,
}

impl Emulator {
    fn of(tools: &Tools) -> Result<Emulator> {
        let help = capture(Command::new(tools.program("qemu-aarch64")).arg("-help"))?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let single = match help.contains("-one-insn-per-tb") {
            true => "-one-insn-per-tb",
            false => "-singlestep",
        };
        Ok(Emulator { single })
    }
}

struct Tests<'a> {
    root: &'a Root,
    emulator: Emulator,
    tools: Tools,
}

impl Tests<'_> {
    fn kernel(&self, filter: Option<&str>) -> Result<()> {
        let mut kernel = self.cargo(Blocks::Whole);
        kernel
            .args(["test", "--quiet", "--target", TARGET])
            .args(["--test", "units", "--test", "interrupts"])
            .arg("--manifest-path")
            .arg(self.root.kernel_tests().join("Cargo.toml"))
            .arg("--target-dir")
            .arg(self.root.target()?.join("aarch64-kernel"))
            .args(filter);
        run(&mut kernel, "`cargo test` of tests/kernel")
    }

    fn workspace(&self, blocks: Blocks, names: &[&str]) -> Result<()> {
        let mut tests = self.cargo(blocks);
        match nextest::is_installed(self.root) {
            true => tests.args(["nextest", "run", "--no-tests", "pass"]),
            false => tests.arg("test"),
        };
        tests
            .args(["--package", "wasmtime-preempt", "--test", "all"])
            .args(["--target", TARGET, "--target-dir"])
            .arg(self.root.target()?.join("aarch64"));
        tests.arg("--").args(names);
        for name in NOT_EMULATED {
            tests.args(["--skip", name]);
        }
        run(&mut tests, "the tests on aarch64")
    }

    /// A cargo command that builds for the target, and runs what it has built.
    fn cargo(&self, blocks: Blocks) -> Command {
        let mut cargo = cargo(&self.root.path);
        let compiler = self.tools.program("aarch64-linux-gnu-gcc");
        cargo
            .env("RUSTC", self.tools.program("rustc"))
            .env(of_target("CARGO_TARGET_", "_LINKER"), &compiler)
            .env(of_target("CARGO_TARGET_", "_RUNNER"), self.runner(blocks))
            .env("CC_aarch64_unknown_linux_gnu", compiler)
            .env(
                "AR_aarch64_unknown_linux_gnu",
                self.tools.program("aarch64-linux-gnu-ar"),
            )
            // Tests that run themselves once more, in a process of their own.
            .env("PREEMPT_TEST_RUNNER", self.runner(blocks))
            // Nobody debugs these.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_INCREMENTAL", "0");
        cargo
    }

    fn runner(&self, blocks: Blocks) -> String {
        let text = |path: &Path| path.display().to_string();
        let mut words = vec![text(&self.tools.program("qemu-aarch64"))];
        if let Blocks::OfOneInstruction = blocks {
            words.push(self.emulator.single.to_owned());
        }
        words.extend(["-L".to_owned(), text(&self.tools.libraries())]);
        words.join(" ")
    }
}

/// A variable of cargo's configuration.
fn of_target(before: &str, after: &str) -> String {
    let target = TARGET.replace('-', "_").to_uppercase();
    format!("{before}{target}{after}")
}
