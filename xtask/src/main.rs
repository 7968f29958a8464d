//! `cargo xtask`: lays out the patched Wasmtime, maintains its patches, and runs everything
//! that needs it.

mod aarch64;
mod adopt;
mod busy;
mod conformance;
mod debian;
mod demo;
mod dist;
mod feature_sets;
mod fetch;
mod files;
mod foreign;
mod fuzz;
mod git;
mod lint;
mod local_work;
mod manifest;
mod nextest;
mod overlay;
mod patches;
mod pin;
mod port;
mod preempt;
mod program;
mod published;
mod release;
mod root;
mod series;
mod stamp;
mod summary;
mod tamper;
mod tasks;
mod text;
mod update;
mod upstream;
mod vendor;
mod wasmtime;

use anyhow::Result;
use clap::{Parser, Subcommand};
use root::Root;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and keeps the fork")]
struct Cli {
    /// The repository to work on, instead of the one that xtask was built in.
    #[arg(long, hide = true, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lay out the pinned Wasmtime in vendor/wasmtime, with overlay/ and patches/ applied.
    /// Does nothing if it is up to date.
    Vendor {
        /// Verify every file in it; change nothing.
        #[arg(long, conflicts_with_all = ["force", "repin", "update"])]
        check: bool,
        /// Replace local edits and commits; they stay reachable in
        /// vendor/wasmtime as refs/xtask/replaced-1, and so on.
        #[arg(long)]
        force: bool,
        /// After a change to vendor/upstream: compute the tree ids again and write them to
        /// vendor/upstream/pin.toml.
        #[arg(long)]
        repin: bool,
        /// Move to a newer patch release of the pinned Wasmtime, by default the newest one. A
        /// failure changes nothing; with `--repin`, a series that does not apply is no failure,
        /// but left to be rebased.
        #[arg(long, value_name = "VERSION", num_args = 0..=1)]
        update: Option<Option<String>>,
    },
    /// Fail if the crate registry has a newer patch release of the pinned Wasmtime.
    Outdated,
    /// Keep patches/ and overlay/ in step with vendor/wasmtime.
    Patches {
        #[command(subcommand)]
        command: PatchesCommand,
    },
    /// Lay out this repository on a newer version of Wasmtime, with the changes in ports/, in
    /// target/port-VERSION/checkout.
    Port {
        /// Wasmtime's major version: 49.
        version: u64,
        /// Compile it and run the workspace's tests, with a compiler from Debian if Wasmtime asks
        /// for a newer one than there is.
        #[arg(long)]
        check: bool,
        /// Write the changes that are in the checkout to ports/.
        #[arg(long, conflicts_with = "check")]
        save: bool,
        /// Run only tests whose name contains this.
        #[arg(requires = "check")]
        filter: Option<String>,
    },
    /// Run guests that never yield side by side in one Store. Fails unless the run shows
    /// everything it should.
    Demo {
        /// More arguments for `preempt run`, such as `--preemption fuel`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run all tests: the workspace's, those of tests/kernel, xtask's, and `patches check`.
    Test {
        /// Run the ignored (long) tests and the model checker too and, unless filtered, `lint`.
        #[arg(long)]
        full: bool,
        /// Run them beside eight processes that take all the CPU time they can get.
        #[arg(long)]
        busy: bool,
        /// Build and run those of them for another architecture that concern it, with an emulator:
        /// see docs/porting.md.
        #[arg(long, conflicts_with_all = ["busy", "full"])]
        target: Option<Target>,
        /// Run only tests whose name contains this.
        filter: Option<String>,
    },
    /// Run the WebAssembly specification's tests, those of POSIX threads and upstream's, as guest
    /// threads under each source. Prints what passed, and what failed and why.
    Conformance {
        /// Run them all, and not just a sample; also in plain calls, for comparison.
        #[arg(long)]
        full: bool,
        /// Run all files whose path contains this: `gc/`, `wasm-v1/fac.wast`, `pthreads`. Of
        /// upstream's tests: `upstream`, `upstream/func::`.
        name: Option<String>,
    },
    /// Run the fuzz targets in fuzz/, by libFuzzer: see docs/fuzzing.md.
    Fuzz(fuzz::FuzzArgs),
    /// Run the benchmarks.
    Bench {
        /// Arguments for `cargo bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure the paper's workloads and a broader set, against stock Wasmtime, and write
    /// docs/paper.md and docs/img/paper.svg.
    #[command(after_help = tasks::PAPER_HELP)]
    Paper {
        /// Options, as below.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the `preempt` command.
    Run {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run upstream's `wasmtime` command, built with the fork:
    /// `cargo xtask wasmtime -- serve -W timeout=10s,epoch-delivery=signal app.wasm`.
    Wasmtime {
        /// Build it optimized, as for production.
        #[arg(long)]
        release: bool,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Make a workspace that depends on `wasmtime` use the fork, and prove by `cargo tree` that
    /// it does. A failure changes nothing.
    Adopt {
        /// The workspace, or a package in it.
        dir: PathBuf,
        /// Write the patches to this file, for `cargo --config FILE`, and change no manifest.
        #[arg(long, value_name = "FILE", conflicts_with = "undo")]
        config: Option<PathBuf>,
        /// Restore every file as it was.
        #[arg(long)]
        undo: bool,
    },
    /// Commit the patched Wasmtime, overlay included, to a git repository of its own, for others
    /// to depend on.
    Dist {
        /// The repository: a new or empty directory, or one that `dist` has made earlier.
        dir: PathBuf,
    },
    /// Take all the CPU time there is until stdin ends: see `test --busy`.
    #[command(hide = true)]
    Spin,
    /// Check formatting, lints, and that Wasmtime compiles with and without
    /// our features.
    Lint,
}

/// Another architecture than this machine's.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    Aarch64,
}

#[derive(Subcommand)]
enum PatchesCommand {
    /// Write vendor/wasmtime's commits to patches/, and its new files to
    /// overlay/.
    Save {
        /// Overwrite patches that were changed by other means, such as `git pull`.
        #[arg(long)]
        force: bool,
    },
    /// Fail unless patches/ is exactly what vendor/wasmtime exports, byte for byte, and applies in
    /// the order of the submissions in patches/series/, too.
    Check,
    /// Show the series, and the submission that each patch is in.
    List,
    /// Compile upstream's files with the first patch, with the first two, and so on, without
    /// our feature. With all of them, compile them with our feature, too.
    Build {
        /// Also run those of upstream's tests that its published crates carry and each patch
        /// concerns. Takes an hour or so.
        #[arg(long)]
        full: bool,
        /// Begin with this many patches.
        #[arg(long, value_name = "PATCHES", default_value_t = 1)]
        from: usize,
        /// End with this many patches.
        #[arg(long, value_name = "PATCHES", default_value_t = usize::MAX, hide_default_value = true)]
        to: usize,
        /// Compile with the first submission in patches/series/, with the first two, and so on.
        #[arg(long, conflicts_with_all = ["full", "from", "to"])]
        submissions: bool,
    },
    /// Compare what the code in overlay/tests/disas is compiled to with the listings there, by
    /// upstream's test for that.
    Listings {
        /// Write them anew.
        #[arg(long)]
        bless: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if let Command::Spin = cli.command {
        return busy::spin();
    }
    let root = match cli.root {
        Some(path) => Root::at(&path)?,
        None => Root::of_this_xtask()?,
    };
    match cli.command {
        Command::Vendor { check: true, .. } => vendor::check(&root),
        Command::Vendor {
            force,
            repin,
            update: Some(version),
            ..
        } => update::update(&root, version.as_deref(), update::Options { force, repin }),
        Command::Vendor { force, repin, .. } => {
            let options = vendor::Options {
                force,
                repin,
                ..Default::default()
            };
            vendor::ensure_with(&root, options)
        }
        Command::Outdated => update::outdated(&root),
        Command::Patches { command } => match command {
            PatchesCommand::Save { force } => patches::save(&root, force),
            PatchesCommand::Check => patches::check(&root),
            PatchesCommand::List => patches::list(&root),
            PatchesCommand::Build {
                submissions: true, ..
            } => patches::build::build_submissions(&root),
            PatchesCommand::Build { full, from, to, .. } => {
                patches::build::build(&root, patches::build::Options { full, from, to })
            }
            PatchesCommand::Listings { bless } => patches::listings::run_them(&root, bless),
        },
        Command::Port {
            version,
            check,
            save,
            filter,
        } => {
            let filter = filter.as_deref();
            let options = port::Options {
                check,
                save,
                filter,
            };
            port::port(&root, version, options)
        }
        Command::Demo { args } => demo::demo(&root, &args),
        Command::Test {
            filter,
            target: Some(Target::Aarch64),
            ..
        } => aarch64::test(&root, filter.as_deref()),
        Command::Test {
            full, busy, filter, ..
        } => {
            let filter = filter.as_deref();
            tasks::test(&root, tasks::Tests { full, busy, filter })
        }
        Command::Conformance { full, name } => conformance::run(&root, full, name.as_deref()),
        Command::Fuzz(args) => fuzz::run(&root, &args),
        Command::Bench { args } => tasks::bench(&root, &args),
        Command::Paper { args } => tasks::paper(&root, &args),
        Command::Run { args } => preempt::run(&root, &args),
        Command::Wasmtime { release, args } => wasmtime::run(&root, release, &args),
        Command::Adopt {
            dir, undo: true, ..
        } => adopt::undo(&dir),
        Command::Adopt { dir, config, .. } => adopt::adopt(&root, &dir, config.as_deref()),
        Command::Dist { dir } => dist::dist(&root, &dir),
        Command::Lint => lint::lint(&root),
        Command::Spin => unreachable!("needs no repository"),
    }
}
