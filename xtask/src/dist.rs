//! `cargo xtask dist`: the patched Wasmtime as a git repository of its own, with the overlay's
//! files in it, for others to depend on.
//!
//! Every run that finds something new adds one commit to it. What is not in patches/ and
//! overlay/ is refused: the repository is what this one stands for.

use crate::git::Git;
use crate::pin::Pin;
use crate::root::Root;
use crate::text::shorten;
use crate::{overlay, vendor};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// In the `.git` of a repository that this command has made.
const MARK: &str = "wasmtime-preempt-dist";

pub fn dist(root: &Root, dir: &Path) -> Result<()> {
    vendor::ensure(root)?;
    let pin = Pin::read(root)?;
    let wasmtime = Git::open(&root.wasmtime())?;
    refuse_unsaved(&wasmtime, &pin)?;

    let dir = make(dir)?;
    let git = open(&dir)?;
    let parent = git.head().ok();
    for file in git.names(&["ls-files", "-z"])? {
        overlay::remove(&dir.join(file))?;
    }
    copy(root, &wasmtime, &dir)?;
    git.run(&["add", "--all", "--force", "."])?;
    if parent.is_some() && git.run(&["diff", "--cached", "--quiet", "HEAD"]).is_ok() {
        println!("{} is up to date", dir.display());
    } else {
        let subject = format!("Wasmtime {} with preemptive threads", pin.version);
        git.run(&["commit", "--quiet", "--message", &subject])?;
        println!("{}: {}", dir.display(), git.head()?);
    }
    println!(
        "Where it can be cloned from, say URL, is all that a package needs:\n\
         [dependencies]\n\
         wasmtime = {{ git = \"URL\", features = [\"preemptive-threads\"] }}\n\
         wasmtime-wasi = {{ git = \"URL\" }}"
    );
    Ok(())
}

fn refuse_unsaved(wasmtime: &Git, pin: &Pin) -> Result<()> {
    let edited = wasmtime.changes(false)?;
    if !edited.is_empty() {
        let files: Vec<String> = edited.into_iter().map(|(_, file)| file).collect();
        bail!(
            "vendor/wasmtime has uncommitted edits: commit or discard them first, and save what \
             you commit by `cargo xtask patches save`:\n  {}",
            shorten(&files).join("\n  ")
        );
    }
    if wasmtime.tree_of("HEAD")? != pin.patched {
        bail!("vendor/wasmtime has commits that are not in patches/: `cargo xtask patches save`");
    }
    Ok(())
}

/// The directory, made if there is none.
fn make(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir)
        .and_then(|()| dir.canonicalize())
        .with_context(|| format!("cannot create {}", dir.display()))
}

fn open(dir: &Path) -> Result<Git> {
    let mark = dir.join(".git").join(MARK);
    if mark.is_file() {
        return Git::open(dir);
    }
    let mut entries =
        fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    if entries.next().is_some() {
        bail!(
            "{} is not empty, and was not made by `cargo xtask dist`: name a new directory",
            dir.display()
        );
    }
    let git = Git::init(dir)?;
    fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(git)
}

/// Writes the patched tree, and the overlay's files as such.
fn copy(root: &Root, wasmtime: &Git, dir: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let with_index = || {
        let mut command = wasmtime.command();
        command.env("GIT_INDEX_FILE", scratch.path().join("index"));
        command
    };
    wasmtime.run_command(with_index().args(["read-tree", "HEAD"]))?;
    let mut prefix = OsString::from("--prefix=");
    prefix.push(dir);
    prefix.push("/");
    wasmtime.run_command(
        with_index()
            .args(["checkout-index", "--all", "--force"])
            .arg(prefix),
    )?;
    for file in overlay::files(root)? {
        let to = dir.join(&file);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(root.overlay().join(&file), &to)
            .with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}
