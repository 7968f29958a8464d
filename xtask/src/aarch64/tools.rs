//! The tools to build and run aarch64 programs with on x86-64: Debian's, unpacked in a directory of
//! their own. Nothing is installed, and no privileges are needed.
//!
//! Which versions there are is Debian's to say. They are downloaded once, and again when that
//! directory is deleted.

use crate::root::{Captured, capture, run};
use anyhow::{Context, Result, anyhow, bail, ensure};
use semver::Version;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is asked for. The rest follows from that.
const PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev:arm64",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "qemu-user",
];

/// The programs in them that are used.
const PROGRAMS: &[&str] = &[
    "rustc",
    "aarch64-linux-gnu-gcc",
    "aarch64-linux-gnu-ar",
    "qemu-aarch64",
];

/// Why the tools cannot be set up on this machine, if so.
pub fn unavailable() -> Option<&'static str> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some("this is not an x86-64 Linux");
    }
    let is_there = |name| Command::new(name).arg("--version").output().is_ok();
    match is_there("apt-get") && is_there("dpkg") {
        true => None,
        false => Some("there is no `apt-get` or no `dpkg`"),
    }
}

pub struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// Those in `dir`, which are downloaded if they are not there. `oldest` is the oldest compiler
    /// that builds this project.
    pub fn ensure(dir: PathBuf, oldest: &Version) -> Result<Tools> {
        let tools = Tools { dir };
        let complete = tools.dir.join("complete");
        if complete.is_file() {
            return Ok(tools);
        }
        eprintln!("aarch64: downloads a compiler, a linker and an emulator, about 200 MB");
        let set_up = match unavailable() {
            Some(why) => Err(anyhow!("{why}")),
            None => tools.set_up(oldest),
        };
        set_up.with_context(|| {
            format!(
                "cannot set up the tools for aarch64. That takes an x86-64 machine with `apt-get` \
                 and `dpkg`, and a Debian whose sources have the packages {}; `rustc-web` is at \
                 least {oldest} in the security updates of Debian 12",
                PACKAGES.join(", ")
            )
        })?;
        fs::write(complete, "")?;
        Ok(tools)
    }

    /// A program of the set.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Where the emulator finds the C library of the programs that it runs.
    pub fn libraries(&self) -> PathBuf {
        self.unpacked().join("usr/aarch64-linux-gnu")
    }

    fn unpacked(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn set_up(&self, oldest: &Version) -> Result<()> {
        let apt = Apt::new(self.dir.join("apt"))?;
        apt.update()?;
        let packages = apt.resolve()?;
        let archives = apt.download(&packages)?;
        let root = self.unpacked();
        fs::create_dir_all(&root)?;
        for archive in archives {
            let mut dpkg = Command::new("dpkg");
            run(dpkg.arg("-x").arg(&archive).arg(&root), "`dpkg -x`")?;
        }
        fs::remove_dir_all(self.dir.join("apt"))?;
        self.write_programs()?;
        self.ensure_recent(oldest)
    }

    /// Programs that find their libraries, and what the linker links to, where they were unpacked.
    fn write_programs(&self) -> Result<()> {
        let (root, bin) = (self.unpacked(), self.dir.join("bin"));
        fs::create_dir_all(&bin)?;
        for name in PROGRAMS {
            let mut script = String::from("#!/bin/sh\n");
            let libraries = root.join("usr/lib/x86_64-linux-gnu");
            writeln!(script, "export LD_LIBRARY_PATH='{}'", libraries.display())?;
            write!(
                script,
                "exec '{}'",
                root.join("usr/bin").join(name).display()
            )?;
            if name.ends_with("gcc") {
                write!(script, " --sysroot='{}'", root.display())?;
            }
            script.push_str(" \"$@\"\n");
            write_program(&bin.join(name), &script)?;
        }
        Ok(())
    }

    fn ensure_recent(&self, oldest: &Version) -> Result<()> {
        let version = output(Command::new(self.program("rustc")).arg("--version"))?;
        let number = version.split_whitespace().nth(1).unwrap_or_default();
        let number = Version::parse(number).with_context(|| format!("`{version}`"))?;
        ensure!(number >= *oldest, "Debian's compiler here is {number}");
        eprintln!("aarch64: Debian's rustc {number}");
        Ok(())
    }
}

/// apt, with everything that it writes in a directory of its own.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(dir: PathBuf) -> Result<Apt> {
        for part in ["lists/partial", "cache/archives/partial", "archives"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let config = format!(
            "APT::Architectures {{ \"amd64\"; \"arm64\"; }};\n\
             APT::Sandbox::User \"\";\n\
             Dir::State \"{0}\";\n\
             Dir::State::status \"/var/lib/dpkg/status\";\n\
             Dir::Cache \"{0}/cache\";\n",
            dir.display()
        );
        fs::write(dir.join("apt.conf"), config)?;
        Ok(Apt { dir })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .current_dir(self.dir.join("archives"))
            .env("APT_CONFIG", self.dir.join("apt.conf"))
            .arg("--quiet=2");
        command
    }

    fn update(&self) -> Result<()> {
        output(self.get().arg("update")).map(drop)
    }

    /// What would have to be installed, as apt names it.
    fn resolve(&self) -> Result<Vec<String>> {
        let mut install = self.get();
        install.args([
            "install",
            "--print-uris",
            "--no-install-recommends",
            "--yes",
        ]);
        let uris = output(install.args(PACKAGES))?;
        let packages: Vec<String> = uris.lines().filter_map(package_of_uri).collect();
        ensure!(!packages.is_empty(), "apt names no packages: {uris}");
        Ok(packages)
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        output(self.get().arg("download").args(packages))?;
        let archives = fs::read_dir(self.dir.join("archives"))?;
        Ok(archives
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?)
    }
}

/// The package that a line of `--print-uris` is about, if it is of use here: `'URI' NAME_VERSION_ARCH.deb SIZE`.
/// Programs are those of this machine. Of the others' packages only Rust's libraries are linked to.
fn package_of_uri(line: &str) -> Option<String> {
    let file = line.split_whitespace().nth(1)?.strip_suffix(".deb")?;
    let (rest, architecture) = file.rsplit_once('_')?;
    let (name, _) = rest.split_once('_')?;
    match architecture {
        // The C library of this machine is there, and only whole.
        "amd64" | "all" if name == "libc6" => None,
        "all" => Some(name.to_owned()),
        "amd64" => Some(format!("{name}:amd64")),
        _ if name.starts_with("libstd-rust") && name.ends_with("-dev") => {
            Some(format!("{name}:{architecture}"))
        }
        _ => None,
    }
}

fn write_program(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// What `command` prints.
fn output(command: &mut Command) -> Result<String> {
    let name = format!("{:?}", command.get_program());
    let Captured { ok, stdout, stderr } =
        capture(command).with_context(|| format!("cannot start {name}"))?;
    if !ok {
        bail!("{name} failed: {stderr}");
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_or_is_linked_is_downloaded() {
        for (file, expected) in [
            (
                "rustc-web_1.96.0+dfsg1-1_amd64.deb",
                Some("rustc-web:amd64"),
            ),
            (
                "libstd-rust-web-dev_1.96.0+dfsg1-1_arm64.deb",
                Some("libstd-rust-web-dev:arm64"),
            ),
            (
                "libc6-dev-arm64-cross_2.36-8cross1_all.deb",
                Some("libc6-dev-arm64-cross"),
            ),
            ("libllvm22_1%3a22.1.8-1_arm64.deb", None),
            ("libc6_2.36-9_amd64.deb", None),
        ] {
            let line = format!("'https://example.org/{file}' {file} 1 SHA256:2");
            assert_eq!(package_of_uri(&line).as_deref(), expected, "{file}");
        }
        assert_eq!(package_of_uri("Reading package lists..."), None);
    }
}
