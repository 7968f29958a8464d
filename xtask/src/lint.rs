//! `cargo xtask lint`.
//!
//! `cargo clippy` looks at members of the workspace only, and Wasmtime's crates
//! are none. As cargo's RUSTC_WRAPPER clippy's driver sees every crate, each at
//! the lint levels of its own manifest; dependencies from a registry are built
//! with `--cap-lints`, and skipped. Upstream's crates are not ours to clean up:
//! of what is said about them, only what concerns overlay/ and patched files
//! counts.

mod feature_sets;
mod format;

use crate::git::Git;
use crate::root::{Root, cargo, run};
use crate::summary::{FileChange, summarize};
use crate::{overlay, vendor};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lints that upstream does not use, and our lines in its crates must pass.
const OURS: &[&str] = &["clippy::undocumented_unsafe_blocks"];

pub fn lint(root: &Root) -> Result<()> {
    vendor::ensure(root)?;
    let scope = Scope::of(root)?;

    eprintln!("lint: formatting");
    format::check(root, &scope)?;

    eprintln!("lint: xtask");
    let mut clippy = cargo(&root.path);
    clippy
        .args(["clippy", "--quiet", "--all-targets", "--manifest-path"])
        .arg(root.xtask_manifest())
        .args(["--", "--deny", "warnings"]);
    run(&mut clippy, "clippy of xtask")?;

    let mut findings = Findings::default();
    eprintln!(
        "lint: the workspace and Wasmtime (the first time, this compiles everything \
         once more, which takes some minutes)"
    );
    let mut check = cargo(&root.path);
    check.args(["check", "--workspace", "--all-targets", "--keep-going"]);
    scope.run_clippy(root, check, &mut findings, "the workspace")?;
    feature_sets::check(root, &scope, &mut findings)?;
    findings.report()
}

/// Which files count.
pub struct Scope {
    /// Below vendor/wasmtime: files linked to overlay/.
    pub overlay: BTreeSet<String>,
    /// Below vendor/wasmtime: upstream's files that are patched.
    pub patched: BTreeMap<String, FileChange>,
}

#[derive(Default)]
struct Findings {
    seen: BTreeSet<String>,
}

impl Findings {
    fn add(&mut self, rendered: &str) {
        if self.seen.insert(rendered.to_string()) {
            eprint!("{rendered}");
        }
    }

    fn report(&self) -> Result<()> {
        match self.seen.len() {
            0 => Ok(()),
            count => bail!("{count} lint findings, above"),
        }
    }
}

#[derive(Deserialize)]
struct CargoMessage {
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    code: Option<Code>,
    spans: Vec<Span>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: PathBuf,
    line_start: usize,
    line_end: usize,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Span,
}

impl Scope {
    fn of(root: &Root) -> Result<Scope> {
        let git = Git::open(&root.wasmtime())?;
        let base = git.root_commit()?;
        // Of the work tree, so that what is being edited is linted too.
        let diff = git.run(&["diff", "--no-renames", "--no-color", "--unified=0", &base])?;
        let patched = summarize(&diff)
            .files
            .into_iter()
            .map(|file| (file.path.clone(), file))
            .collect();
        Ok(Scope {
            overlay: overlay::files(root)?,
            patched,
        })
    }

    fn run_clippy(
        &self,
        root: &Root,
        mut check: Command,
        findings: &mut Findings,
        what: &str,
    ) -> Result<()> {
        let format = match std::io::stderr().is_terminal() {
            true => "--message-format=json-diagnostic-rendered-ansi",
            false => "--message-format=json",
        };
        let lints: Vec<String> = OURS.iter().map(|lint| format!("-W{lint}")).collect();
        let mut child = check
            .arg(format)
            .arg("--target-dir")
            .arg(root.target().join("lint"))
            .env("RUSTC_WRAPPER", "clippy-driver")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            // The separator that clippy's driver expects.
            .env("CLIPPY_ARGS", lints.join("__CLIPPY_HACKERY__"))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let stdout = child.stdout.take().context("cargo has no output")?;
        for line in BufReader::new(stdout).lines() {
            // Lines that are not a message come from build scripts.
            let Ok(message) = serde_json::from_str::<CargoMessage>(&line?) else {
                continue;
            };
            let Some(diagnostic) = message.message else {
                continue;
            };
            if diagnostic.level.starts_with("error") || self.counts(root, &diagnostic) {
                findings.add(diagnostic.rendered.as_deref().unwrap_or("(no text)\n"));
            }
        }
        let status = child.wait()?;
        if !status.success() && findings.seen.is_empty() {
            bail!(
                "{what} cannot be checked ({status}; is clippy installed? \
                 `rustup component add clippy`)"
            );
        }
        Ok(())
    }

    /// Whether a warning is about our code.
    fn counts(&self, root: &Root, diagnostic: &Diagnostic) -> bool {
        let lint = diagnostic.code.as_ref().map_or("", |code| &code.code);
        let mut spans: Vec<&Span> = diagnostic.spans.iter().filter(|s| s.is_primary).collect();
        while let Some(span) = spans.pop() {
            if self.counts_at(root, lint, span) {
                return true;
            }
            // Code from a macro is as well at the place that uses the macro.
            spans.extend(span.expansion.as_ref().map(|e| &e.span));
        }
        false
    }

    fn counts_at(&self, root: &Root, lint: &str, span: &Span) -> bool {
        let path = root.path.join(&span.file_name);
        let Some(file) = below(&path, &root.wasmtime()) else {
            return below(&path, &root.path).is_some() && below(&path, &root.target()).is_none();
        };
        if self.overlay.contains(&file) {
            return true;
        }
        let Some(change) = self.patched.get(&file) else {
            return false;
        };
        !OURS.contains(&lint)
            || change
                .added_lines
                .iter()
                .any(|lines| lines.start <= span.line_end && span.line_start < lines.end)
    }
}

fn below(path: &Path, dir: &Path) -> Option<String> {
    let file = path.strip_prefix(dir).ok()?;
    Some(file.to_string_lossy().replace('\\', "/"))
}
