//! Reading files whole, and telling whether paths mean the same file.

use crate::names;
use indicatif::BinaryBytes;
use std::fs::{self, File, FileType};
use std::io::Read;
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

/// More than any module has.
const MOST_BYTES: u64 = 1 << 30;

/// Reads a file. A pipe may have nobody at its other end, and a device may have no end. So
/// the only such file that is read is a pipe that was given to this process.
///
/// # Errors
///
/// Names the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, MOST_BYTES).with_context(|| format!("cannot read {}", names::path(path)))
}

fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        bail!("it is a directory");
    }
    if !(kind.is_file() || is_pipe(kind) && is_given(path)) {
        bail!("it is neither a regular file nor a pipe passed to this process, such as /dev/stdin");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        len if len > most => bail!("it is larger than {}", BinaryBytes(most)),
        _ => Ok(bytes),
    }
}

/// Whether this process was given the file already open.
fn is_given(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: FileType) -> bool {
    false
}

/// Identifies the file that a path means, even if it does not exist yet.
#[derive(Debug, PartialEq)]
pub enum Identity {
    /// Its device and inode.
    Inode(u64, u64),
    Path(PathBuf),
}

impl Identity {
    /// `None` if it is not a file: several outputs may go to `/dev/null`.
    pub fn of(path: &Path) -> Option<Identity> {
        if let Ok(metadata) = fs::metadata(path) {
            if !metadata.is_file() {
                return None;
            }
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                return Some(Identity::Inode(metadata.dev(), metadata.ino()));
            }
            #[cfg(not(unix))]
            return Some(Identity::Path(fs::canonicalize(path).ok()?));
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let folder = fs::canonicalize(folder).ok()?;
        Some(Identity::Path(folder.join(path.file_name()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_too_large_is_not_read_to_its_end() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let error = read_up_to(&path, 100).unwrap_err().to_string();
        assert_eq!(error, "it is larger than 100 B");
        assert!(read_up_to(&path, 1_000_000).is_ok());
    }

    #[test]
    fn paths_to_one_file_are_the_same() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let identity = |path: &str| Identity::of(&root.join(path));
        for file in ["Cargo.toml", "not-there"] {
            assert!(identity(file).is_some());
            assert_eq!(identity(file), identity(&format!("src/../{file}")));
            assert_eq!(identity(file), identity(&format!("./{file}")));
        }
        assert_ne!(identity("Cargo.toml"), identity("src/lib.rs"));
        assert_ne!(identity("not-there"), identity("neither"));
        assert_eq!(identity("src"), None);
    }
}
