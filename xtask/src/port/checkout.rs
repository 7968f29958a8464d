//! This repository with another version of Wasmtime: a copy, in which the port's version is
//! pinned and its changes are made.
//!
//! The copy is a git repository with two commits: what is here, and the port's changes to it. Work
//! that is in neither is never overwritten.

use super::place::Port;
use super::series::Ported;
use crate::fetch::WORKSPACES;
use crate::files::{files_below, write_if_changed};
use crate::git::Git;
use crate::manifest::{change_versions, versions};
use crate::pin::Pin;
use crate::root::{capture, cargo};
use crate::text::shorten;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Files that change with the version by themselves.
const DERIVED: [&str; 3] = ["vendor/upstream", "patches", "ports"];

/// Not the copy's own: what building it leaves.
const EXCLUDED: &str = "/vendor/wasmtime\n/vendor/.lock\n/vendor/.wasmtime-*\ntarget\n";

const LOCK: &str = "Cargo.lock";

/// Makes the copy what it should be. Files that do not change keep their times, so cargo compiles
/// little.
pub fn make(port: &Port<'_>, ported: &Ported) -> Result<()> {
    let dir = port.checkout();
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let there = match Git::open(&dir) {
        Ok(git) => {
            refuse_unsaved(&git)?;
            git
        }
        Err(_) => Git::init(&dir)?,
    };
    write_if_changed(&there.dir().join("info/exclude"), EXCLUDED.as_bytes())?;

    let staged = tempfile::Builder::new()
        .tempdir_in(&port.work)
        .with_context(|| format!("cannot create a directory in {}", port.work.display()))?;
    let git = stage(port, ported, staged.path())?;

    let mut gone: BTreeSet<String> = match there.head() {
        Ok(_) => there.names(&["ls-files", "-z"])?.into_iter().collect(),
        Err(_) => BTreeSet::new(),
    };
    for file in git.names(&["ls-files", "-z"])? {
        gone.remove(&file);
        let to = dir.join(&file);
        // Cargo has changed those that are there.
        let is_own_lock = file.ends_with(LOCK) && !file.starts_with(DERIVED[0]);
        if !(is_own_lock && to.exists()) {
            copy(&staged.path().join(&file), &to)?;
        }
    }
    for file in gone {
        fs::remove_file(dir.join(file))?;
    }
    there.run_command(
        there
            .command()
            .args(["fetch", "--quiet", "--no-tags"])
            .arg(git.dir())
            .arg("+HEAD:refs/port"),
    )?;
    there.run(&["reset", "--quiet", "--mixed", "refs/port"])?;
    Ok(())
}

/// Lets cargo change the lock files as the port's version needs it.
pub fn update_lock_files(port: &Port<'_>) -> Result<()> {
    for (workspace, whose) in WORKSPACES {
        let dir = port.checkout().join(workspace);
        if !dir.join(LOCK).is_file() {
            continue;
        }
        let updated = capture(cargo(&dir).args(["update", "--workspace", "--quiet"]))?;
        if !updated.ok {
            bail!(
                "{whose} {LOCK} in {} cannot be updated. Cargo said: {}",
                dir.display(),
                updated.stderr
            );
        }
    }
    Ok(())
}

/// What has been changed in the copy, as a patch to what is here.
pub fn changes(port: &Port<'_>) -> Result<String> {
    let git = Git::open(&port.checkout())?;
    git.run(&["add", "--all"])?;
    let mut diff = git.command();
    diff.args([
        "diff",
        "--cached",
        "--full-index",
        "--no-renames",
        "--no-color",
        "--no-ext-diff",
        "--diff-algorithm=histogram",
        "refs/port^",
        "--",
        ".",
        ":(exclude,glob)**/Cargo.lock",
    ]);
    for derived in DERIVED {
        diff.arg(format!(":(exclude){derived}"));
    }
    let text = git.run_command(&mut diff)?;
    Ok(match text.is_empty() {
        true => text,
        false => text + "\n",
    })
}

/// Commits what is in the copy, which has been saved.
pub fn commit(port: &Port<'_>) -> Result<()> {
    let git = Git::open(&port.checkout())?;
    git.run(&["add", "--all"])?;
    git.run(&["commit", "--quiet", "--amend", "--allow-empty", "--no-edit"])?;
    git.run(&["update-ref", "refs/port", "HEAD"])?;
    Ok(())
}

fn refuse_unsaved(git: &Git) -> Result<()> {
    if git.head().is_err() {
        return Ok(());
    }
    let changes = git.changes(false)?.into_iter().map(|(_, file)| file);
    let unsaved: Vec<String> = changes.filter(|file| !file.ends_with(LOCK)).collect();
    if !unsaved.is_empty() {
        bail!(
            "{} has work that is not in ports/: `--save` writes it there, and `git -C {0} checkout \
             .` discards it:\n  {}",
            git.work_tree.display(),
            shorten(&unsaved).join("\n  ")
        );
    }
    Ok(())
}

/// Makes both commits in `to`.
fn stage(port: &Port<'_>, ported: &Ported, to: &Path) -> Result<Git> {
    let root = port.root;
    let here = Git {
        work_tree: root.path.clone(),
    };
    let files = here
        .names(&[
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .context("a port is made of the files that git knows of")?;
    let [old, new] = [root.upstream(), port.upstream().upstream()].map(|dir| versions(&dir));
    let (old, new) = (old?, new?);
    for file in files {
        let is_derived = DERIVED.iter().any(|dir| {
            let below = Path::new(&file).strip_prefix(dir);
            // Covers stay, and so does what says what is there.
            below
                .is_ok_and(|below| *dir != "patches" || below.extension() == Some("patch".as_ref()))
        });
        let from = root.path.join(&file);
        if is_derived || !from.exists() {
            continue;
        }
        let to = to.join(&file);
        copy(&from, &to)?;
        if WORKSPACES
            .iter()
            .any(|w| Path::new(w.0).join("Cargo.toml") == Path::new(&file))
        {
            let manifest = fs::read_to_string(&from)?;
            let changed = change_versions(&manifest, |name, version| {
                let same = old.get(name).is_some_and(|old| old == version);
                Ok(new.get(name).filter(|_| same).cloned())
            });
            let changed = changed.with_context(|| format!("in {}", from.display()))?;
            fs::write(&to, changed)?;
        }
    }
    for patch in &ported.patches {
        write_if_changed(&to.join("patches").join(&patch.name), &patch.bytes)?;
    }
    let upstream = to.join("vendor/upstream");
    for file in files_below(&port.upstream().upstream())? {
        copy(
            &port.upstream().upstream().join(&file),
            &upstream.join(&file),
        )?;
    }
    write_if_changed(&upstream.join("pin.toml"), ported.pin.text().as_bytes())?;

    let git = Git::init(to)?;
    if here.dir().is_dir() {
        git.borrow_objects(&here)?;
    }
    git.run(&["add", "--all", "--force", "."])?;
    git.run(&["commit", "--quiet", "--message", "This repository"])?;
    apply(port, &git, &ported.pin)?;
    git.run(&[
        "commit",
        "--quiet",
        "--allow-empty",
        "--message",
        "The port",
    ])?;
    Ok(git)
}

fn apply(port: &Port<'_>, git: &Git, pin: &Pin) -> Result<()> {
    let patch = port.repository_patch();
    if !patch.is_file() {
        return Ok(());
    }
    let mut apply = git.command();
    apply.args(["apply", "--index", "--3way", "--whitespace=nowarn"]);
    let applied = capture(apply.arg(&patch))?;
    if !applied.ok {
        bail!(
            "{} does not apply to this repository for Wasmtime {}: {}",
            patch.display(),
            pin.version,
            applied.stderr
        );
    }
    Ok(())
}

/// Leaves a file as it is that has the same contents.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write_if_changed(to, &bytes)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    Ok(())
}
