//! The proof that a workspace uses the fork, once, and nothing of Wasmtime from elsewhere: by
//! its lock file, which is for every machine and every feature, and by `cargo tree`.

use super::fork::{FEATURE, Fork, WASMTIME, is_independent};
use super::lock::{Lock, Locked};
use super::workspace::Workspace;
use anyhow::{Context, Result, bail};
use semver::{Version, VersionReq};
use std::collections::BTreeSet;

pub struct Proof {
    /// How many of the fork's crates `cargo tree` shows.
    pub crates: usize,
}

/// `features` tells whether the fork's own feature must be enabled.
pub fn prove(workspace: &Workspace, fork: &Fork, lock: &Lock, features: bool) -> Result<Proof> {
    let locked = lock.named_as(fork);
    if !locked.iter().any(|locked| locked.name == WASMTIME) {
        bail!(
            "no package in {} depends on `{WASMTIME}`, directly or not",
            workspace.root.display()
        );
    }
    let foreign: Vec<&Locked> = locked.iter().filter(|l| is_foreign(fork, l)).collect();
    if !foreign.is_empty() {
        return Err(blame(workspace, fork, &foreign)?);
    }

    let tree = workspace.cargo(&[
        "tree",
        "--workspace",
        "--all-features",
        "--locked",
        "--prefix=none",
        "--format={p}\t{f}",
    ])?;
    let tree = String::from_utf8(tree.stdout).context("`cargo tree` prints UTF-8")?;
    let mut seen = BTreeSet::new();
    for line in tree.lines() {
        let (package, enabled) = line.split_once('\t').unwrap_or((line, ""));
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let version = version.trim_start_matches('v');
        let Some(krate) = fork.crates.get(name) else {
            continue;
        };
        // "NAME vVERSION (proc-macro) (DIRECTORY)", where the first may be missing.
        let is_ours =
            version == krate.version && package.contains(&format!("({})", krate.dir.display()));
        if !is_ours {
            if is_independent(name) && !krate.is_compatible(version) {
                continue;
            }
            bail!("`cargo tree` shows `{package}`, and not the fork's");
        }
        let has_feature = enabled
            .trim_end_matches(" (*)")
            .split(',')
            .any(|f| f == FEATURE);
        if features && name == WASMTIME && !has_feature {
            bail!("`cargo tree` shows `{package}` without the feature `{FEATURE}`");
        }
        seen.insert(name);
    }
    if !seen.contains(WASMTIME) {
        bail!("`cargo tree` does not show `{WASMTIME}`: no package depends on it on this machine");
    }
    Ok(Proof { crates: seen.len() })
}

/// Whether it is Wasmtime's, and not the fork's.
fn is_foreign(fork: &Fork, locked: &Locked) -> bool {
    let ours = &fork.crates[&locked.name];
    let is_ours = locked.source.is_none() && locked.version == ours.version;
    let other_program = is_independent(&locked.name) && !ours.is_compatible(&locked.version);
    !is_ours && !other_program
}

/// Who asks for what is not the fork's.
fn blame(workspace: &Workspace, fork: &Fork, foreign: &[&Locked]) -> Result<anyhow::Error> {
    let mut lines = Vec::new();
    for package in workspace.all_packages()? {
        if fork.crates.contains_key(&package.name) {
            // Wasmtime's own crates ask for each other.
            continue;
        }
        for dependency in package.needs() {
            let is_named = foreign.iter().any(|locked| locked.name == dependency.name);
            if is_named && !admits(&dependency.req, &fork.crates[&dependency.name].version) {
                lines.push(format!(
                    "`{}` {} asks for `{}` as `{}`",
                    package.name, package.version, dependency.name, dependency.req
                ));
            }
        }
    }
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        let named = foreign.iter();
        let named = named.map(|l| format!("{} {} is from elsewhere", l.name, l.version));
        lines.extend(named);
    }
    Ok(anyhow::anyhow!(
        "the fork is Wasmtime {}, and not all of Wasmtime can be the fork's:\n  {}\nLet these take \
         Wasmtime {} from the registry, and run the command again",
        fork.version,
        lines.join("\n  "),
        fork.version
    ))
}

fn admits(requirement: &str, version: &str) -> bool {
    let requirement = VersionReq::parse(requirement);
    let version = Version::parse(version);
    requirement.is_ok_and(|requirement| version.is_ok_and(|v| requirement.matches(&v)))
}
