//! Work in `vendor/wasmtime` that is in neither patches/ nor overlay/.

use crate::foreign;
use crate::git::Git;
use crate::overlay;
use crate::root::Root;
use crate::series::{self, Patch};
use crate::stamp::Stamp;
use crate::text::shorten;
use anyhow::{Result, bail};

/// Fails in the middle of a rebase, when HEAD is not the whole series.
pub fn refuse_halfway(git: &Git) -> Result<()> {
    for state in ["rebase-merge", "rebase-apply"] {
        if git.dir().join(state).exists() {
            bail!(
                "a rebase or `git am` is going on in vendor/wasmtime: finish it there, or end it \
                 by `git -C vendor/wasmtime rebase --abort`"
            );
        }
    }
    Ok(())
}

/// Fails if `vendor/wasmtime` holds work that is in neither patches/ nor overlay/.
pub fn refuse(root: &Root, git: &Git, stamp: &Stamp, patches: &[Patch]) -> Result<()> {
    refuse_halfway(git)?;
    let mut local: Vec<String> = git
        .changes(false)?
        .iter()
        .map(|(state, file)| format!("{} {file}", describe(state)))
        .collect();
    for file in overlay::edited(root, git, stamp.copies)? {
        local.push(format!("edited: {file}"));
    }
    let exported = series::export(git, &git.root_commit()?, "HEAD", &[])?;
    let ways_out = match foreign::change(stamp, patches, &exported) {
        None => "`cargo xtask patches save` writes committed work to patches/; \
                 `cargo xtask vendor --force` replaces it, and keeps it as a ref"
            .to_string(),
        Some(change) => format!(
            "patches/ has changed too: {change}. {}",
            foreign::rebase(stamp)
        ),
    };
    if !local.is_empty() {
        bail!(
            "vendor/wasmtime has local edits, and must change since its inputs did:\n  {}\n\
             Commit them there. Then: {ways_out}",
            shorten(&local).join("\n  ")
        );
    }
    if git.head()? != stamp.made.head
        && let Some(difference) = series::difference(patches, &exported)
    {
        bail!(
            "vendor/wasmtime has commits that are not in patches/, and must change since its \
             inputs did: {difference}. {ways_out}"
        );
    }
    Ok(())
}

/// Makes room for an update by keeping what it would lose. Returns the new files among
/// that, for the update to remove.
pub fn replace(root: &Root, git: &Git, stamp: &Stamp) -> Result<Vec<String>> {
    let changes = git.changes(false)?;
    let laid_out = || -> Result<bool> {
        let exported = series::export(git, &git.root_commit()?, "HEAD", &[])?;
        let exported = exported.iter().map(|patch| (&patch.name, patch.hash()));
        Ok(exported.eq(stamp.made.patches.iter().map(|(n, h)| (n, h.clone()))))
    };
    let mut kept = Vec::new();
    if !changes.is_empty()
        || !overlay::edited(root, git, stamp.copies)?.is_empty()
        || git.head()? != stamp.made.head && !laid_out().unwrap_or(false)
    {
        kept.push(keep(root, git, stamp)?);
    }
    // No rebase may be in progress once the files are replaced.
    for (state, quit) in [("rebase-merge", "rebase"), ("rebase-apply", "am")] {
        let state = git.dir().join(state);
        if state.exists() {
            if let Ok(before) = std::fs::read_to_string(state.join("orig-head")) {
                kept.push(name(git, before.trim())?);
            }
            git.run(&[quit, "--quit"])?;
        }
    }
    for kept in kept {
        eprintln!(
            "vendor: what is in vendor/wasmtime is kept as {kept} there; to put its commits on \
             top of the new ones: {}",
            foreign::cherry_pick(stamp, &kept)
        );
    }
    let new = changes.into_iter().filter(|(state, _)| state == "??");
    // A nested repository is left alone.
    Ok(new
        .map(|c| c.1)
        .filter(|file| !file.ends_with('/'))
        .collect())
}

/// Called before an interrupted update to `next` is completed. Keeps everything there if a
/// file is neither as before nor as in `next`.
pub fn keep_later_edits(root: &Root, git: &Git, stamp: &Stamp, next: &str) -> Result<()> {
    let (mut edited, new) = git.differing("HEAD")?;
    let (next_edited, next_new) = git.differing(next)?;
    edited.extend(new.difference(&next_new).cloned());
    edited.retain(|file| next_edited.contains(file) || next_new.contains(file));
    if !edited.is_empty() {
        let kept = keep(root, git, stamp)?;
        eprintln!(
            "vendor: what was edited since is kept as {kept} there:\n  {}",
            shorten(&edited.into_iter().collect::<Vec<_>>()).join("\n  ")
        );
    }
    Ok(())
}

/// Keeps HEAD's commits under a new ref, with uncommitted changes as one more commit on
/// top. Returns the ref's name.
fn keep(root: &Root, git: &Git, stamp: &Stamp) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let index = scratch.path().join("index");
    let with_index = |args: &[&str]| -> Result<String> {
        git.run_command(git.command().env("GIT_INDEX_FILE", &index).args(args))
    };
    with_index(&["read-tree", "HEAD"])?;
    with_index(&["add", "--all"])?;
    let mut ignored = overlay::edited(root, git, stamp.copies)?;
    ignored.extend(git.changes(false)?.into_iter().map(|(_, file)| file));
    for file in ignored {
        let there = std::fs::symlink_metadata(git.work_tree.join(&file));
        if there.is_ok_and(|there| !there.is_dir()) {
            with_index(&["--literal-pathspecs", "add", "--force", "--", &file])?;
        }
    }
    let tree = with_index(&["write-tree"])?;
    let head = git.head()?;
    let commit = match tree == git.tree_of(&head)? {
        true => head,
        false => git.run(&["commit-tree", &tree, "-p", "HEAD", "-m", "Uncommitted"])?,
    };
    name(git, &commit)
}

/// The ref that keeps `commit`: a new one, unless it already has one.
fn name(git: &Git, commit: &str) -> Result<String> {
    let prefix = "refs/xtask/replaced-";
    let format = "--format=%(objectname) %(refname)";
    let mut last = 0;
    for line in git
        .run(&["for-each-ref", format, &format!("{prefix}*")])?
        .lines()
    {
        if let Some((object, name)) = line.split_once(' ') {
            if object == commit {
                return Ok(name.to_string());
            }
            let number = name.strip_prefix(prefix).and_then(|n| n.parse().ok());
            last = last.max(number.unwrap_or(0));
        }
    }
    let name = format!("{prefix}{}", last + 1);
    git.run(&["update-ref", &name, commit])?;
    Ok(name)
}

/// What a state in [`Git::changes`] means.
pub fn describe(state: &str) -> &'static str {
    match state.as_bytes() {
        b"??" => "new:",
        s if s.contains(&b'D') => "deleted:",
        s if s.contains(&b'A') => "added:",
        _ => "edited:",
    }
}
