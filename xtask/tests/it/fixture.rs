//! A repository like ours, with a small upstream.

use crate::registry::{Package, Registry};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use tempfile::TempDir;

pub const COMMIT: &str = "1111111111111111111111111111111111111111";
pub const NEXT_COMMIT: &str = "2222222222222222222222222222222222222222";
const OTHER_COMMIT: &str = "3333333333333333333333333333333333333333";

/// A file of upstream's that tests edit.
pub const LIB: &str = "crates/wasmtime/src/lib.rs";
/// Another one.
pub const FIBER: &str = "crates/wasmtime/src/fiber.rs";
/// A file that is large enough to fill a small disk.
pub const LARGE: &str = "large.txt";

pub struct Fixture {
    pub dir: TempDir,
    pub registry: Registry,
}

pub struct Run {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Fixture {
    /// With upstream pinned, and nothing laid out.
    pub fn pinned() -> Fixture {
        let fixture = Fixture::unpinned();
        fixture.xtask(&["vendor", "--repin"]).expect_ok();
        fs::remove_dir_all(fixture.wasmtime()).unwrap();
        fixture
    }

    /// With one patch of `LIB`, laid out.
    pub fn patched() -> Fixture {
        let fixture = Fixture::pinned();
        fixture.xtask(&["vendor"]).expect_ok();
        fixture.edit(LIB, "line 10\n", "line ten\n");
        fixture.commit("Count in words");
        fixture.xtask(&["patches", "save"]).expect_ok();
        fixture
    }

    /// Laid out, with the feature that our own patches give to `wasmtime`, and an overlay file.
    pub fn with_feature() -> Fixture {
        let fixture = Fixture::pinned();
        fixture.write("overlay/crates/wasmtime/src/preempt.rs", "// New.\n");
        fixture.xtask(&["vendor"]).expect_ok();
        fixture.edit(
            "crates/wasmtime/Cargo.toml",
            "version = \"=1.0.0\"\n",
            "version = \"=1.0.0\"\npath = \"inner\"\n[features]\npreemptive-threads = []\n",
        );
        fixture.commit("Add a feature");
        fixture.xtask(&["patches", "save"]).expect_ok();
        fixture
    }

    pub fn unpinned() -> Fixture {
        let registry = Registry::start();
        publish(&registry, "1.0.0", COMMIT, "line 20\n");
        let fixture = Fixture {
            dir: tempfile::tempdir().unwrap(),
            registry,
        };
        fixture.publish_astray("thirdparty", "1.0.0");
        for dir in ["root/vendor/upstream/src", "root/patches", "cargo", "home"] {
            fs::create_dir_all(fixture.dir.path().join(dir)).unwrap();
        }
        fixture.write("vendor/upstream/src/lib.rs", "");
        fixture.write_cargo_config();
        fixture.pin_version("1.0.0");
        fixture
    }

    /// Makes the registry offer 1.0.1, in which `line` is the 20th of `LIB`.
    pub fn publish_next(&self, line: &str) {
        self.publish_release("1.0.1", line);
    }

    /// Makes the registry offer a release of all of upstream's crates.
    pub fn publish_release(&self, version: &str, line: &str) {
        publish(&self.registry, version, NEXT_COMMIT, line);
    }

    /// Makes the registry offer a crate that is made from another commit than upstream's.
    pub fn publish_astray(&self, name: &str, version: &str) {
        self.registry.publish(&Package {
            name,
            version,
            commit: OTHER_COMMIT,
            path: "",
            dependencies: &[],
            files: vec![file("src/lib.rs", "")],
        });
    }

    /// Makes the registry offer version 1.0.0 of a crate that depends on another.
    pub fn publish_user(&self, name: &str, of: &str, requirement: &str) {
        self.registry.publish(&Package {
            name,
            version: "1.0.0",
            commit: OTHER_COMMIT,
            path: "",
            dependencies: &[(of, requirement)],
            files: vec![file("src/lib.rs", "")],
        });
    }

    pub fn pin_version(&self, version: &str) {
        self.write(
            "vendor/upstream/Cargo.toml",
            &format!(
                "[workspace]\n[package]\nname = \"upstream\"\nversion = \"0.0.0\"\n\
                 edition = \"2024\"\n[dependencies]\nwasmtime-cli = \"={version}\"\n\
                 wasmtime = \"={version}\"\nwasmtime-inner = \"={version}\"\n"
            ),
        );
        self.lock_upstream();
    }

    pub fn lock_upstream(&self) {
        self.cargo_in("vendor/upstream", &["generate-lockfile", "--quiet"]);
    }

    /// A package at the root, as ours is, that depends on a crate of the
    /// registry which upstream does not use.
    pub fn add_workspace(&self) {
        self.publish_astray("elsewhere", "1.0.0");
        self.write(
            "Cargo.toml",
            "[workspace]\nexclude = [\"vendor\"]\n[package]\nname = \"ours\"\n\
             edition = \"2024\"\n[dependencies]\nelsewhere = \"1\"\nwasmtime = \"1\"\n\
             [patch.crates-io]\nwasmtime = { path = \"vendor/wasmtime/crates/wasmtime\" }\n\
             wasmtime-inner = { path = \"vendor/wasmtime/crates/wasmtime/inner\" }\n",
        );
        self.write("src/lib.rs", "");
        self.cargo_in("", &["generate-lockfile", "--quiet"]);
    }

    /// Replaces the registry by a directory that `cargo vendor` made.
    pub fn vendor_by_cargo(&self) {
        let dir = self.dir.path().join("vendored");
        self.cargo_in(
            "vendor/upstream",
            &[
                "vendor",
                "--respect-source-config",
                "--quiet",
                dir.to_str().unwrap(),
            ],
        );
        fs::remove_dir_all(self.cargo_home()).unwrap();
        fs::create_dir_all(self.cargo_home()).unwrap();
        let config = format!(
            "[source.crates-io]\nreplace-with = \"dir\"\n[source.dir]\ndirectory = {dir:?}\n"
        );
        fs::write(self.cargo_home().join("config.toml"), config).unwrap();
    }

    pub fn cargo_in(&self, dir: &str, args: &[&str]) {
        self.cargo_output(&self.path(dir), args);
    }

    /// What cargo prints.
    pub fn cargo_output(&self, dir: &Path, args: &[&str]) -> String {
        let output = self
            .isolate(Command::new(cargo()))
            .current_dir(dir)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn write_cargo_config(&self) {
        let config = format!(
            "[source.crates-io]\nreplace-with = \"fake\"\n[source.fake]\n\
             registry = \"sparse+http://127.0.0.1:{}/index/\"\n[net]\nretry = 0\n",
            self.registry.port
        );
        fs::write(self.cargo_home().join("config.toml"), config).unwrap();
    }

    /// As on a machine that has never seen these crates.
    pub fn empty_cargo_cache(&self) {
        fs::remove_dir_all(self.cargo_home()).unwrap();
        fs::create_dir_all(self.cargo_home()).unwrap();
        self.write_cargo_config();
    }

    pub fn cargo_home(&self) -> PathBuf {
        self.dir.path().join("cargo")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub fn wasmtime(&self) -> PathBuf {
        self.path("vendor/wasmtime")
    }

    /// Where cargo unpacked a crate of version 1.0.0.
    pub fn unpacked(&self, name: &str) -> PathBuf {
        self.in_registry("src", &format!("{name}-1.0.0"))
    }

    pub fn archive(&self, name: &str) -> PathBuf {
        self.in_registry("cache", &format!("{name}-1.0.0.crate"))
    }

    fn in_registry(&self, kind: &str, name: &str) -> PathBuf {
        let mut indexes = fs::read_dir(self.cargo_home().join("registry").join(kind)).unwrap();
        indexes.next().unwrap().unwrap().path().join(name)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces `from` by `to` in a file of vendor/wasmtime.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = format!("vendor/wasmtime/{file}");
        let text = self.read(&path);
        assert!(text.contains(from), "no {from:?} in {path}");
        self.write(&path, &text.replace(from, to));
    }

    /// Commits all that is tracked in vendor/wasmtime, as a person would.
    pub fn commit(&self, subject: &str) {
        let message = format!("{subject}\n\nA reason.\n\nUpstream-Status: local, a test");
        self.commit_message(&message);
    }

    pub fn commit_message(&self, message: &str) {
        self.git(&["commit", "--quiet", "--all", "--message", message]);
    }

    /// Git in vendor/wasmtime, as a person would run it.
    pub fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.wasmtime(), args)
    }

    pub fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let output = self
            .isolate(Command::new("git"))
            .current_dir(dir)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn xtask(&self, args: &[&str]) -> Run {
        self.xtask_with(args, |_| {})
    }

    pub fn xtask_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Run {
        let mut command = self.command(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--root").arg(self.root()).args(args);
        change(&mut command);
        run(&mut command)
    }

    /// xtask where no file may grow beyond `kilobytes`, which git and xtask
    /// meet as they would meet a full disk: a write fails.
    pub fn xtask_with_small_files(&self, kilobytes: u32, args: &[&str]) -> Run {
        let mut command = self.command("bash");
        command
            .arg("-c")
            .arg(format!(
                "trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" \"$@\""
            ))
            .arg(env!("CARGO_BIN_EXE_xtask"))
            .arg("--root")
            .arg(self.root())
            .args(args);
        run(&mut command)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.isolate(Command::new(program));
        command.current_dir(self.root());
        command
    }

    /// Nothing of the user who runs the tests.
    fn isolate(&self, mut command: Command) -> Command {
        let rustup = std::env::var_os("RUSTUP_HOME").map_or_else(
            || std::env::home_dir().unwrap().join(".rustup"),
            PathBuf::from,
        );
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if text.starts_with("git_") || text.starts_with("cargo") || text.ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
            .env("CARGO", cargo())
            .env("CARGO_HOME", self.cargo_home())
            .env("RUSTUP_HOME", rustup)
            .env("HOME", self.home())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null());
        command
    }

    /// What is in vendor/, and would betray a half-done run.
    pub fn in_vendor(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("vendor"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    }

    /// Time and contents of every file of vendor/wasmtime, git's aside.
    pub fn snapshot(&self) -> Vec<(String, SystemTime, Vec<u8>)> {
        let mut files = Vec::new();
        walk(&self.wasmtime(), &mut |path| {
            let name = path.strip_prefix(self.wasmtime()).unwrap();
            let name = name.to_str().unwrap().to_string();
            if !name.starts_with(".git/") {
                let time = fs::symlink_metadata(path).unwrap().modified().unwrap();
                files.push((name, time, fs::read(path).unwrap()));
            }
        });
        files.sort();
        files
    }
}

impl Run {
    #[track_caller]
    pub fn expect_ok(self) -> Run {
        assert!(self.ok, "failed: {}{}", self.stdout, self.stderr);
        self
    }

    /// The run failed, and its message has all of `parts`.
    #[track_caller]
    pub fn expect_error(self, parts: &[&str]) -> Run {
        assert!(!self.ok, "passed: {}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in: {}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        ok: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn cargo() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn file(name: &str, contents: &str) -> (String, String, bool) {
    (name.to_string(), contents.to_string(), false)
}

fn publish(registry: &Registry, version: &str, commit: &str, line_20: &str) {
    let lines = |name: &str| -> String {
        (1..=40)
            .map(|n| match (name, n) {
                ("lib", 20) => line_20.to_string(),
                _ => format!("line {n}\n"),
            })
            .collect()
    };
    registry.publish(&Package {
        name: "wasmtime-cli",
        version,
        commit,
        path: "",
        dependencies: &[("thirdparty", "1")],
        files: vec![
            file("src/lib.rs", "// The command.\n"),
            file(".gitignore", "run.sh\ntarget\n"),
            file(".gitattributes", "* text=auto eol=lf\n"),
            file(LARGE, &"A line that is not short.\n".repeat(10_000)),
            ("run.sh".to_string(), "#!/bin/sh\n".to_string(), true),
        ],
    });
    registry.publish(&Package {
        name: "wasmtime",
        version,
        commit,
        path: "crates/wasmtime",
        dependencies: &[("wasmtime-inner", &format!("={version}"))],
        files: vec![
            file("src/lib.rs", &lines("lib")),
            file("src/fiber.rs", &lines("fiber")),
        ],
    });
    registry.publish(&Package {
        name: "wasmtime-inner",
        version,
        commit,
        path: "crates/wasmtime/inner",
        dependencies: &[],
        files: vec![file("src/lib.rs", &lines("inner"))],
    });
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}
