//! A newer Rust compiler than the machine's, from Debian: for the web's sake its stable releases
//! get one too, as `rustc-web`.
//!
//! It is unpacked into a directory of its own. Nothing is installed, so neither root's rights nor
//! other versions on this machine matter.

use crate::files::write_if_changed;
use crate::root::{Captured, capture};
use anyhow::{Context, Result, bail};
use semver::Version;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "rustc-web";

/// The compiler, in scripts that find its libraries.
pub struct Rust {
    pub rustc: PathBuf,
    pub rustdoc: PathBuf,
    pub version: Version,
}

/// Downloads and unpacks it into `dir`, unless that was done before. `None` if this is not
/// Debian, or if apt knows of no such package.
pub fn rust(dir: &Path) -> Result<Option<Rust>> {
    let done = dir.join("unpacked");
    if !done.is_file() {
        let Some(packages) = packages()? else {
            return Ok(None);
        };
        eprintln!("debian: downloading {}", packages.join(", "));
        unpack(&packages, dir)?;
        fs::write(&done, packages.join("\n"))
            .with_context(|| format!("cannot write {}", done.display()))?;
    }
    let [rustc, rustdoc] = ["rustc", "rustdoc"].map(|program| dir.join(program));
    let version = version_of(&rustc)?;
    Ok(Some(Rust {
        rustc,
        rustdoc,
        version,
    }))
}

/// The version that `rustc --version` tells.
pub fn version_of(rustc: &Path) -> Result<Version> {
    let told = succeed(Command::new(rustc).arg("--version"))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told.split(' ').nth(1).and_then(|v| v.parse().ok());
    version.with_context(|| format!("{} says `{told}`", rustc.display()))
}

/// The package and those that it needs and this machine does not have.
fn packages() -> Result<Option<Vec<String>>> {
    let simulated = capture(Command::new("apt-get").args([
        "install",
        "--simulate",
        "--no-install-recommends",
        PACKAGE,
    ]));
    let Ok(Captured {
        ok: true, stdout, ..
    }) = simulated
    else {
        return Ok(None);
    };
    let packages = String::from_utf8_lossy(&stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_string)
        .collect();
    Ok(Some(packages))
}

fn unpack(packages: &[String], dir: &Path) -> Result<()> {
    let archives = dir.join("archives");
    if archives.exists() {
        fs::remove_dir_all(&archives)?;
    }
    fs::create_dir_all(&archives)
        .with_context(|| format!("cannot create {}", archives.display()))?;
    succeed(
        Command::new("apt-get")
            .current_dir(&archives)
            .args(["download", "--quiet"])
            .args(packages),
    )?;
    for archive in fs::read_dir(&archives)? {
        succeed(
            Command::new("dpkg")
                .arg("--extract")
                .arg(archive?.path())
                .arg(dir),
        )?;
    }
    fs::remove_dir_all(&archives)?;
    for program in ["rustc", "rustdoc"] {
        write_script(dir, program)?;
    }
    Ok(())
}

/// Debian's programs look for their libraries in the system's directories.
fn write_script(dir: &Path, program: &str) -> Result<()> {
    let script = format!(
        "#!/bin/sh\n\
         here=$(dirname \"$(readlink -f \"$0\")\")\n\
         for libraries in \"$here\"/usr/lib/*-linux-gnu; do :; done\n\
         LD_LIBRARY_PATH=\"$libraries${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\" \
         exec \"$here/usr/bin/{program}\" \"$@\"\n"
    );
    let path = dir.join(program);
    write_if_changed(&path, script.as_bytes())?;
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn succeed(command: &mut Command) -> Result<Captured> {
    let captured = capture(command)?;
    if !captured.ok {
        bail!(
            "{} failed: {}",
            command.get_program().display(),
            captured.stderr
        );
    }
    Ok(captured)
}
