//! Changes to patches/ by other means than `patches save`: pulled, or made by hand.

use crate::series::Patch;
use crate::stamp::Stamp;

/// Describes the first such change that saving `exported` would undo.
pub fn change(stamp: &Stamp, saved: &[Patch], exported: &[Patch]) -> Option<String> {
    let laid_out = &stamp.made.patches;
    for patch in saved {
        let name = &patch.name;
        if exported.contains(patch) || laid_out.get(name) == Some(&patch.hash()) {
            continue;
        }
        return Some(match laid_out.contains_key(name) {
            true => format!("patches/{name} is not as vendor/wasmtime was made from it"),
            false => format!("patches/{name} is new"),
        });
    }
    let gone = exported.iter().find(|patch| {
        laid_out.contains_key(&patch.name) && !saved.iter().any(|s| s.name == patch.name)
    });
    gone.map(|patch| format!("patches/{} has gone", patch.name))
}

/// How to keep both that change and the commits in vendor/wasmtime.
pub fn rebase(stamp: &Stamp) -> String {
    format!(
        "`cargo xtask vendor --force` lays patches/ out as it is, and keeps the commits in \
         vendor/wasmtime as a ref that it names. To put them on top of it: {}, then \
         `cargo xtask patches save`",
        cherry_pick(stamp, "THAT_REF")
    )
}

pub fn cherry_pick(stamp: &Stamp, kept: &str) -> String {
    format!(
        "`git -C vendor/wasmtime cherry-pick {}..{kept}`",
        stamp.made.head
    )
}
