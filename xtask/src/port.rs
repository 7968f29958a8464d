//! `cargo xtask port 49`: this repository on a newer version of Wasmtime.
//!
//! A port is a small set of changes to the series and to this repository's files, in
//! `ports/49/`: ports/README.md has its format. It is laid out in `target/port-49/checkout`, as
//! this repository would be if it pinned that version.

mod change;
mod checkout;
mod place;
mod series;

use self::change::Change;
use self::place::Port;
use crate::debian;
use crate::files::Batch;
use crate::git::{self, Git};
use crate::nextest;
use crate::pin::Pin;
use crate::root::{Root, cargo, run as run_command};
use crate::vendor;
use anyhow::{Context, Result, bail};
use semver::Version;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The options of `port`.
pub struct Options<'a> {
    /// Compile it and run the tests.
    pub check: bool,
    /// Write to ports/ what has been changed where it is laid out.
    pub save: bool,
    /// Run only tests whose name contains this.
    pub filter: Option<&'a str>,
}

pub fn port(root: &Root, major: u64, options: Options<'_>) -> Result<()> {
    git::require()?;
    vendor::ensure(root)?;
    let port = Port::open(root, major)?;
    if options.save {
        return save(&port);
    }
    let ported = series::apply(&port)?;
    checkout::make(&port, &ported)?;
    let there = Root::at(&port.checkout())?;
    vendor::ensure(&there)?;
    checkout::update_lock_files(&port)?;
    println!(
        "{} is this repository on Wasmtime {}",
        port.checkout().display(),
        ported.pin.version
    );
    if !ported.unknown.is_empty() {
        bail!(
            "upstream has changed lines that these patches change, other ones than ports/{major} \
             says. Upstream's lines were kept. Make the patches' changes there, in the commits of \
             {}, and then `cargo xtask port {major} --save`:\n{}",
            there.wasmtime().display(),
            ported.unknown.join("\n")
        );
    }
    match options.check {
        true => check(&port, &there, &ported.pin, options.filter),
        false => Ok(()),
    }
}

/// Writes the changes that are in the checkout. What they say in their first lines stays.
fn save(port: &Port<'_>) -> Result<()> {
    let there = Root::at(&port.checkout()).with_context(|| {
        format!(
            "there is nothing to save: `cargo xtask port {}`",
            port.major
        )
    })?;
    let git = Git::open(&there.wasmtime())?;
    let changes = git.changes(false)?;
    if !changes.is_empty() {
        bail!(
            "{} has edits that are not committed: each belongs into the commit of the patch that \
             it changes",
            git.work_tree.display()
        );
    }
    let mut old = series::read_changes(port)?;
    let new = series::changes(port, &git)?;

    let mut batch = Batch::default();
    let mut silent = Vec::new();
    for (name, change) in &new {
        let reason = old.remove(name).unwrap_or_default().reason;
        if reason.is_empty() {
            silent.push(name.clone());
        }
        let change = Change {
            reason,
            conflicts: change.conflicts.clone(),
            diff: change.diff.clone(),
        };
        batch.write(&port.changes().join(name), change.text().as_bytes())?;
    }
    for name in old.keys() {
        batch.remove(port.changes().join(name));
    }
    let patch = port.repository_patch();
    let saved = fs::read_to_string(&patch).unwrap_or_default();
    let change = Change {
        reason: Change::parse(&saved)?.reason,
        diff: checkout::changes(port)?,
        ..Change::default()
    };
    if change.reason.is_empty() {
        silent.push("repository.patch".to_string());
    }
    batch.write(&patch, change.text().as_bytes())?;
    let pin = Pin {
        base: git.tree_of(&git.root_commit()?)?,
        patched: String::new(),
        ..Pin::read(&there)?
    };
    batch.write(&Pin::path(&port.upstream()), pin.text().as_bytes())?;
    batch.commit()?;
    checkout::commit(port)?;
    println!("{} patches are changed", new.len());
    if !silent.is_empty() {
        println!(
            "say in the first lines of these, in {}, what is different upstream: {}",
            port.dir.display(),
            silent.join(", ")
        );
    }
    Ok(())
}

/// A compiler that is new enough, or the newest that there is.
struct Compiler {
    version: Version,
    /// If it is not the one that cargo takes anyway: `rustc` and `rustdoc`.
    programs: Option<[PathBuf; 2]>,
}

fn check(port: &Port<'_>, there: &Root, pin: &Pin, filter: Option<&str>) -> Result<()> {
    let needed = needed_compiler(&there.wasmtime())?;
    let compiler = find_compiler(port, &needed)?;
    eprintln!(
        "port: Wasmtime {} asks for Rust {needed}; compiling with {}",
        pin.version, compiler.version
    );
    if compiler.version < needed {
        let mut check = compiler.cargo(port, there);
        check.args([
            "check",
            "--workspace",
            "--all-targets",
            "--ignore-rust-version",
        ]);
        run_command(&mut check, "`cargo check --ignore-rust-version`")?;
        println!(
            "it compiles with Rust {}, but no test was run: Wasmtime {} asks for Rust {needed}, \
             which neither this machine nor its Debian has",
            compiler.version, pin.version
        );
        return Ok(());
    }
    let mut test = compiler.cargo(port, there);
    match nextest::is_installed(there) {
        true => test.args(["nextest", "run", "--workspace", "--no-fail-fast"]),
        false => test.args(["test", "--workspace", "--no-fail-fast"]),
    };
    run_command(test.args(filter), "the port's tests")
}

impl Compiler {
    /// A cargo command that compiles with it.
    fn cargo(&self, port: &Port<'_>, there: &Root) -> Command {
        let mut cargo = cargo(&there.path);
        cargo.env("CARGO_TARGET_DIR", port.work.join("target"));
        // Half of the size of what is compiled.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.env("CARGO_INCREMENTAL", "0");
        if let Some([rustc, rustdoc]) = &self.programs {
            cargo.env("RUSTC", rustc).env("RUSTDOC", rustdoc);
        }
        cargo
    }
}

fn find_compiler(port: &Port<'_>, needed: &Version) -> Result<Compiler> {
    let own = Compiler {
        version: debian::version_of(Path::new("rustc"))?,
        programs: None,
    };
    if own.version >= *needed {
        return Ok(own);
    }
    let dir = port.root.target()?.join("debian-rust");
    Ok(match debian::rust(&dir)? {
        Some(rust) if rust.version > own.version => Compiler {
            version: rust.version,
            programs: Some([rust.rustc, rust.rustdoc]),
        },
        _ => own,
    })
}

/// The `rust-version` of upstream's workspace.
fn needed_compiler(tree: &Path) -> Result<Version> {
    let manifest = fs::read_to_string(tree.join("Cargo.toml"))?;
    let manifest: toml::Table = toml::from_str(&manifest)?;
    let version = (|| {
        let package = manifest.get("workspace")?.get("package")?;
        package.get("rust-version")?.as_str()
    })();
    version
        .and_then(|version| version.parse().ok())
        .context("upstream's manifest does not say which version of Rust it needs")
}
