//! `overlay/`: the fork's new files, linked into `vendor/wasmtime`, so that an edit here is
//! what gets compiled.
//!
//! The links are not part of vendor/wasmtime's history: its repository is told to ignore
//! them. If they were committed, they would have to come before the patches, and every new
//! overlay file would rewrite all the commits after it.
//!
//! On a file system without symbolic links they are copies, renewed on each run. In that
//! case, edit the files in overlay/.

use crate::files::{files_below, write_if_changed};
use crate::git::Git;
use crate::root::Root;
use crate::text::shorten;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// If set, makes xtask copy as if there were no symbolic links.
const NO_LINKS: &str = "XTASK_NO_SYMLINKS";

/// The overlay's files, as paths in upstream's repository.
pub fn files(root: &Root) -> Result<BTreeSet<String>> {
    let dir = root.overlay();
    if !dir.is_dir() {
        return Ok(BTreeSet::new());
    }
    Ok(files_below(&dir)?
        .into_iter()
        // Editors leave such files beside the one being edited.
        .filter(|file| {
            let name = file.rsplit('/').next().unwrap_or(file);
            !name.starts_with('.') && !name.ends_with('~')
        })
        .collect())
}

/// What is at an overlay file's place in the tree.
#[derive(PartialEq)]
enum Place {
    Linked,
    Missing,
    OtherLink,
    SameFile,
    /// A file with other contents, and which side is newer.
    OtherFile {
        overlay_is_newer: bool,
    },
}

fn inspect(root: &Root, tree: &Path, file: &str) -> Result<Place> {
    let at = tree.join(file);
    let meta = match fs::symlink_metadata(&at) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Place::Missing);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", at.display()));
        }
    };
    if meta.is_symlink() {
        return Ok(match fs::read_link(&at)? == link_target(file) {
            true => Place::Linked,
            false => Place::OtherLink,
        });
    }
    if meta.is_dir() {
        bail!("overlay/{file} is a file, and {} a directory", at.display());
    }
    let overlay = root.overlay().join(file);
    if fs::read(&at)? == fs::read(&overlay)? {
        return Ok(Place::SameFile);
    }
    Ok(Place::OtherFile {
        overlay_is_newer: fs::metadata(&overlay)?.modified()? > meta.modified()?,
    })
}

/// The path from a file's place in `vendor/wasmtime` to the file in `overlay`.
fn link_target(file: &str) -> PathBuf {
    let up = file.matches('/').count() + 2;
    Path::new(&"../".repeat(up)).join("overlay").join(file)
}

/// Overlay files that were edited in `vendor/wasmtime` but not in `overlay/`: an editor can
/// replace a link with a file.
pub fn edited(root: &Root, git: &Git, copies: bool) -> Result<Vec<String>> {
    let mut edited = Vec::new();
    for file in files(root)? {
        if let Place::OtherFile { overlay_is_newer } = inspect(root, &git.work_tree, &file)?
            && !(copies && overlay_is_newer)
            && !git.is_tracked(&file)?
        {
            edited.push(file);
        }
    }
    Ok(edited)
}

/// Links files that are not linked, and removes links to files that are gone. `copies`
/// tells whether copies are used instead of links, and is updated.
pub fn sync(root: &Root, git: &Git, copies: &mut bool, force: bool) -> Result<()> {
    let wanted = files(root)?;
    let there = listed(git)?;
    refuse_upstream_paths(git, wanted.difference(&there))?;
    if !force {
        refuse_edited(&edited(root, git, *copies)?)?;
    }
    for file in &wanted {
        match inspect(root, &git.work_tree, file)? {
            Place::Linked => {}
            Place::SameFile if *copies => {}
            _ => place(root, git, file, copies)?,
        }
    }
    for file in there.difference(&wanted) {
        let at = git.work_tree.join(file);
        // A file in place of a link is somebody's work. It stays, and shows up as an
        // untracked file.
        if *copies || fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_symlink()) {
            remove(&at)?;
        }
    }
    list(git, &wanted)
}

/// Reports problems with the links without fixing them.
pub fn problems(root: &Root, git: &Git, copies: bool) -> Result<Vec<String>> {
    let wanted = files(root)?;
    let there = listed(git)?;
    let mut problems = Vec::new();
    for file in &wanted {
        let problem = match inspect(root, &git.work_tree, file)? {
            Place::Linked => continue,
            Place::SameFile if copies => continue,
            Place::Missing => "is not linked into vendor/wasmtime",
            Place::OtherLink => "is linked to something else in vendor/wasmtime",
            Place::SameFile => "is a file, not a link, in vendor/wasmtime",
            Place::OtherFile { .. } => "is another file in vendor/wasmtime",
        };
        problems.push(format!("overlay/{file} {problem}"));
    }
    for file in there.difference(&wanted) {
        problems.push(format!("vendor/wasmtime/{file} is no longer in overlay/"));
    }
    Ok(problems)
}

/// Refuses overlay files that upstream has too, or that are in the way of one.
pub fn refuse_upstream_paths<'a>(git: &Git, files: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut files = files.peekable();
    if files.peek().is_none() {
        return Ok(());
    }
    let tracked: BTreeSet<String> = git.names(&["ls-files", "-z"])?.into_iter().collect();
    let mut refused = Vec::new();
    for file in files {
        let below = format!("{file}/");
        let mut parents = Path::new(file).ancestors().skip(1);
        if tracked.contains(file) {
            refused.push(format!("overlay/{file} exists in upstream's tree"));
        } else if tracked
            .range(below.clone()..)
            .next()
            .is_some_and(|f| f.starts_with(&below))
        {
            refused.push(format!("overlay/{file} is a directory in upstream's tree"));
        } else if let Some(parent) = parents.find_map(|p| tracked.get(p.to_str()?)) {
            refused.push(format!(
                "overlay/{file} would be below {parent}, a file in upstream's tree"
            ));
        }
    }
    if !refused.is_empty() {
        bail!(
            "{}: overlay/ is for new files, and an edit to upstream's file is a patch (see \
             vendor/README.md)",
            shorten(&refused).join(", ")
        );
    }
    Ok(())
}

fn refuse_edited(edited: &[String]) -> Result<()> {
    if edited.is_empty() {
        return Ok(());
    }
    bail!(
        "overlay files were edited in vendor/wasmtime, where a file has taken the place of the \
         link:\n  {}\n`cargo xtask patches save` takes the edits over into overlay/; \
         `cargo xtask vendor --force` drops them",
        edited.join("\n  ")
    )
}

/// Replaces the overlay's file with the one in vendor/wasmtime, and links it.
pub fn take_over(root: &Root, git: &Git, file: &str, copies: &mut bool) -> Result<()> {
    let from = git.work_tree.join(file);
    let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    write_if_changed(&root.overlay().join(file), &bytes)?;
    place(root, git, file, copies)
}

fn place(root: &Root, git: &Git, file: &str, copies: &mut bool) -> Result<()> {
    let at = git.work_tree.join(file);
    let place = || -> Result<bool> {
        remove(&at)?;
        if let Some(dir) = at.parent() {
            fs::create_dir_all(dir)?;
        }
        if std::env::var_os(NO_LINKS).is_none() {
            match symlink(&link_target(file), &at) {
                Ok(()) => return Ok(false),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Unsupported | ErrorKind::PermissionDenied
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        fs::copy(root.overlay().join(file), &at)?;
        Ok(true)
    };
    let copied = place().with_context(|| format!("cannot link {}", at.display()))?;
    if copied && !*copies {
        eprintln!(
            "vendor: no symbolic links here: overlay/ is copied; edit overlay/, \
             not vendor/wasmtime, and run `cargo xtask vendor` before a build"
        );
        *copies = true;
    }
    Ok(())
}

/// Removes a file, if it exists.
pub fn remove(at: &Path) -> Result<()> {
    match fs::remove_file(at) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(error).with_context(|| format!("cannot remove {}", at.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn symlink(target: &Path, at: &Path) -> std::io::Result<()> {
    // ERROR_PRIVILEGE_NOT_HELD has no error kind of its own.
    std::os::windows::fs::symlink_file(target, at)
        .map_err(|error| std::io::Error::new(ErrorKind::Unsupported, error))
}

fn exclude(git: &Git) -> PathBuf {
    git.dir().join("info/exclude")
}

/// The overlay files that were linked last, which git ignores.
fn listed(git: &Git) -> Result<BTreeSet<String>> {
    match fs::read_to_string(exclude(git)) {
        Ok(text) => Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix('/'))
            .map(str::to_string)
            .collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).context("cannot read what vendor/wasmtime ignores"),
    }
}

fn list(git: &Git, files: &BTreeSet<String>) -> Result<()> {
    let mut text = String::from("# Links to overlay/, kept by `cargo xtask vendor`.\n");
    for file in files {
        text.push_str(&format!("/{file}\n"));
    }
    write_if_changed(&exclude(git), text.as_bytes())
}
