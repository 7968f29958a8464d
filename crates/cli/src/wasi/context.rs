//! The context of each guest that imports WASI: its arguments, environment and standard
//! streams.

use super::stdio::Prompted;
use crate::console::{Console, Target};
use crate::names;
use crate::settings::{self, Setting};
use clap::Args;
use std::fs::File;
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{AsyncStdinStream, InputFile};
use wasmtime_wasi::p1::WasiP1Ctx;

#[derive(Args, Clone, Debug)]
pub struct WasiArgs {
    /// Set an environment variable for one WASI guest, or for all of them
    ///
    /// GUEST is a guest's name or number, as in the table. May be repeated. Guests do not see
    /// the environment of this process.
    #[arg(long, value_name = "[GUEST=]KEY=VALUE")]
    env: Vec<String>,

    /// Use this file as the standard input of one WASI guest, or of each of them
    ///
    /// GUEST is a guest's name or number, as in the table. May be repeated. Guests without a
    /// file share the standard input of this process.
    #[arg(long, value_name = "[GUEST=]FILE")]
    stdin: Vec<String>,
}

/// The settings given for a guest.
#[derive(Clone, Default)]
struct Given {
    /// Keys and values.
    env: Vec<(String, String)>,
    stdin: Option<PathBuf>,
}

impl WasiArgs {
    /// Makes the context of each of `guests`, whose `argvs` these are; `None` for guests that
    /// do not import WASI. Their stdout goes to `stdout`.
    pub fn contexts(
        &self,
        guests: &[String],
        argvs: &[Option<&[String]>],
        console: &Console,
        stdout: Target,
    ) -> Result<Vec<Option<WasiP1Ctx>>> {
        let mut given = vec![Given::default(); guests.len()];
        for text in &self.env {
            let env = settings::split(text, guests, |rest| variable(rest).is_some());
            let Some((key, value)) = variable(&env.value) else {
                bail!(
                    "--env {}: write KEY=VALUE, or GUEST=KEY=VALUE for one guest",
                    names::name(text)
                );
            };
            for index in takers("--env", &env, guests, argvs)? {
                // Of two settings for one guest, the later one wins.
                let env = &mut given[index].env;
                env.retain(|(earlier, _)| earlier != key);
                env.push((key.to_string(), value.to_string()));
            }
        }
        for text in &self.stdin {
            let stdin = settings::split(text, guests, |_| true);
            if stdin.value.is_empty() {
                bail!(
                    "--stdin {}: write FILE, or GUEST=FILE for one guest",
                    names::name(text)
                );
            }
            for index in takers("--stdin", &stdin, guests, argvs)? {
                given[index].stdin = Some(PathBuf::from(&stdin.value));
            }
        }
        let contexts = argvs.iter().zip(given).map(|(argv, given)| {
            argv.map(|argv| context(argv, given, console, stdout))
                .transpose()
        });
        contexts.collect()
    }

    /// The files that `--stdin` names.
    pub fn stdin_files(&self, guests: &[String]) -> Vec<PathBuf> {
        let split = |text| settings::split(text, guests, |_| true);
        let files = self.stdin.iter().map(|text| split(text).value.into());
        files.collect()
    }
}

/// Splits `KEY=VALUE`.
fn variable(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(key, _)| !key.is_empty())
}

/// The indices of the guests that a setting applies to.
///
/// # Errors
///
/// If the guest it is for cannot see it, or no guest can.
fn takers(
    option: &str,
    setting: &Setting<String>,
    guests: &[String],
    argvs: &[Option<&[String]>],
) -> Result<Vec<usize>> {
    let meant = setting.guests(option, guests)?;
    let takes = |index: &usize| argvs[*index].is_some();
    let takers: Vec<usize> = meant.into_iter().filter(takes).collect();
    if takers.is_empty() {
        let text = names::name(&setting.text);
        match &setting.guest {
            Some(guest) => bail!(
                "{option} {text}: guest `{}` does not import WASI, so it would never see this",
                names::name(guest)
            ),
            None => bail!("{option} {text}: no guest imports WASI, so none would ever see this"),
        }
    }
    Ok(takers)
}

fn context(argv: &[String], given: Given, console: &Console, stdout: Target) -> Result<WasiP1Ctx> {
    let stdout = console.stream(stdout);
    let mut builder = WasiCtxBuilder::new();
    builder.args(argv).envs(&given.env);
    match given.stdin {
        Some(path) => {
            let file = open(&path).context("--stdin")?;
            match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                true => builder.stdin(InputFile::new(file)),
                // A pipe or a device may have to be waited for.
                false => builder.stdin(AsyncStdinStream::new(tokio::fs::File::from_std(file))),
            };
        }
        None => {
            builder.stdin(Prompted(stdout.clone()));
        }
    }
    builder.stdout(stdout);
    builder.stderr(console.stream(Target::Stderr));
    Ok(builder.build_p1())
}

fn open(path: &Path) -> Result<File> {
    let shown = names::path(path);
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("cannot read {shown}: it is a directory");
    }
    Ok(file)
}
