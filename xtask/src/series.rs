//! A series of patches: read from patches/, exported from commits, applied.

use crate::git::Git;
use crate::root::{Root, capture, tells_full_disk};
use crate::text::hex;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, PartialEq)]
pub struct Patch {
    /// `NNNN-subject.patch`.
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Patch {
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    pub fn hash(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }
}

/// The patches in patches/, in order.
pub fn read(root: &Root) -> Result<Vec<Patch>> {
    let dir = root.patches();
    let mut patches = Vec::new();
    if !dir.is_dir() {
        return Ok(patches);
    }
    for entry in
        std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".patch") && !name.starts_with('.') {
            let bytes =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            patches.push(Patch { name, bytes });
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

/// Exports the commits after `base` up to `tip`, leaving out the paths in `without`. Gives
/// every option that could make a byte differ between users.
pub fn export(git: &Git, base: &str, tip: &str, without: &[String]) -> Result<Vec<Patch>> {
    let scratch = tempfile::tempdir()?;
    let mut command = git.command();
    for setting in [
        "format.coverLetter=false",
        "format.attach=",
        "format.useAutoBase=false",
        "format.notes=false",
        "format.mboxrd=false",
        "diff.suppressBlankEmpty=false",
        "diff.orderFile=/dev/null",
    ] {
        command.args(["-c", setting]);
    }
    command.args([
        "format-patch",
        "--quiet",
        "--patch",
        "--zero-commit",
        "--no-signature",
        "--no-numbered",
        "--no-thread",
        "--no-to",
        "--no-cc",
        "--no-from",
        "--no-add-header",
        "--no-renames",
        "--no-textconv",
        "--no-ext-diff",
        "--no-color",
        "--no-encode-email-headers",
        "--subject-prefix=PATCH",
        "--suffix=.patch",
        "--filename-max-length=64",
        "--full-index",
        "--unified=3",
        "--inter-hunk-context=0",
        "--diff-algorithm=histogram",
        "--indent-heuristic",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    ]);
    command.arg("--output-directory").arg(scratch.path());
    command.arg(format!("{base}..{tip}")).args(["--", "."]);
    for path in without {
        command.arg(format!(":(exclude,literal){path}"));
    }
    git.run_command(&mut command)?;
    let mut patches = Vec::new();
    for entry in std::fs::read_dir(scratch.path())? {
        let entry = entry?;
        patches.push(Patch {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: std::fs::read(entry.path())?,
        });
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

/// Applies the series to the work tree and commits it, patch by patch.
pub fn apply(git: &Git, patches: &[Patch], from: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    for patch in patches {
        let file = scratch.path().join(&patch.name);
        std::fs::write(&file, &patch.bytes)?;
        let applied = capture(
            git.command()
                .args([
                    "am",
                    "--quiet",
                    "--keep-non-patch",
                    "--keep-cr",
                    "--no-scissors",
                    "--no-gpg-sign",
                    "--committer-date-is-author-date",
                    "--whitespace=nowarn",
                ])
                .arg(&file),
        )?;
        if !applied.ok {
            let said = applied
                .stderr
                .lines()
                .filter(|line| line.starts_with("error:") || line.starts_with("fatal:"))
                .collect::<Vec<_>>()
                .join("\n  ");
            if tells_full_disk(&said) {
                bail!("patch {} could not be applied: {said}", patch.name);
            }
            bail!(
                "patch {} does not apply to Wasmtime:\n  {said}\n\
                 Nothing was changed. Correct {}",
                patch.name,
                from.join(&patch.name).display()
            );
        }
    }
    Ok(())
}

/// The first difference between two series, in words.
pub fn difference(saved: &[Patch], exported: &[Patch]) -> Option<String> {
    let by_name = |patches: &[Patch]| -> BTreeMap<String, Vec<u8>> {
        patches
            .iter()
            .map(|p| (p.name.clone(), p.bytes.clone()))
            .collect()
    };
    let (saved, exported) = (by_name(saved), by_name(exported));
    for (name, bytes) in &exported {
        match saved.get(name) {
            None => {
                return Some(format!(
                    "the commit that exports as {name} is not in patches/"
                ));
            }
            Some(there) if there != bytes => {
                let line = there
                    .split(|b| *b == b'\n')
                    .zip(bytes.split(|b| *b == b'\n'))
                    .position(|(a, b)| a != b)
                    .unwrap_or(0)
                    + 1;
                return Some(format!(
                    "patches/{name} differs from its commit in line {line}"
                ));
            }
            Some(_) => {}
        }
    }
    saved
        .keys()
        .find(|name| !exported.contains_key(*name))
        .map(|name| format!("patches/{name} has no commit in vendor/wasmtime"))
}
