//! `cargo nextest`, which runs tests side by side if it is installed.

use crate::root::{Root, capture, cargo};

pub fn is_installed(root: &Root) -> bool {
    let version = capture(cargo(&root.path).args(["nextest", "--version"]));
    version.is_ok_and(|version| version.ok)
}
