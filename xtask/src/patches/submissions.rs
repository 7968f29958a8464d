//! How the series is split for those who review it: each file in `patches/series/` is the cover
//! text of a submission, and lists the subjects of its patches.

use crate::git::Git;
use crate::root::{Root, capture};
use crate::series::Patch;
use crate::summary::summarize;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;

/// What the list of subjects stands below.
const HEADING: &str = "## Patches";

pub struct Submission<'a> {
    /// Its file's name without `.md`: `1-loop-checks`.
    pub name: String,
    pub patches: Vec<&'a Patch>,
}

/// The submissions, in order. None if there is no `patches/series/`. Fails unless each patch is
/// in exactly one.
pub fn split<'a>(root: &Root, patches: &'a [Patch]) -> Result<Vec<Submission<'a>>> {
    let dir = root.patches().join("series");
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".md").map(str::to_string));
    }
    // `10-pieces` comes after `9-components`.
    names.sort_by_key(|name| {
        let number = name.split('-').next().and_then(|n| n.parse::<u32>().ok());
        (number, name.clone())
    });

    let mut left: BTreeMap<String, &Patch> = patches
        .iter()
        .map(|patch| (summarize(&patch.text()).subject, patch))
        .collect();
    let mut submissions = Vec::new();
    for name in names {
        let path = dir.join(format!("{name}.md"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut patches = Vec::new();
        for subject in subjects(&text) {
            let Some(patch) = left.remove(subject) else {
                bail!(
                    "patches/series/{name}.md lists `{subject}`, which is no patch's subject or \
                     has been listed before: `cargo xtask patches list` shows the subjects"
                );
            };
            patches.push(patch);
        }
        if patches.is_empty() {
            bail!("patches/series/{name}.md lists no patch below `{HEADING}`");
        }
        submissions.push(Submission { name, patches });
    }
    if let Some((subject, patch)) = left.first_key_value() {
        bail!(
            "{} is in no submission: add `- {subject}` below `{HEADING}` in a file in \
             patches/series/",
            patch.name
        );
    }
    Ok(submissions)
}

fn subjects(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .skip_while(|line| *line != HEADING)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("- "))
}

/// Fails unless the submissions apply to upstream's files one after another, and together make
/// the files of the tree `patched`.
pub fn check(git: &Git, patched: &str, submissions: &[Submission]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let copy = Git::init(scratch.path())?;
    copy.borrow_objects(git)?;
    let trees = trees(&copy, &git.root_commit()?, submissions)?;
    match trees.last() {
        Some(last) if last != patched => bail!(
            "in the order of patches/series/, the patches make tree {last}, and {patched} in \
             their own order"
        ),
        _ => Ok(()),
    }
}

/// The tree of files after each submission, written to `git`, whose own index stays as it is.
pub fn trees(git: &Git, base: &str, submissions: &[Submission]) -> Result<Vec<String>> {
    let scratch = tempfile::tempdir()?;
    let with_index = || {
        let mut command = git.command();
        command.env("GIT_INDEX_FILE", scratch.path().join("index"));
        command
    };
    git.run_command(with_index().args(["read-tree", base]))?;
    let mut trees = Vec::new();
    for submission in submissions {
        for patch in &submission.patches {
            let file = scratch.path().join(&patch.name);
            fs::write(&file, &patch.bytes)?;
            let applied = capture(
                with_index()
                    .args(["apply", "--cached", "--whitespace=nowarn"])
                    .arg(&file),
            )?;
            if !applied.ok {
                bail!(
                    "{} does not apply in submission {}, to upstream's files with the patches \
                     that are listed before it:\n  {}\nMove it behind those that it needs",
                    patch.name,
                    submission.name,
                    applied.stderr.replace('\n', "\n  ")
                );
            }
        }
        trees.push(git.run_command(with_index().arg("write-tree"))?);
    }
    Ok(trees)
}
