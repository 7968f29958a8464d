//! rustfmt over our own code: the workspaces, overlay/, and the files of upstream's that we
//! patch.

use super::Scope;
use crate::git::Git;
use crate::root::{Root, capture, cargo, run};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::Write;
use std::process::{Command, Stdio};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

pub fn check(root: &Root, scope: &Scope) -> Result<()> {
    // `cargo fmt --all` would also format Wasmtime's crates.
    let metadata =
        capture(cargo(&root.path).args(["metadata", "--no-deps", "--format-version=1"]))?;
    if !metadata.ok {
        bail!("`cargo metadata` failed: {}", metadata.stderr);
    }
    let metadata: Metadata = serde_json::from_slice(&metadata.stdout)?;
    let mut fmt = cargo(&root.path);
    fmt.args(["fmt", "--check"]);
    for package in &metadata.packages {
        fmt.args(["--package", &package.name]);
    }
    run(&mut fmt, "`cargo fmt --check` of the workspace")?;

    for dir in [
        "xtask",
        "benches/stock",
        "tests/kernel",
        "wasmtime-cli",
        "fuzz",
    ] {
        let mut fmt = cargo(&root.path.join(dir));
        run(
            fmt.args(["fmt", "--check"]),
            &format!("`cargo fmt --check` of {dir}"),
        )?;
    }

    let git = Git::open(&root.wasmtime())?;
    let base = git.root_commit()?;
    let mut unformatted = Vec::new();
    for file in scope.overlay.iter().filter(|f| f.ends_with(".rs")) {
        let text = std::fs::read(root.overlay().join(file))?;
        if rustfmt(&text).with_context(|| format!("in overlay/{file}"))? != text {
            unformatted.push(format!("overlay/{file}"));
        }
    }
    for file in scope.patched.keys().filter(|f| f.ends_with(".rs")) {
        let text = std::fs::read(root.wasmtime().join(file)).unwrap_or_default();
        if rustfmt(&text).with_context(|| format!("in vendor/wasmtime/{file}"))? == text {
            continue;
        }
        // Upstream may have formatted it with another version of rustfmt.
        let before = capture(git.command().args(["show", &format!("{base}:{file}")]))?;
        if before.ok && rustfmt(&before.stdout)? == before.stdout {
            unformatted.push(format!("vendor/wasmtime/{file}"));
        }
    }
    if !unformatted.is_empty() {
        bail!(
            "rustfmt --edition 2024 would change:\n  {}",
            unformatted.join("\n  ")
        );
    }
    Ok(())
}

/// The text as rustfmt formats it. Passed on standard input, because rustfmt also formats
/// the modules that a file declares.
fn rustfmt(text: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "newline_style=Unix"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start rustfmt: `rustup component add rustfmt`")?;
    let mut stdin = child.stdin.take().context("rustfmt has no input")?;
    let text = text.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&text));
    let output = child.wait_with_output()?;
    // A closed pipe shows up in the exit status.
    let _ = writer.join();
    if !output.status.success() {
        bail!("rustfmt cannot read it ({})", output.status);
    }
    Ok(output.stdout)
}
