//! `cargo xtask lint`.
//!
//! `cargo clippy` only looks at members of the workspace, and Wasmtime's crates are not
//! members. Used as cargo's RUSTC_WRAPPER, clippy's driver sees every crate, each at the
//! lint levels of its own manifest. Dependencies from a registry are built with
//! `--cap-lints`, and skipped. Upstream's crates are not ours to clean up: in these, only
//! findings in overlay/ and patched files count.

mod feature_sets;
mod format;
mod imports;
mod safety_table;
mod sources;

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

/// Lints that upstream does not use, but that our lines in its crates must pass.
const OURS: &[&str] = &["clippy::undocumented_unsafe_blocks"];

pub fn lint(root: &Root) -> Result<()> {
    vendor::ensure(root)?;
    let scope = Scope::of(root)?;

    eprintln!("lint: formatting");
    format::check(root, &scope)?;

    eprintln!("lint: imports");
    imports::check(root)?;

    eprintln!("lint: docs/safety.md's table of unsafe blocks");
    safety_table::check(root)?;

    eprintln!("lint: xtask");
    let mut clippy = cargo(&root.path);
    clippy
        .args(["clippy", "--quiet", "--all-targets", "--manifest-path"])
        .arg(root.xtask_manifest())
        .args(["--", "--deny", "warnings"]);
    run(&mut clippy, "clippy of xtask")?;

    eprintln!("lint: tests/kernel");
    let mut clippy = cargo(&root.path);
    clippy
        .args(["clippy", "--quiet", "--all-targets", "--manifest-path"])
        .arg(root.kernel_tests().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(scope.target_dir().join("kernel"))
        .args(["--", "--deny", "warnings"]);
    run(&mut clippy, "clippy of tests/kernel")?;

    let mut findings = Findings::default();
    eprintln!(
        "lint: the workspace and Wasmtime (the first time, this compiles everything \
         once more, which takes some minutes)"
    );
    let mut check = cargo(&root.path);
    check.args(["check", "--workspace", "--all-targets", "--keep-going"]);
    scope.run_clippy(check, &mut findings, "the workspace")?;
    feature_sets::check(root, &scope, &mut findings)?;
    findings.report()
}

/// The files that count.
pub struct Scope {
    root: PathBuf,
    /// The path of vendor/wasmtime.
    wasmtime: PathBuf,
    /// Written by cargo and build scripts, so it does not count.
    target: PathBuf,
    /// Files linked to overlay/, relative to vendor/wasmtime.
    pub overlay: BTreeSet<String>,
    /// Upstream's files that are patched, relative to vendor/wasmtime.
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
        // Compares the work tree, so that files being edited are linted too.
        let diff = git.run(&["diff", "--no-renames", "--no-color", "--unified=0", &base])?;
        let patched = summarize(&diff)
            .files
            .into_iter()
            .map(|file| (file.path.clone(), file))
            .collect();
        Ok(Scope {
            root: root.path.clone(),
            wasmtime: root.wasmtime(),
            target: root.target()?,
            overlay: overlay::files(root)?,
            patched,
        })
    }

    /// A separate directory for clippy, which compiles crates differently from a build.
    fn target_dir(&self) -> PathBuf {
        self.target.join("lint")
    }

    fn run_clippy(&self, mut check: Command, findings: &mut Findings, what: &str) -> Result<()> {
        let format = match std::io::stderr().is_terminal() {
            true => "--message-format=json-diagnostic-rendered-ansi",
            false => "--message-format=json",
        };
        let lints: Vec<String> = OURS.iter().map(|lint| format!("-W{lint}")).collect();
        let mut child = check
            .arg(format)
            .arg("--target-dir")
            .arg(self.target_dir())
            .env("RUSTC_WRAPPER", "clippy-driver")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            // The separator that clippy's driver expects.
            .env("CLIPPY_ARGS", lints.join("__CLIPPY_HACKERY__"))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let stdout = child.stdout.take().context("cargo has no output")?;
        for line in BufReader::new(stdout).lines() {
            // Lines that are not messages come from build scripts.
            let Ok(message) = serde_json::from_str::<CargoMessage>(&line?) else {
                continue;
            };
            let Some(diagnostic) = message.message else {
                continue;
            };
            if diagnostic.level.starts_with("error") || self.counts(&diagnostic) {
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
    fn counts(&self, diagnostic: &Diagnostic) -> bool {
        let lint = diagnostic.code.as_ref().map_or("", |code| &code.code);
        let mut spans: Vec<&Span> = diagnostic.spans.iter().filter(|s| s.is_primary).collect();
        while let Some(span) = spans.pop() {
            if self.counts_at(lint, span) {
                return true;
            }
            // Code from a macro also counts where the macro is used.
            spans.extend(span.expansion.as_ref().map(|e| &e.span));
        }
        false
    }

    fn counts_at(&self, lint: &str, span: &Span) -> bool {
        let path = self.root.join(&span.file_name);
        let Some(file) = below(&path, &self.wasmtime) else {
            return below(&path, &self.root).is_some() && below(&path, &self.target).is_none();
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        let patched = "crates/wasmtime/src/config.rs";
        let diff = format!(
            "diff --git a/{patched} b/{patched}\n--- a/{patched}\n+++ b/{patched}\n\
             @@ -10,0 +11,2 @@\n+ours\n+ours\n"
        );
        let file = summarize(&diff).files.remove(0);
        Scope {
            root: "/r".into(),
            wasmtime: "/r/vendor/wasmtime".into(),
            target: "/r/target".into(),
            overlay: BTreeSet::from(["crates/wasmtime/src/preempt.rs".to_string()]),
            patched: BTreeMap::from([(patched.to_string(), file)]),
        }
    }

    fn span(file: &str, line: usize) -> serde_json::Value {
        json!({
            "file_name": file, "line_start": line, "line_end": line,
            "is_primary": true, "expansion": null,
        })
    }

    fn counts(lint: &str, span: serde_json::Value) -> bool {
        let diagnostic = json!({
            "level": "warning", "code": { "code": lint }, "spans": [span], "rendered": "",
        });
        scope().counts(&serde_json::from_value(diagnostic).unwrap())
    }

    #[test]
    fn findings_count_in_our_files_alone() {
        for (file, ours) in [
            ("src/lib.rs", true),
            ("/r/crates/cli/src/main.rs", true),
            ("vendor/wasmtime/crates/wasmtime/src/preempt.rs", true),
            ("vendor/wasmtime/crates/wasmtime/src/config.rs", true),
            ("vendor/wasmtime/crates/wasmtime/src/engine.rs", false),
            ("target/debug/build/x/out/generated.rs", false),
            ("/elsewhere/registry/src/x/lib.rs", false),
        ] {
            assert_eq!(
                counts("clippy::needless_return", span(file, 1)),
                ours,
                "{file}"
            );
        }
    }

    #[test]
    fn our_own_lints_count_in_patched_lines_and_in_the_overlay() {
        let lint = OURS[0];
        let patched = "vendor/wasmtime/crates/wasmtime/src/config.rs";
        for (line, ours) in [(10, false), (11, true), (12, true), (13, false)] {
            assert_eq!(counts(lint, span(patched, line)), ours, "{line}");
        }
        let overlay = "vendor/wasmtime/crates/wasmtime/src/preempt.rs";
        assert!(counts(lint, span(overlay, 99)));
    }

    #[test]
    fn code_of_a_macro_counts_where_it_is_used() {
        let upstream = "vendor/wasmtime/crates/wasmtime/src/macros.rs";
        let used_at = |file: &str| {
            let mut span = span(upstream, 1);
            span["expansion"] = json!({ "span": self::span(file, 1) });
            counts("unused", span)
        };
        assert!(used_at("src/lib.rs"));
        assert!(!used_at("vendor/wasmtime/crates/wasmtime/src/engine.rs"));
    }
}
