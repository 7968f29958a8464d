//! Writing a file in one step, or several files as nearly so as a file system allows. And
//! links, and listing the files of a directory.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The prefix of a file's name until it is complete.
pub const TEMPORARY: &str = ".xtask-";

/// Writes a file in one step. An unchanged file keeps its time.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut batch = Batch::default();
    batch.write(path, bytes)?;
    batch.commit()
}

/// Makes `at` a symbolic link to `target`, an absolute path, unless it is one.
pub fn link(target: &Path, at: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|there| there == target) {
        return Ok(());
    }
    let make = || {
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        if fs::symlink_metadata(at).is_ok() {
            fs::remove_file(at)?;
        }
        symlink(target, at)
    };
    make().with_context(|| format!("cannot make the link {}", at.display()))
}

#[cfg(unix)]
fn symlink(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn symlink(target: &Path, at: &Path) -> std::io::Result<()> {
    match target.is_dir() {
        true => std::os::windows::fs::symlink_dir(target, at),
        false => std::os::windows::fs::symlink_file(target, at),
    }
}

/// Files to be written and removed together. Everything that can fail for lack of space
/// happens before the first file is replaced.
#[derive(Default)]
pub struct Batch {
    written: Vec<(PathBuf, NamedTempFile)>,
    removed: Vec<PathBuf>,
}

impl Batch {
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        if fs::read(path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let temp = || -> Result<NamedTempFile> {
            let dir = path.parent().context("a file needs a directory")?;
            fs::create_dir_all(dir)?;
            let mut temp = tempfile::Builder::new()
                .prefix(TEMPORARY)
                .tempfile_in(dir)?;
            std::io::Write::write_all(&mut temp, bytes)?;
            // Temporary files are readable only by their owner.
            #[cfg(unix)]
            temp.as_file()
                .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            Ok(temp)
        };
        let temp = temp().with_context(|| format!("cannot write {}", path.display()))?;
        self.written.push((path.to_path_buf(), temp));
        Ok(())
    }

    pub fn remove(&mut self, path: PathBuf) {
        self.removed.push(path);
    }

    pub fn commit(self) -> Result<()> {
        let several = self.written.len() + self.removed.len() > 1;
        let halfway = |error: anyhow::Error| match several {
            true => error.context(
                "only some of the files have been written; nothing is lost, and the same \
                 command completes it",
            ),
            false => error,
        };
        for (path, temp) in self.written {
            temp.persist(&path)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(halfway)?;
        }
        for path in self.removed {
            fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))
                .map_err(halfway)?;
        }
        Ok(())
    }
}

/// The paths of all files below `dir`, relative to it, separated by `/`.
pub fn files_below(dir: &Path) -> Result<Vec<String>> {
    fn walk(dir: &Path, prefix: &str, files: &mut Vec<String>) -> Result<()> {
        let entries =
            fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                bail!("{} has a name that is not UTF-8", entry.path().display());
            };
            if entry.file_type()?.is_dir() {
                walk(&entry.path(), &format!("{prefix}{name}/"), files)?;
            } else {
                files.push(format!("{prefix}{name}"));
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(dir, "", &mut files)?;
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_when_one_file_cannot_be_prepared() {
        let dir = tempfile::tempdir().unwrap();
        let (first, file) = (dir.path().join("first"), dir.path().join("file"));
        fs::write(&first, "old").unwrap();
        fs::write(&file, "").unwrap();
        let mut batch = Batch::default();
        batch.write(&first, b"new").unwrap();
        let error = batch.write(&file.join("second"), b"new").unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot write "));
        drop(batch);
        assert_eq!(fs::read_to_string(&first).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn failure_in_the_middle_names_the_remedy_and_removes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("old"), "old").unwrap();
        // A file cannot replace it.
        fs::create_dir_all(path("second/full")).unwrap();
        let mut batch = Batch::default();
        batch.write(&path("first"), b"new").unwrap();
        batch.write(&path("second"), b"new").unwrap();
        batch.remove(path("old"));
        let error = format!("{:#}", batch.commit().unwrap_err());
        assert!(error.contains("the same command completes it"), "{error}");
        assert!(error.contains("cannot write "), "{error}");
        assert_eq!(fs::read_to_string(path("first")).unwrap(), "new");
        assert_eq!(fs::read_to_string(path("old")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
