//! Builds upstream's files with the first patch, with the first two, and so on, or with the
//! submissions in the same way.
//!
//! One tree and one target directory serve all of these, and git writes only the files that
//! differ from one to the next, so cargo compiles only what a patch touches.

use super::{submissions, upstream_tests};
use crate::conformance::upstream;
use crate::feature_sets::{FeatureSet, PREEMPT, STOCK};
use crate::files::link;
use crate::git::Git;
use crate::root::{Root, run};
use crate::series::Patch;
use crate::{overlay, series, vendor};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The options of `build`.
#[derive(Clone, Copy)]
pub struct Options {
    /// Whether upstream's tests are run, too.
    pub full: bool,
    /// The number of the first patch to build with, and of the last.
    pub from: usize,
    pub to: usize,
}

pub fn build(root: &Root, options: Options) -> Result<()> {
    vendor::ensure(root)?;
    let patches = series::read(root)?;
    let dir = root.target()?.join("patches-build");
    let tree = Tree::open(root, dir.join("tree"))?;
    let commits = tree.commits(root)?;
    if commits.len() != patches.len() {
        bail!(
            "vendor/wasmtime has {} commits, and patches/ {} patches: \
             `cargo xtask patches check` tells more",
            commits.len(),
            patches.len()
        );
    }
    let last = patches.len();
    for (number, (patch, commit)) in (1..).zip(patches.iter().zip(&commits)) {
        if !(options.from..=options.to).contains(&number) {
            continue;
        }
        let step = Step {
            root,
            dir: &dir,
            tree: &tree.git.work_tree,
            name: &patch.name,
        };
        eprintln!("patches: {}", patch.name);
        tree.show(commit)?;
        step.check(STOCK)?;
        if number == last {
            step.check(PREEMPT)?;
        }
        if options.full {
            step.test(patch, number == last)?;
        }
    }
    Ok(())
}

/// Builds with the first submission, with the first two, and so on.
pub fn build_submissions(root: &Root) -> Result<()> {
    vendor::ensure(root)?;
    let patches = series::read(root)?;
    let submissions = submissions::split(root, &patches)?;
    let dir = root.target()?.join("patches-build");
    let tree = Tree::open(root, dir.join("tree"))?;
    let base = Git::open(&root.wasmtime())?.root_commit()?;
    let trees = submissions::trees(&tree.git, &base, &submissions)?;
    for (submission, id) in submissions.iter().zip(&trees) {
        let step = Step {
            root,
            dir: &dir,
            tree: &tree.git.work_tree,
            name: &submission.name,
        };
        eprintln!("patches: submission {}", submission.name);
        let commit = tree.git.run(&["commit-tree", "-m", step.name, id])?;
        tree.show(&commit)?;
        step.check(STOCK)?;
    }
    Ok(())
}

/// Upstream's files with some of the patches.
struct Step<'a> {
    root: &'a Root,
    dir: &'a Path,
    tree: &'a Path,
    /// Of the last patch or submission.
    name: &'a str,
}

impl Step<'_> {
    fn check(&self, sets: &[FeatureSet]) -> Result<()> {
        for set in sets {
            let dir = self.dir.join(set.name);
            let check = set.check(self.root, self.tree, &dir)?;
            self.run(check, set.name)?;
        }
        Ok(())
    }

    fn test(&self, patch: &Patch, is_last: bool) -> Result<()> {
        let text = patch.text();
        for test in upstream_tests::of(self.root, &text, is_last, self.tree, self.dir)? {
            self.run(test, "upstream's tests")?;
        }
        match is_last {
            true => upstream::run_with(self.root, self.tree, self.dir, ""),
            false => Ok(()),
        }
    }

    fn run(&self, mut cargo: Command, what: &str) -> Result<()> {
        cargo.env("CARGO_TARGET_DIR", self.dir.join("target"));
        run(&mut cargo, &format!("{what} with {}", self.name))
    }
}

/// A tree of upstream's files that any number of patches can be applied in.
struct Tree {
    git: Git,
}

impl Tree {
    fn open(root: &Root, dir: PathBuf) -> Result<Tree> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let git = match Git::open(&dir) {
            Ok(git) => git,
            Err(_) => Git::init(&dir)?,
        };
        git.borrow_objects(&Git::open(&root.wasmtime())?)?;
        let tree = Tree { git };
        tree.link_overlay(root)?;
        Ok(tree)
    }

    /// The commits of the patches, in order.
    fn commits(&self, root: &Root) -> Result<Vec<String>> {
        let vendor = Git::open(&root.wasmtime())?;
        let range = format!("{}..HEAD", vendor.root_commit()?);
        let commits = vendor.run(&["rev-list", "--reverse", &range])?;
        Ok(commits.lines().map(str::to_string).collect())
    }

    fn show(&self, commit: &str) -> Result<()> {
        self.git.run(&["reset", "--quiet", "--hard", commit])?;
        Ok(())
    }

    /// All of the overlay's files are there at each step: those that no patch hooks up yet are
    /// not compiled.
    fn link_overlay(&self, root: &Root) -> Result<()> {
        for file in overlay::files(root)? {
            link(&root.overlay().join(&file), &self.git.work_tree.join(&file))?;
        }
        Ok(())
    }
}
