//! The series on another version of Wasmtime.
//!
//! Each patch is merged, file by file: what it makes of the pinned version's file is known, and so
//! what it changes. Where upstream has changed the same lines, upstream's stay. Then the port's
//! diff for that patch is applied. So a port says only what a person has to decide, and a conflict
//! that it does not know is an error.

use super::change::{Change, Conflicts};
use super::place::Port;
use crate::git::Git;
use crate::pin::Pin;
use crate::root::capture;
use crate::series::{self, Patch};
use crate::upstream::Upstream;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;
use tempfile::TempDir;

/// The series for the port's version, and that version's files.
pub struct Ported {
    pub pin: Pin,
    pub patches: Vec<Patch>,
    /// What cannot be merged and is in no file of the port, patch by patch.
    pub unknown: Vec<String>,
}

/// Applies the series to the port's version.
pub fn apply(port: &Port<'_>) -> Result<Ported> {
    let upstream = Upstream::fetch(&port.upstream())?;
    let scratch = tempfile::Builder::new()
        .tempdir_in(&port.work)
        .with_context(|| format!("cannot create a directory in {}", port.work.display()))?;
    upstream.lay_out(scratch.path())?;
    let git = Git::init(scratch.path())?;
    let here = Git::open(&port.root.wasmtime())?;
    git.borrow_objects(&here)?;
    git.run(&["add", "--all", "--force", "."])?;
    let subject = format!("Wasmtime {}", upstream.version);
    git.run(&["commit", "--quiet", "--message", &subject])?;
    let base = git.head()?;
    let pin = Pin {
        base: git.tree_of(&base)?,
        patched: String::new(),
        version: upstream.version,
        commit: upstream.commit,
    };
    refuse_other_files(port, &pin)?;

    let mut changes = read_changes(port)?;
    let mut unknown = Vec::new();
    for (patch, commit) in patches(port, &here)? {
        let change = changes.remove(&patch.name).unwrap_or_default();
        if change.reason.is_empty() && change != Change::default() {
            bail!(
                "{} does not say in its first lines what is different in Wasmtime {}",
                port.changes().join(&patch.name).display(),
                port.major
            );
        }
        let merger = Merger::at(&git, "HEAD")?;
        let conflicts = merger.merge(&here, &commit)?;
        if conflicts != change.conflicts {
            unknown.push(format!("{}:{}", patch.name, list(&conflicts)));
        }
        merger.apply(&change.diff).with_context(|| {
            let file = port.changes().join(&patch.name);
            format!("{} does not apply", file.display())
        })?;
        merger.commit(&here, &commit)?;
    }
    if let Some(name) = changes.keys().next() {
        bail!(
            "{} changes a patch that is not in patches/: rename it as that was, or remove it",
            port.changes().join(name).display()
        );
    }
    Ok(Ported {
        patches: series::export(&git, &base, "HEAD", &[])?,
        pin: Pin {
            patched: git.tree_of("HEAD")?,
            ..pin
        },
        unknown,
    })
}

/// The port is pinned to a version's files. The tree with the patches is not pinned: it changes
/// with the series.
fn refuse_other_files(port: &Port<'_>, laid_out: &Pin) -> Result<()> {
    let upstream = port.upstream();
    if !Pin::path(&upstream).is_file() {
        return Ok(());
    }
    let pinned = Pin::read(&upstream)?;
    if pinned != *laid_out {
        bail!(
            "Wasmtime {} lays out as tree {}, and {} of {} is pinned in {}",
            laid_out.version,
            laid_out.base,
            pinned.base,
            pinned.version,
            Pin::path(&upstream).display()
        );
    }
    Ok(())
}

fn list(conflicts: &Conflicts) -> String {
    let lines = conflicts.iter();
    lines
        .map(|(path, n)| format!("\n  {n} in {path}"))
        .collect()
}

/// The series, each patch with its commit in vendor/wasmtime.
fn patches(port: &Port<'_>, here: &Git) -> Result<Vec<(Patch, String)>> {
    let patches = series::read(port.root)?;
    let commits = commits(here)?;
    if commits.len() != patches.len() {
        bail!("vendor/wasmtime has other commits than patches/: `cargo xtask patches check`");
    }
    Ok(patches.into_iter().zip(commits).collect())
}

fn commits(git: &Git) -> Result<Vec<String>> {
    let range = format!("{}..HEAD", git.root_commit()?);
    let commits = git.run(&["rev-list", "--reverse", &range])?;
    Ok(commits.lines().map(str::to_string).collect())
}

/// The files in the port's `patches`, by name.
pub fn read_changes(port: &Port<'_>) -> Result<BTreeMap<String, Change>> {
    let mut changes = BTreeMap::new();
    let dir = port.changes();
    if !dir.is_dir() {
        return Ok(changes);
    }
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let change = Change::parse(&text);
            let change = change.with_context(|| format!("in {}", path.display()))?;
            changes.insert(name.into_owned(), change);
        }
    }
    Ok(changes)
}

/// What the port's commits in `git` are, beside what can be merged; without reasons.
pub fn changes(port: &Port<'_>, git: &Git) -> Result<BTreeMap<String, Change>> {
    let here = Git::open(&port.root.wasmtime())?;
    let subject = |git: &Git, commit: &str| git.run(&["log", "-1", "--format=%s", commit]);
    let patches = patches(port, &here)?;
    let ported = commits(git)?;
    if ported.len() != patches.len() {
        bail!(
            "{} has {} commits, and the series {}",
            git.work_tree.display(),
            ported.len(),
            patches.len()
        );
    }
    let mut changes = BTreeMap::new();
    for ((patch, commit), ported) in patches.iter().zip(&ported) {
        let [old, new] = [subject(&here, commit)?, subject(git, ported)?];
        if old != new {
            bail!("the commit for {} has another subject: {new}", patch.name);
        }
        let merger = Merger::at(git, &format!("{ported}^"))?;
        let change = Change {
            reason: String::new(),
            conflicts: merger.merge(&here, commit)?,
            diff: merger.diff_to(ported)?,
        };
        if change != Change::default() {
            changes.insert(patch.name.clone(), change);
        }
    }
    Ok(changes)
}

/// An index in which a patch is merged.
struct Merger<'a> {
    git: &'a Git,
    scratch: TempDir,
}

/// What of merged files a conflict leaves.
#[derive(Clone, Copy)]
enum Favor {
    Both,
    Upstream,
}

impl Merger<'_> {
    fn at<'a>(git: &'a Git, commit: &str) -> Result<Merger<'a>> {
        let merger = Merger {
            git,
            scratch: tempfile::tempdir()?,
        };
        merger.run(&["read-tree", commit])?;
        Ok(merger)
    }

    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        let mut command = self.git.command();
        command.env("GIT_INDEX_FILE", self.scratch.path().join("index"));
        self.git.run_command(command.args(args))
    }

    /// Merges what `commit` of `here` changes. Returns where it could not.
    fn merge(&self, here: &Git, commit: &str) -> Result<Conflicts> {
        let mut conflicts = Conflicts::new();
        let parent = format!("{commit}^");
        for path in here.names(&["diff", "--name-only", "--no-renames", "-z", &parent, commit])? {
            let ours = self.run(&["ls-files", "--stage", "--", &path])?;
            let Some((mode, _)) = ours.split_once(' ') else {
                // Upstream has removed the file.
                conflicts.insert(path, 1);
                continue;
            };
            self.write("upstream", self.git, &format!(":{path}"), true)?;
            self.write("base", here, &format!("{parent}:{path}"), false)?;
            self.write("patched", here, &format!("{commit}:{path}"), false)?;
            let (mut merged, count) = self.merge_files(Favor::Both)?;
            if count > 0 {
                conflicts.insert(path.clone(), count);
                (merged, _) = self.merge_files(Favor::Upstream)?;
            }
            let file = self.scratch.path().join("merged");
            fs::write(&file, merged)?;
            let blob = self.run(&[
                OsStr::new("hash-object"),
                OsStr::new("-w"),
                OsStr::new("--no-filters"),
                file.as_os_str(),
            ])?;
            let entry = format!("{mode},{blob},{path}");
            self.run(&["update-index", "--cacheinfo", &entry])?;
        }
        Ok(conflicts)
    }

    /// Writes a blob to a file.
    fn write(&self, name: &str, git: &Git, blob: &str, indexed: bool) -> Result<()> {
        let file = fs::File::create(self.scratch.path().join(name))?;
        let mut show = git.command();
        if indexed {
            show.env("GIT_INDEX_FILE", self.scratch.path().join("index"));
        }
        let status = show
            .args(["cat-file", "blob", blob])
            .stdout(Stdio::from(file))
            .status()?;
        if !status.success() {
            bail!("git has no {blob}");
        }
        Ok(())
    }

    /// The merged file, and how many conflicts there are in it.
    fn merge_files(&self, favor: Favor) -> Result<(Vec<u8>, usize)> {
        let mut merge = self.git.command();
        merge.current_dir(self.scratch.path());
        merge.args(["merge-file", "--stdout", "--quiet"]);
        if let Favor::Upstream = favor {
            merge.arg("--ours");
        }
        let output = merge.args(["upstream", "base", "patched"]).output()?;
        // Git's exit status is the number of conflicts, or negative after an error.
        match output.status.code() {
            Some(count @ 0..128) => Ok((output.stdout, usize::try_from(count)?)),
            _ => bail!("{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    fn apply(&self, diff: &str) -> Result<()> {
        if diff.is_empty() {
            return Ok(());
        }
        let file = self.scratch.path().join("diff");
        fs::write(&file, diff)?;
        let mut apply = self.git.command();
        apply.env("GIT_INDEX_FILE", self.scratch.path().join("index"));
        apply.args(["apply", "--cached", "--whitespace=nowarn"]);
        let applied = capture(apply.arg(&file))?;
        if !applied.ok {
            bail!("{}", applied.stderr);
        }
        Ok(())
    }

    /// Commits what is in the index, as `commit` of `here` is, on HEAD.
    fn commit(&self, here: &Git, commit: &str) -> Result<()> {
        let format = "--format=%an%x00%ae%x00%aI%x00%B";
        let text = here.run(&["log", "-1", format, commit])?;
        let mut parts = text.splitn(4, '\0');
        let mut part = || parts.next().context("a commit has an author and a message");
        let [name, email, date] = [part()?, part()?, part()?];
        let message = self.scratch.path().join("message");
        fs::write(&message, part()?.trim_end())?;
        let tree = self.run(&["write-tree"])?;
        let mut make = self.git.command();
        make.env("GIT_AUTHOR_NAME", name)
            .env("GIT_AUTHOR_EMAIL", email)
            .env("GIT_AUTHOR_DATE", date)
            .env("GIT_COMMITTER_DATE", date)
            .args(["commit-tree", &tree, "-p", "HEAD", "-F"])
            .arg(&message);
        let made = self.git.run_command(&mut make)?;
        self.git.run(&["update-ref", "HEAD", &made])?;
        Ok(())
    }

    /// From what is in the index to `commit`.
    fn diff_to(&self, commit: &str) -> Result<String> {
        let merged = self.run(&["write-tree"])?;
        let diff = self.git.run(&[
            "diff",
            "--full-index",
            "--no-renames",
            "--no-color",
            "--no-ext-diff",
            "--diff-algorithm=histogram",
            &merged,
            commit,
        ])?;
        Ok(match diff.is_empty() {
            true => diff,
            false => diff + "\n",
        })
    }
}
