//! Work in `vendor/wasmtime` that is in neither patches/ nor overlay/.

use crate::git::Git;
use crate::overlay;
use crate::root::Root;
use crate::series::{self, Patch};
use crate::stamp::Stamp;
use anyhow::{Result, bail};

/// An error in the midst of a rebase, where HEAD is not the whole series.
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

/// An error if `vendor/wasmtime` holds work that is in neither patches/ nor
/// overlay/.
pub fn refuse(root: &Root, git: &Git, stamp: &Stamp, patches: &[Patch]) -> Result<()> {
    let ways_out = "`cargo xtask patches save` writes committed work to patches/; \
                    `cargo xtask vendor --force` replaces it, and keeps it as refs/xtask/replaced";
    refuse_halfway(git)?;
    let mut local: Vec<String> = git
        .changes(false)?
        .iter()
        .map(|(state, file)| format!("{} {file}", describe(state)))
        .collect();
    for file in overlay::edited(root, git, stamp.copies)? {
        local.push(format!("edited: {file}"));
    }
    if !local.is_empty() {
        bail!(
            "vendor/wasmtime has local edits, and must change since its inputs did:\n  {}\n\
             Commit them there, then {ways_out}",
            shorten(&local).join("\n  ")
        );
    }
    if git.head()? != stamp.head {
        let exported = series::export(git, &git.root_commit()?, "HEAD", &[])?;
        if let Some(difference) = series::difference(patches, &exported) {
            bail!(
                "vendor/wasmtime has commits that are not in patches/, and must change since its \
                 inputs did: {difference}. {ways_out}"
            );
        }
    }
    Ok(())
}

/// Makes room: commits all that is there, outside of any branch, so that it can be found
/// again.
pub fn replace(root: &Root, git: &Git) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let index = scratch.path().join("index");
    let with_index = |args: &[&str]| -> Result<String> {
        git.run_command(git.command().env("GIT_INDEX_FILE", &index).args(args))
    };
    with_index(&["read-tree", "HEAD"])?;
    with_index(&["add", "--all"])?;
    for file in overlay::files(root)? {
        if git.work_tree.join(&file).exists() {
            with_index(&["add", "--force", "--", &file])?;
        }
    }
    let tree = with_index(&["write-tree"])?;
    let commit = git.run(&["commit-tree", &tree, "-p", "HEAD", "-m", "Replaced"])?;
    git.run(&["update-ref", "refs/xtask/replaced", &commit])?;
    eprintln!("vendor: what is in vendor/wasmtime is kept as refs/xtask/replaced there");
    // Nothing may be going on there once the files are replaced.
    if git.dir().join("rebase-merge").exists() {
        git.run(&["rebase", "--quit"])?;
    }
    if git.dir().join("rebase-apply").exists() {
        git.run(&["am", "--quit"])?;
    }
    Ok(())
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

fn shorten(lines: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = lines.iter().take(12).cloned().collect();
    if lines.len() > shown.len() {
        shown.push(format!("and {} more", lines.len() - shown.len()));
    }
    shown
}
