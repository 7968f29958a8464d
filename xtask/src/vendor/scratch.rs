//! The directory beside `vendor/wasmtime`, and what killed runs leave behind.

use crate::root::Root;
use crate::{files, overlay};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The prefix of its name.
const SCRATCH: &str = ".wasmtime-";

pub fn create(root: &Root) -> Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix(SCRATCH)
        .tempdir_in(root.vendor())
        .context("cannot create a directory in vendor/")?;
    // Temporary directories are accessible only to their owner, but this one will stay.
    #[cfg(unix)]
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    Ok(dir)
}

/// Removes what killed runs left behind.
pub fn remove_leftovers(root: &Root) -> Result<()> {
    for (dir, prefix) in [
        (root.vendor(), SCRATCH),
        (root.upstream(), files::TEMPORARY),
        (root.patches(), files::TEMPORARY),
    ] {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(prefix) {
                continue;
            }
            let path = entry.path();
            match entry.file_type()?.is_dir() {
                true => remove_leftover(&path)?,
                false => overlay::remove(&path)?,
            }
        }
    }
    Ok(())
}

/// Retries: a git command of the killed run may still be writing there.
fn remove_leftover(path: &Path) -> Result<()> {
    for _ in 0..50 {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => return Ok(()),
        }
    }
    bail!(
        "cannot remove {}, where something goes on writing files: a git command of a run that was \
         killed? End it, and run the command again",
        path.display()
    )
}
