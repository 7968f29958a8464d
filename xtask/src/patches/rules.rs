//! What every patch must satisfy: see patches/README.md.

use crate::series::Patch;
use crate::summary::{STATUS, STATUSES, summarize};
use anyhow::{Result, bail};

pub fn refuse_bad(patches: &[Patch]) -> Result<()> {
    for patch in patches {
        let name = &patch.name;
        let summary = summarize(&patch.text());
        if summary.subject.starts_with("fixup!") || summary.subject.starts_with("squash!") {
            bail!(
                "{name} is a fixup: git -C vendor/wasmtime rebase --interactive --autosquash --root"
            );
        }
        let Some(status) = summary.status else {
            bail!(
                "{name} has no `{STATUS}` line in its message: add one that says whether \
                 upstream has it, might want it, or why it will not (see patches/README.md)"
            );
        };
        let end = status.find([' ', ':', ',']).unwrap_or(status.len());
        let (word, remark) = status.split_at(end);
        let Some((_, needed)) = STATUSES.iter().find(|(known, _)| *known == word) else {
            bail!(
                "{name} says `{STATUS} {status}`, which does not begin with one of {} (see \
                 patches/README.md)",
                STATUSES.map(|(known, _)| known).join(", ")
            );
        };
        if let Some(needed) = needed
            && !(needed.is_there)(remark)
        {
            bail!(
                "{name} says `{STATUS} {status}`: add {} in that line, after `{word}` (see \
                 patches/README.md)",
                needed.what
            );
        }
        if !summary.has_reason {
            bail!(
                "{name} does not say why: between the subject and `{STATUS}`, its message has to \
                 say what it is needed for, and why that cannot be done from outside"
            );
        }
        if summary.files.is_empty() {
            bail!("{name} changes no file");
        }
        for file in &summary.files {
            if let Some(what) = file.beyond_edit {
                bail!(
                    "{name} {what} {}: a patch only edits files of upstream's; \
                     new ones belong in overlay/",
                    file.path
                );
            }
        }
    }
    Ok(())
}
