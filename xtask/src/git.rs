//! Git, isolated from the user's settings.
//!
//! `vendor/wasmtime` lies inside this project's own repository. Git searches upwards for a
//! repository, so if the `.git` there were lost, every command would act on ours. The git
//! directory and the work tree are therefore always given explicitly.

use crate::files::write_if_changed;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The author of commits made by xtask, and the committer of all of them.
pub const NAME: &str = "wasmtime-preempt";
pub const EMAIL: &str = "wasmtime-preempt@localhost";
/// The date of the commit that holds upstream's files.
const EPOCH: &str = "2000-01-01T00:00:00+0000";
/// Overrides upstream's attributes: a tree id covers the bytes that are compiled, not what
/// line endings and the like are normalised to.
const ATTRIBUTES: &[u8] = b"* -text -eol -ident -filter -working-tree-encoding\n";
/// Untracked files that are nobody's work: what builds and editors leave behind.
const LITTER: [&str; 6] = ["/target/", "*~", ".*.sw?", "#*#", ".#*", "*.bk"];

pub struct Git {
    pub work_tree: PathBuf,
}

/// Fails with advice if there is no git to run.
pub fn require() -> Result<()> {
    let version = Command::new("git")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`git --version` failed ({status}): install a working git"),
        Err(error) => Err(error).context(
            "cannot run `git`, which applies the patches to Wasmtime: \
             install git and make sure that it is on PATH",
        ),
    }
}

impl Git {
    /// The repository whose work tree is exactly `dir`.
    pub fn open(dir: &Path) -> Result<Git> {
        if !dir.join(".git").is_dir() {
            bail!("{} is not a git repository of its own", dir.display());
        }
        Ok(Git {
            work_tree: dir.to_path_buf(),
        })
    }

    /// Makes a repository in `dir`.
    pub fn init(dir: &Path) -> Result<Git> {
        let git = Git {
            work_tree: dir.to_path_buf(),
        };
        git.run(&["init", "--quiet", "--template=", "--initial-branch=main"])?;
        git.configure()?;
        Ok(git)
    }

    /// Settings for git commands that a person types there, too: a neutral author unless
    /// told otherwise, and none of the user's settings that would make a commit fail or
    /// change its files.
    pub fn configure(&self) -> Result<()> {
        for (key, value) in [
            ("user.name", NAME),
            ("user.email", EMAIL),
            ("commit.gpgSign", "false"),
            ("core.autocrlf", "false"),
            ("core.hooksPath", "/dev/null"),
            ("rebase.autoSquash", "true"),
        ] {
            self.run(&["config", key, value])?;
        }
        let info = self.dir().join("info");
        if !info.join("exclude").exists() {
            write_if_changed(&info.join("exclude"), b"")?;
        }
        write_if_changed(&info.join("attributes"), ATTRIBUTES)
    }

    pub fn dir(&self) -> PathBuf {
        self.work_tree.join(".git")
    }

    /// Makes all objects of `from` known here, without a copy of them.
    pub fn borrow_objects(&self, from: &Git) -> Result<()> {
        let info = self.dir().join("objects/info");
        std::fs::create_dir_all(&info)
            .with_context(|| format!("cannot make {}", info.display()))?;
        let objects = format!("{}\n", from.dir().join("objects").display());
        write_if_changed(&info.join("alternates"), objects.as_bytes())
    }

    pub fn command(&self) -> Command {
        let mut git = Command::new("git");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GIT_") && text != "GIT_EXEC_PATH" {
                git.env_remove(&name);
            }
        }
        git.current_dir(&self.work_tree)
            .env("GIT_DIR", self.dir())
            .env("GIT_WORK_TREE", &self.work_tree)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", "true")
            // Reading commands need not write back the index they refreshed.
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_AUTHOR_NAME", NAME)
            .env("GIT_AUTHOR_EMAIL", EMAIL)
            .env("GIT_AUTHOR_DATE", EPOCH)
            .env("GIT_COMMITTER_NAME", NAME)
            .env("GIT_COMMITTER_EMAIL", EMAIL)
            .env("GIT_COMMITTER_DATE", EPOCH)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        for setting in [
            "core.autocrlf=false",
            "core.hooksPath=/dev/null",
            "core.attributesFile=/dev/null",
            "core.excludesFile=/dev/null",
            "core.fsmonitor=false",
            "core.quotePath=false",
            "commit.gpgSign=false",
            "gc.auto=0",
            "maintenance.auto=false",
            "am.threeWay=false",
            "advice.mergeConflict=false",
        ] {
            git.args(["-c", setting]);
        }
        git
    }

    /// Runs git and returns what it printed, without the last newline.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.run_command(self.command().args(args))
    }

    /// Like [`Git::run`], for a command made with [`Git::command`].
    pub fn run_command(&self, command: &mut Command) -> Result<String> {
        let captured = crate::root::capture(command)?;
        if !captured.ok {
            if let Some(lock) = lock_in_the_way(&captured.stderr) {
                bail!(
                    "{lock} is in the way: a git command is running there, or one was killed. If \
                     none is running, remove that file and run the command again"
                );
            }
            let args: Vec<_> = command
                .get_args()
                .map(|a| a.to_string_lossy().into_owned())
                .collect();
            // Settings before the git command are of no interest here.
            let args = match args.iter().rposition(|a| a == "-c") {
                Some(last) => args[last + 2..].join(" "),
                None => args.join(" "),
            };
            bail!("`git {args}` failed: {}", captured.stderr);
        }
        let mut text = String::from_utf8_lossy(&captured.stdout).into_owned();
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }

    /// Runs git and returns the NUL-terminated names it lists.
    pub fn names(&self, args: &[&str]) -> Result<Vec<String>> {
        Ok(split(&self.run(args)?))
    }

    pub fn head(&self) -> Result<String> {
        self.run(&["rev-parse", "HEAD"])
    }

    pub fn tree_of(&self, commit: &str) -> Result<String> {
        self.run(&["rev-parse", &format!("{commit}^{{tree}}")])
    }

    /// The commit that holds upstream's files, which has no parent.
    pub fn root_commit(&self) -> Result<String> {
        let roots = self.run(&["rev-list", "--max-parents=0", "HEAD"])?;
        if roots.lines().count() != 1 {
            bail!(
                "{} has more than one root commit: the patches must be a line of commits \
                 on top of upstream's files",
                self.work_tree.display()
            );
        }
        Ok(roots)
    }

    pub fn is_tracked(&self, path: &str) -> Result<bool> {
        Ok(!self.run(&["ls-files", "--", path])?.is_empty())
    }

    /// What differs from HEAD: (two-letter state, path), where `??` is a new file. Overlay
    /// files are left out, because they are excluded. With `rehash`, every file is read;
    /// otherwise an unchanged size and time are taken as proof.
    pub fn changes(&self, rehash: bool) -> Result<Vec<(String, String)>> {
        self.status(rehash.then_some("HEAD"))
    }

    /// The files that differ from `commit`, and those that it does not have.
    pub fn differing(&self, commit: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let changes = self.status(Some(commit))?.into_iter();
        let (new, other): (Vec<_>, Vec<_>) = changes
            // The first letter compares `commit` with HEAD.
            .filter(|(state, _)| !state.ends_with(' '))
            .partition(|(state, _)| state == "??");
        let names = |changes: Vec<(String, String)>| changes.into_iter().map(|c| c.1).collect();
        Ok((names(other), names(new)))
    }

    /// Git's status by its index, or by a fresh index of commit `of`.
    fn status(&self, of: Option<&str>) -> Result<Vec<(String, String)>> {
        let scratch = tempfile::tempdir()?;
        let index = match of {
            Some(_) => scratch.path().join("index"),
            None => self.dir().join("index"),
        };
        let with_index = || {
            let mut command = self.command();
            command.env("GIT_INDEX_FILE", &index);
            command
        };
        if let Some(commit) = of {
            self.run_command(with_index().args(["read-tree", commit]))?;
        }
        let text = self.run_command(with_index().args([
            "status",
            "--porcelain",
            "-z",
            "--untracked-files=no",
            "--no-renames",
        ]))?;
        let mut changes: Vec<(String, String)> = text
            .split('\0')
            .filter(|entry| entry.len() > 3)
            .map(|entry| (entry[..2].to_string(), entry[3..].to_string()))
            .collect();
        // Upstream's own .gitignore does not count: it ignores names such as `tags` and
        // `report/` in every directory, and such files are compiled as well.
        let mut others = with_index();
        others.args(["ls-files", "--others", "-z", "--exclude-from"]);
        others.arg(self.dir().join("info/exclude"));
        for litter in LITTER {
            others.arg(format!("--exclude={litter}"));
        }
        let others = split(&self.run_command(&mut others)?);
        changes.extend(others.into_iter().map(|file| ("??".to_string(), file)));
        Ok(changes)
    }
}

fn split(text: &str) -> Vec<String> {
    text.split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect()
}

/// The lock file that made a git command fail, if one did.
fn lock_in_the_way(stderr: &str) -> Option<&str> {
    let (_, from_path) = stderr.split_once("Unable to create '")?;
    let (path, rest) = from_path.split_once("': ")?;
    (path.ends_with(".lock") && rest.starts_with("File exists")).then_some(path)
}
