//! Runs the tests of a test binary, each in a process of its own: one that aborts, or does not
//! end, is one that fails, and no more.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// After which a test counts as hung. Most take milliseconds.
const HUNG: Duration = Duration::from_secs(180);

pub struct Tests {
    /// The binary.
    pub program: PathBuf,
    /// Where its tests expect to be run.
    pub dir: PathBuf,
}

/// What became of a test: what it has printed, if it failed.
pub type Outcome = Result<(), String>;

impl Tests {
    /// The names of those whose name contains `filter`, in order, but for those that are ignored.
    pub fn list(&self, filter: &str) -> Result<Vec<String>> {
        let ignored = self.names(&["--ignored"])?;
        let mut names = self.names(&[])?;
        names.retain(|name| name.contains(filter) && !ignored.contains(name));
        names.sort();
        Ok(names)
    }

    fn names(&self, args: &[&str]) -> Result<Vec<String>> {
        let listed = Command::new(&self.program)
            .current_dir(&self.dir)
            .args(["--list", "--format", "terse"])
            .args(args)
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        if !listed.status.success() {
            bail!("{} does not list its tests", self.program.display());
        }
        let text = String::from_utf8_lossy(&listed.stdout);
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_string).collect())
    }

    /// Runs them, as many at a time as there are CPUs, with these environment variables.
    pub fn run(
        &self,
        names: &[String],
        environment: &[(&str, &str)],
    ) -> Result<BTreeMap<String, Outcome>> {
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(BTreeMap::new());
        let work = || -> Result<()> {
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.run_one(name, environment)?;
                let mut outcomes = outcomes.lock().unwrap_or_else(|e| e.into_inner());
                outcomes.insert(name.clone(), outcome);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers = thread::available_parallelism().map_or(1, |n| n.get());
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a runner panicked")))
        })?;
        Ok(outcomes.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    fn run_one(&self, name: &str, environment: &[(&str, &str)]) -> Result<Outcome> {
        let mut output = tempfile::tempfile()?;
        let mut test = Command::new(&self.program);
        test.current_dir(&self.dir)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        let mut test = test
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = test.try_wait()? {
                break status;
            }
            if start.elapsed() > HUNG {
                test.kill()?;
                test.wait()?;
                return Ok(Err(format!("has not ended within {HUNG:?}")));
            }
            thread::sleep(Duration::from_millis(5));
        };
        Ok(match status.success() {
            true => Ok(()),
            false => Err(format!("{status}\n{}", printed(&mut output)?)),
        })
    }
}

fn printed(output: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The test binary that cargo has built, from its messages.
pub fn binary(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message.get("target")?.get("name")? == name;
        let path = message.get("executable")?.as_str()?;
        is_it.then(|| Path::new(path).to_path_buf())
    })
}
