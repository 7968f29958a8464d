//! The directories of a guest.

use crate::names;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// A directory of the host, as a guest sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dir {
    option: &'static str,
    host: String,
    guest: String,
    permissions: FsPerms,
}

impl Dir {
    /// Parses the value of `--dir`: `HOST_DIR[::GUEST_DIR]`.
    pub fn writable(text: &str) -> Result<Dir> {
        Dir::parse("--dir", text, FsPerms::ReadWrite)
    }

    /// Parses the value of `--dir-ro`.
    pub fn read_only(text: &str) -> Result<Dir> {
        Dir::parse("--dir-ro", text, FsPerms::ReadOnly)
    }

    fn parse(option: &'static str, text: &str, permissions: FsPerms) -> Result<Dir> {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        let parts = text.split("::");
        if host.is_empty() || guest.is_empty() || parts.count() > 2 {
            bail!(
                "{option} {}: write HOST_DIR, or HOST_DIR::GUEST_DIR for another name in the guest",
                names::name(text)
            );
        }
        Ok(Dir {
            option,
            host: host.to_string(),
            guest: guest.to_string(),
            permissions,
        })
    }

    /// Opens the directory for a guest.
    pub fn open(&self, builder: &mut WasiCtxBuilder) -> Result<()> {
        let opened = builder.preopened_dir(&self.host, &self.guest, self.permissions);
        opened.with_context(|| {
            let host = names::name(&self.host);
            format!("{} {host}: cannot open this directory", self.option)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_has_the_same_name_in_the_guest_unless_another_is_given() {
        let names = |text| {
            let dir = Dir::writable(text).unwrap();
            (dir.host, dir.guest)
        };
        let pair = |host: &str, guest: &str| (host.to_string(), guest.to_string());
        assert_eq!(names("."), pair(".", "."));
        assert_eq!(names("data::/"), pair("data", "/"));
        assert_eq!(names("C:/a:b"), pair("C:/a:b", "C:/a:b"));
        // What other commands would take for a permission is a name here.
        assert_eq!(names("data::/:ro"), pair("data", "/:ro"));
    }

    #[test]
    fn incomplete_directories_are_errors() {
        for text in ["", "::", "a::", "::b", "a::b::c"] {
            let error = Dir::read_only(text).unwrap_err().to_string();
            assert!(error.starts_with("--dir-ro "), "{error}");
            assert!(error.contains("HOST_DIR::GUEST_DIR"), "{error}");
        }
    }
}
