//! What the figures were measured on.

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;
use std::time::SystemTime;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub rustc: String,
    pub date: String,
}

impl Machine {
    /// Of this machine, now. What cannot be found out is `unknown`.
    pub fn this() -> Machine {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        let version = Command::new("rustc").arg("--version").output().ok();
        let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let unknown = || "unknown".into();
        Machine {
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| model(&text))
                .unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            kernel: match release {
                Some(release) => format!("Linux {}", number(&release)),
                None => std::env::consts::OS.into(),
            },
            rustc: version.map_or_else(unknown, |version| version.trim().into()),
            date: now.chars().take_while(|c| *c != 'T').collect(),
        }
    }
}

/// The name in /proc/cpuinfo.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().into())
}

/// The version alone: what follows names a distribution, or a host.
fn number(release: &str) -> &str {
    let end = release.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    &release[..end.unwrap_or(release.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_models_are_without_the_rest() {
        assert_eq!(number("6.18.44-custom #1\n"), "6.18.44");
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU\nflags\t: fpu\n";
        assert_eq!(model(cpuinfo).as_deref(), Some("Some CPU"));
        assert_eq!(model(""), None);
    }

    #[test]
    fn date_is_a_day() {
        let date = Machine::this().date;
        assert_eq!((date.len(), date.matches('-').count()), (10, 2), "{date}");
    }
}
