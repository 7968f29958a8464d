//! What guests can import: WASI preview 1, with separate arguments, environment and
//! standard streams for each guest that imports it, and `preempt` for guests that know
//! about guest threads.

use crate::args::RunArgs;
use crate::console::{Console, Refused, Stream, Target};
use crate::load::Guest;
use crate::memory::Memory;
use crate::names;
use crate::settings::{self, Setting};
use bytes::Bytes;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Linker, Result, bail};
use wasmtime_preempt::imports;
use wasmtime_wasi::cli::{AsyncStdinStream, InputFile, IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, async_trait};

/// The module that WASI preview 1 guests import.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// The data of the Store: a context for each guest that imports WASI, and how much memory
/// each guest has.
#[derive(Default)]
pub struct Host {
    contexts: Vec<WasiP1Ctx>,
    pub memory: Memory,
}

impl Host {
    /// A linker for one guest, whose WASI imports act on `context`.
    pub fn linker(&mut self, engine: &Engine, context: Option<WasiP1Ctx>) -> Result<Linker<Host>> {
        let mut linker = Linker::new(engine);
        imports::add_to_linker(&mut linker)?;
        if let Some(context) = context {
            let index = self.contexts.len();
            self.contexts.push(context);
            preempt_wasi::p1::add_to_linker(&mut linker, move |host: &mut Host| {
                &mut host.contexts[index]
            })?;
            // Upstream's rejects a status of 126 or above.
            linker.allow_shadowing(true);
            linker.func_wrap(MODULE, "proc_exit", |status: i32| -> Result<()> {
                Err(I32Exit(status).into())
            })?;
            linker.allow_shadowing(false);
        }
        Ok(linker)
    }
}

/// The settings given for a guest.
#[derive(Clone, Default)]
struct Given {
    /// Keys and values.
    env: Vec<(String, String)>,
    stdin: Option<PathBuf>,
}

/// Makes the context of each guest; `None` for guests that do not import WASI.
pub fn contexts(
    guests: &[Guest],
    args: &RunArgs,
    console: &Console,
) -> Result<Vec<Option<WasiP1Ctx>>> {
    let mut given = vec![Given::default(); guests.len()];
    for text in &args.env {
        let env = settings::split(text, &args.guests, |rest| variable(rest).is_some());
        let Some((key, value)) = variable(&env.value) else {
            bail!(
                "--env {}: write KEY=VALUE, or GUEST=KEY=VALUE for one guest",
                names::name(text)
            );
        };
        for index in takers("--env", &env, guests, args)? {
            // Of two settings for one guest, the later one wins.
            let env = &mut given[index].env;
            env.retain(|(earlier, _)| earlier != key);
            env.push((key.to_string(), value.to_string()));
        }
    }
    for text in &args.stdin {
        let stdin = settings::split(text, &args.guests, |_| true);
        if stdin.value.is_empty() {
            bail!("--stdin: write FILE, or GUEST=FILE for one guest");
        }
        for index in takers("--stdin", &stdin, guests, args)? {
            given[index].stdin = Some(PathBuf::from(&stdin.value));
        }
    }
    guests
        .iter()
        .zip(given)
        .map(|(guest, given)| match &guest.argv {
            Some(argv) => context(argv, given, args, console).map(Some),
            None => Ok(None),
        })
        .collect()
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
    guests: &[Guest],
    args: &RunArgs,
) -> Result<Vec<usize>> {
    let meant = setting.guests(option, &args.guests)?;
    let takes = |index: &usize| guests[*index].argv.is_some();
    let takers: Vec<usize> = meant.into_iter().filter(takes).collect();
    if takers.is_empty() {
        let text = names::name(&setting.text);
        match &setting.guest {
            Some(guest) => bail!(
                "{option} {text}: guest `{}` does not import WASI, and so cannot see it",
                names::name(guest)
            ),
            None => bail!("{option} {text}: no guest imports WASI, and so none can see it"),
        }
    }
    Ok(takers)
}

fn context(argv: &[String], given: Given, args: &RunArgs, console: &Console) -> Result<WasiP1Ctx> {
    // stdout is reserved for the JSON object.
    let stdout = console.stream(match args.outputs.json {
        true => Target::Stderr,
        false => Target::Stdout,
    });
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

/// The files that `--stdin` names.
pub fn stdin_files(args: &RunArgs) -> Vec<PathBuf> {
    let split = |text| settings::split(text, &args.guests, |_| true);
    let files = args.stdin.iter().map(|text| split(text).value.into());
    files.collect()
}

fn open(path: &Path) -> Result<File> {
    let shown = names::path(path);
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("cannot read {shown}: it is a directory");
    }
    Ok(file)
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        self.target.is_terminal()
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Stream::write(self, &bytes)?;
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.room()?)
    }
}

/// Like SIGPIPE, `Closed` ends a guest that ignores errors.
impl From<Refused> for StreamError {
    fn from(refused: Refused) -> StreamError {
        match refused {
            Refused::Closed(closed) => StreamError::Trap(closed.into()),
            Refused::Failed(error) => StreamError::LastOperationFailed(error.into()),
        }
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_room(cx)).await
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx));
        Poll::Ready(match Stream::write(&self, bytes) {
            Ok(len) => Ok(len),
            Err(Refused::Closed(closed)) => Err(io::Error::new(ErrorKind::BrokenPipe, closed)),
            Err(Refused::Failed(error)) => Err(error),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// This process's standard input, for a guest that may just have printed a prompt for it
/// without ending the line.
struct Prompted(Stream);

struct PromptedStream {
    stdout: Stream,
    stdin: Box<dyn InputStream>,
}

impl IsTerminal for Prompted {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(&io::stdin())
    }
}

impl StdinStream for Prompted {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        io::stdin().async_stream()
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(PromptedStream {
            stdout: self.0.clone(),
            stdin: io::stdin().p2_stream(),
        })
    }
}

#[async_trait]
impl Pollable for PromptedStream {
    async fn ready(&mut self) {
        self.stdout.prompt();
        self.stdin.ready().await
    }
}

impl InputStream for PromptedStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stdin.read(size)
    }
}
