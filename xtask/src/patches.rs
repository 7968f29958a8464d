//! Writes patches/ and overlay/ back from `vendor/wasmtime`, and compares them with it.

pub mod build;
pub mod listings;
mod rules;
mod submissions;
pub mod upstream_tests;

use crate::files::Batch;
use crate::git::{self, Git};
use crate::overlay;
use crate::pin::Pin;
use crate::root::{Root, explain_full_disk};
use crate::series::{self, Patch};
use crate::stamp::{Made, Stamp};
use crate::summary::summarize;
use crate::{foreign, local_work, vendor};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

pub fn save(root: &Root, force: bool) -> Result<()> {
    git::require()?;
    let _lock = vendor::lock(root)?;
    save_locked(root, force).map_err(explain_full_disk)
}

fn save_locked(root: &Root, force: bool) -> Result<()> {
    let pin = Pin::read(root)?;
    let Some((git, mut stamp)) = vendor::completed(root)? else {
        bail!("there is no vendor/wasmtime to save from: `cargo xtask vendor` makes it");
    };
    local_work::refuse_halfway(&git)?;
    let base = git.root_commit()?;
    let base_tree = git.tree_of(&base)?;
    if base_tree != pin.base {
        bail!(
            "the first commit in vendor/wasmtime is tree {base_tree}, and {} is pinned: \
             it is not the pinned Wasmtime",
            pin.base
        );
    }
    let new = NewFiles::find(&git, &base)?;
    let all = new.all();
    refuse_outside_of_code(&all)?;
    for file in &all {
        if root.overlay().join(file).exists() {
            bail!(
                "vendor/wasmtime/{file} is new there, and overlay/{file} exists too: \
                 remove one of them"
            );
        }
    }

    let patches = series::export(&git, &base, "HEAD", &new.committed)?;
    rules::refuse_bad(&patches)?;
    if !force && let Some(change) = foreign::change(&stamp, &series::read(root)?, &patches) {
        bail!(
            "{change}, and saving would undo that: it has come by `git pull`, or by hand. {}. \
             `cargo xtask patches save --force` undoes it",
            foreign::rebase(&stamp)
        );
    }
    let applied = apply_again(root, &git, &base, &patches)?;

    // Files are written from here on.
    let edited = overlay::edited(root, &git, stamp.copies)?;
    for file in new.staged.iter() {
        git.run(&["rm", "--quiet", "--cached", "--", file])?;
    }
    if !new.committed.is_empty() {
        // The new files stay in the work tree, but are no longer tracked.
        git.run(&["reset", "--quiet", "--mixed", &applied])?;
    }
    for file in all.iter().chain(&edited) {
        overlay::take_over(root, &git, file, &mut stamp.copies)?;
        println!("overlay/{file}");
    }
    overlay::sync(root, &git, &mut stamp.copies, false)?;
    let pin = Pin {
        patched: git.tree_of("HEAD")?,
        ..pin
    };
    write(root, &patches, &pin)?;
    Stamp {
        made: Made::from(root, &git, &pin, &patches)?,
        ..stamp
    }
    .write(&git)?;
    println!("{} patches, patched tree {}", patches.len(), pin.patched);
    Ok(())
}

pub fn check(root: &Root) -> Result<()> {
    vendor::ensure(root)?;
    let _lock = vendor::lock(root)?;
    let patches = series::read(root)?;
    rules::refuse_bad(&patches)?;
    let pin = Pin::read(root)?;
    let (git, _) = vendor::existing(root)?.context("vendor/wasmtime has gone")?;
    overlay::refuse_upstream_paths(&git, overlay::files(root)?.iter())?;

    let changes = git.changes(false)?;
    if let Some((_, file)) = changes.first() {
        bail!(
            "vendor/wasmtime/{file} is not committed ({} such files): commit it there, \
             then `cargo xtask patches save`",
            changes.len()
        );
    }
    let exported = series::export(&git, &git.root_commit()?, "HEAD", &[])?;
    if let Some(difference) = series::difference(&patches, &exported) {
        bail!("{difference}: `cargo xtask patches save` writes vendor/wasmtime's commits");
    }
    let patched = git.tree_of("HEAD")?;
    if patched != pin.patched {
        bail!(
            "vendor/wasmtime is tree {patched}, and {} is pinned: `cargo xtask patches save` \
             pins it",
            pin.patched
        );
    }
    let submissions = submissions::split(root, &patches)?;
    submissions::check(&git, &patched, &submissions)?;
    println!(
        "patches/ holds {} patches, as vendor/wasmtime exports them",
        patches.len()
    );
    Ok(())
}

pub fn list(root: &Root) -> Result<()> {
    let patches = series::read(root)?;
    let submissions = submissions::split(root, &patches)?;
    let submission_of: BTreeMap<&str, &str> = submissions
        .iter()
        .flat_map(|s| s.patches.iter().map(|p| (&*p.name, &*s.name)))
        .collect();
    for patch in &patches {
        let summary = summarize(&patch.text());
        let number = patch.name.split('-').next().unwrap_or_default();
        let submission = submission_of.get(&*patch.name);
        println!(
            "{number}  {}  [{}]{}",
            summary.subject,
            summary.status.as_deref().unwrap_or("no status"),
            submission.map_or_else(String::new, |name| format!("  {name}"))
        );
        for file in &summary.files {
            println!(
                "        +{:<4} -{:<4} {}",
                file.added, file.removed, file.path
            );
        }
    }
    Ok(())
}

/// Files in vendor/wasmtime that neither upstream nor overlay/ has.
struct NewFiles {
    untracked: Vec<String>,
    staged: Vec<String>,
    committed: Vec<String>,
}

impl NewFiles {
    /// Fails if there are any other uncommitted changes.
    fn find(git: &Git, base: &str) -> Result<NewFiles> {
        let mut new = NewFiles {
            untracked: Vec::new(),
            staged: Vec::new(),
            committed: git.names(&[
                "diff",
                "--name-only",
                "-z",
                "--no-renames",
                "--diff-filter=A",
                base,
                "HEAD",
            ])?,
        };
        let mut edited = Vec::new();
        for (state, file) in git.changes(false)? {
            match state.as_str() {
                "??" => new.untracked.push(file),
                "A " | "AM" => new.staged.push(file),
                // Still being edited: the work tree's version counts.
                _ if new.committed.contains(&file) && !state.contains('D') => {}
                _ => edited.push(file),
            }
        }
        if !edited.is_empty() {
            bail!(
                "uncommitted edits in vendor/wasmtime:\n  {}\n\
                 A new subject: git -C vendor/wasmtime commit --all\n\
                 An edit to a patch: git -C vendor/wasmtime commit --all --fixup COMMIT, then \
                 git -C vendor/wasmtime rebase --interactive --autosquash --root",
                edited.join("\n  ")
            );
        }
        Ok(new)
    }

    fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = [&self.untracked, &self.staged, &self.committed]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

fn refuse_outside_of_code(files: &[String]) -> Result<()> {
    let dirs = ["crates/", "cranelift/", "pulley/", "tests/", "winch/"];
    for file in files {
        if !dirs.iter().any(|dir| file.starts_with(dir)) {
            bail!(
                "vendor/wasmtime/{file} is new, but not below {}: it would become part of \
                 overlay/; remove it, or move it to where it belongs",
                dirs.join(", ")
            );
        }
    }
    Ok(())
}

/// Applies the series to upstream's files. Fails unless that produces the same files and
/// exports to the same bytes. Returns the last commit, which is then also in `git`.
fn apply_again(root: &Root, git: &Git, base: &str, patches: &[Patch]) -> Result<String> {
    let scratch = vendor::scratch::create(root)?;
    let copy = Git::init(scratch.path())?;
    copy.borrow_objects(git)?;
    copy.run(&["reset", "--quiet", "--hard", base])?;
    series::apply(&copy, patches, &root.patches())?;
    let again = series::export(&copy, base, "HEAD", &[])?;
    if let Some(difference) = series::difference(&again, patches) {
        bail!(
            "{difference} once it has been applied: rewrite that commit's message \
             (git drops or joins some of its lines)"
        );
    }
    let without_new: Vec<String> = git.names(&[
        "diff",
        "--name-only",
        "-z",
        "--no-renames",
        "--diff-filter=a",
        &copy_tree(&copy, git)?,
        "HEAD",
    ])?;
    if !without_new.is_empty() {
        bail!(
            "the exported patches do not make the files that are committed in vendor/wasmtime: {}",
            without_new.join(", ")
        );
    }
    copy.head()
}

/// Copies the commits of `copy` into `git`, and returns the last one.
fn copy_tree(copy: &Git, git: &Git) -> Result<String> {
    git.run_command(
        git.command()
            .args(["fetch", "--quiet", "--no-tags"])
            .arg(copy.dir())
            .arg("+HEAD:refs/xtask/saved"),
    )?;
    Ok("refs/xtask/saved".to_string())
}

/// Replaces the series and the pin.
fn write(root: &Root, patches: &[Patch], pin: &Pin) -> Result<()> {
    let mut batch = Batch::default();
    for patch in patches {
        batch.write(&root.patches().join(&patch.name), &patch.bytes)?;
    }
    batch.write(&Pin::path(root), pin.text().as_bytes())?;
    for old in series::read(root)? {
        if !patches.iter().any(|patch| patch.name == old.name) {
            batch.remove(root.patches().join(&old.name));
        }
    }
    batch.commit()
}
