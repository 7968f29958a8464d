//! Counts what passed and what failed, and compares that with what is expected.

use super::directives::FileRun;
use super::expected::Expected;
use super::source::Source;
use std::collections::BTreeMap;

pub struct Report {
    source: Source,
    suite: Counts,
    total: Counts,
    /// By reason and file: the lines.
    expected: BTreeMap<&'static str, BTreeMap<String, Vec<usize>>>,
    unexpected: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    preemptions: u64,
}

impl Report {
    pub fn new(source: Source) -> Report {
        Report {
            source,
            suite: Counts::default(),
            total: Counts::default(),
            expected: BTreeMap::new(),
            unexpected: Vec::new(),
        }
    }

    pub fn source(&self) -> Source {
        self.source
    }

    pub fn add(&mut self, path: &str, run: FileRun, expected: &Expected) {
        let entries = expected.of(path, self.source);
        for entry in entries.clone() {
            let mut lines = run.directives.iter().map(|(line, _)| line);
            if !lines.any(|line| entry.lines.contains(line)) {
                self.unexpected(path, *entry.lines.start(), "there is no directive");
            }
        }
        for (line, result) in run.directives {
            let entry = entries.clone().find(|entry| entry.lines.contains(&line));
            match &result {
                Ok(()) => self.suite.passed += 1,
                Err(_) => self.suite.failed += 1,
            }
            match (result, entry) {
                (Ok(()), None) => {}
                (Err(_), Some(entry)) => {
                    let files = self.expected.entry(entry.reason).or_default();
                    files.entry(path.to_string()).or_default().push(line);
                }
                (Ok(()), Some(_)) => {
                    self.unexpected(path, line, "passes, but is expected to fail");
                }
                (Err(error), None) => self.unexpected(path, line, &format!("{error:?}")),
            }
        }
        self.suite.preemptions += run.preemptions;
    }

    fn unexpected(&mut self, path: &str, line: usize, what: &str) {
        let place = format!("{path}:{line} {}", self.source);
        self.unexpected.push(format!("{place}: {what}"));
    }

    pub fn print_suite(&mut self, suite: &str) {
        self.suite.print(suite, self.source);
        self.total.add(self.suite);
        self.suite = Counts::default();
    }

    /// Returns what failed without being expected to, and the other way round.
    pub fn finish(self) -> Vec<String> {
        self.total.print("all", self.source);
        for (reason, files) in &self.expected {
            println!("{}, expected to fail: {reason}", self.source);
            for (path, lines) in files {
                let lines: Vec<_> = lines.iter().map(usize::to_string).collect();
                println!("  {path}:{}", lines.join(","));
            }
        }
        self.unexpected
    }
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.preemptions += other.preemptions;
    }

    fn print(self, suite: &str, source: Source) {
        let Counts {
            passed,
            failed,
            preemptions,
        } = self;
        println!(
            "{suite:36} {source:11} {passed:6} passed, {failed:3} failed, \
             {preemptions:9} preemptions"
        );
    }
}
