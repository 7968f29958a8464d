//! The context of each guest that imports WASI: its arguments, environment, directories and
//! standard streams.

use super::chance::Chance;
use super::dirs::Dir;
use super::network::NetworkArgs;
use super::outgoing::Outgoing;
use super::stdio::Prompted;
use super::taker::Taker;
use super::variable::{split as split_variable, variable};
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

#[derive(Args, Clone, Debug)]
pub struct WasiArgs {
    /// Set an environment variable for one WASI guest, or for all of them
    ///
    /// GUEST is a guest's name or number, as in the table. May be repeated. NAME alone
    /// gives all guests the value that the variable has for this process, if it has one;
    /// apart from that, guests do not see the environment of this process.
    #[arg(long, value_name = "[GUEST=]NAME[=VAL]")]
    env: Vec<String>,

    /// Grant one WASI guest, or all of them, access to a directory
    ///
    /// The guest finds it by the name GUEST_DIR, or by the same name as on the host. May be
    /// repeated. While a guest reads or writes a file, the others wait.
    #[arg(long, value_name = "[GUEST=]HOST_DIR[::GUEST_DIR]")]
    dir: Vec<String>,

    /// The same as --dir, but the guest cannot change anything in the directory
    #[arg(long, value_name = "[GUEST=]HOST_DIR[::GUEST_DIR]")]
    dir_ro: Vec<String>,

    /// What one WASI guest, or each of them, gets as argv[0]. The default is the name of its
    /// file without the directory
    #[arg(long, value_name = "[GUEST=]NAME")]
    argv0: Vec<String>,

    /// Use this file as the standard input of one WASI guest, or of each of them
    ///
    /// GUEST is a guest's name or number, as in the table. May be repeated. Guests without a
    /// file share the standard input of this process.
    #[arg(long, value_name = "[GUEST=]FILE")]
    stdin: Vec<String>,

    #[command(flatten)]
    network: NetworkArgs,
}

/// How a value of `--env` is written.
const FORMS: &str = "NAME=VAL, GUEST=NAME=VAL for one guest";

/// A guest's context, to be built.
pub struct ContextBuilder {
    pub wasi: WasiCtxBuilder,
    pub outgoing: Outgoing,
}

/// The settings given for a guest.
#[derive(Clone, Default)]
struct Given {
    /// Keys and values.
    env: Vec<(String, String)>,
    dirs: Vec<Dir>,
    argv0: Option<String>,
    stdin: Option<PathBuf>,
}

impl WasiArgs {
    /// Makes the context of each of `guests`, which are these `takers`; `None` for guests that
    /// do not import WASI. Their stdout goes to `stdout`, what they print begins with their
    /// `labels`, and what they leave to chance comes from `chance`, or else from the OS.
    pub fn contexts(
        &self,
        guests: &[String],
        takers: &[Taker<'_>],
        console: &Console,
        stdout: Target,
        chance: Option<&Chance>,
        labels: &[String],
    ) -> Result<Vec<Option<ContextBuilder>>> {
        let mut given = vec![Given::default(); guests.len()];
        for text in &self.env {
            let env = settings::split(text, guests, |rest| split_variable(rest).is_some());
            let for_guests = meant("--env", &env, guests, takers)?;
            let Some((key, value)) = variable(&env.value, FORMS)? else {
                continue;
            };
            for index in for_guests {
                // Of two settings for one guest, the later one wins.
                let env = &mut given[index].env;
                env.retain(|(earlier, _)| *earlier != key);
                env.push((key.clone(), value.clone()));
            }
        }
        self.add_dirs(guests, takers, &mut given)?;
        for text in &self.argv0 {
            let argv0 = settings::split(text, guests, |_| true);
            for index in meant("--argv0", &argv0, guests, takers)? {
                given[index].argv0 = Some(argv0.value.clone());
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
            for index in meant("--stdin", &stdin, guests, takers)? {
                given[index].stdin = Some(PathBuf::from(&stdin.value));
            }
        }
        let networks = self.network.of(guests, takers)?;
        let contexts = takers.iter().zip(given).zip(labels).enumerate();
        let contexts = contexts.map(|(index, ((taker, given), label))| {
            let Some(argv) = taker.argv else {
                return Ok(None);
            };
            let mut builder = WasiCtxBuilder::new();
            networks[index].give(&mut builder);
            if let Some(chance) = chance {
                chance.give(index, &mut builder);
            }
            let wasi = context(builder, argv, given, console, stdout, label)?;
            let outgoing = networks[index].outgoing();
            Ok(Some(ContextBuilder { wasi, outgoing }))
        });
        contexts.collect()
    }

    fn add_dirs(&self, guests: &[String], takers: &[Taker<'_>], given: &mut [Given]) -> Result<()> {
        let parse: fn(&str) -> Result<Dir> = Dir::writable;
        let writable = self.dir.iter().map(|text| ("--dir", text, parse));
        let parse: fn(&str) -> Result<Dir> = Dir::read_only;
        let read_only = self.dir_ro.iter().map(|text| ("--dir-ro", text, parse));
        for (option, text, parse) in writable.chain(read_only) {
            let setting = settings::split(text, guests, |rest| !rest.is_empty());
            let dir = parse(&setting.value)?;
            for index in meant(option, &setting, guests, takers)? {
                given[index].dirs.push(dir.clone());
            }
        }
        Ok(())
    }

    /// The files that `--stdin` names.
    pub fn stdin_files(&self, guests: &[String]) -> Vec<PathBuf> {
        let split = |text| settings::split(text, guests, |_| true);
        let files = self.stdin.iter().map(|text| split(text).value.into());
        files.collect()
    }
}

/// The indices of the guests that a setting applies to.
///
/// # Errors
///
/// If the guest it is for cannot see it, or no guest can.
fn meant(
    option: &str,
    setting: &Setting<String>,
    guests: &[String],
    takers: &[Taker<'_>],
) -> Result<Vec<usize>> {
    let meant = setting.guests(option, guests)?;
    let takes = |index: &usize| takers[*index].argv.is_some();
    let meant: Vec<usize> = meant.into_iter().filter(takes).collect();
    if meant.is_empty() {
        let text = names::name(&setting.text);
        match &setting.guest {
            Some(guest) => bail!(
                "{option} {text}: guest `{}` does not import WASI, so it would never see this",
                names::name(guest)
            ),
            None => bail!("{option} {text}: no guest imports WASI, so none would ever see this"),
        }
    }
    Ok(meant)
}

fn context(
    mut builder: WasiCtxBuilder,
    argv: &[String],
    given: Given,
    console: &Console,
    stdout: Target,
    label: &str,
) -> Result<WasiCtxBuilder> {
    let stdout = console.stream(stdout, label);
    match (&given.argv0, argv) {
        (Some(argv0), [_, rest @ ..]) => builder.arg(argv0).args(rest),
        _ => builder.args(argv),
    };
    builder.envs(&given.env);
    for dir in &given.dirs {
        dir.open(&mut builder)?;
    }
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
    builder.stderr(console.stream(Target::Stderr, label));
    Ok(builder)
}

fn open(path: &Path) -> Result<File> {
    let shown = names::path(path);
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("cannot read {shown}: it is a directory");
    }
    Ok(file)
}
