//! What guests can import. WASI preview 1 for each that imports it, with its own
//! arguments, environment and standard streams; those that know of guest threads have
//! `preempt`.

use crate::args::RunArgs;
use crate::console::{Console, Refused, Stream, Target};
use crate::load::Guest;
use crate::memory::Memory;
use crate::names;
use bytes::Bytes;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::path::Path;
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

/// The data of the Store: one context for each guest that imports WASI, and what memory
/// each guest has.
#[derive(Default)]
pub struct Host {
    contexts: Vec<WasiP1Ctx>,
    pub memory: Memory,
}

impl Host {
    /// A linker for a guest of its own: what it imports acts on `context`.
    pub fn linker(&mut self, engine: &Engine, context: Option<WasiP1Ctx>) -> Result<Linker<Host>> {
        let mut linker = Linker::new(engine);
        imports::add_to_linker(&mut linker)?;
        if let Some(context) = context {
            let index = self.contexts.len();
            self.contexts.push(context);
            preempt_wasi::p1::add_to_linker(&mut linker, move |host: &mut Host| {
                &mut host.contexts[index]
            })?;
            // Upstream's takes no status from 126 on.
            linker.allow_shadowing(true);
            linker.func_wrap(MODULE, "proc_exit", |status: i32| -> Result<()> {
                Err(I32Exit(status).into())
            })?;
            linker.allow_shadowing(false);
        }
        Ok(linker)
    }
}

/// Makes the context of each guest, `None` for those that do not import WASI.
pub fn contexts(
    guests: &[Guest],
    args: &RunArgs,
    console: &Console,
) -> Result<Vec<Option<WasiP1Ctx>>> {
    for (option, number, text) in args
        .env
        .iter()
        .map(|env| ("--env", env.guest, &env.text))
        .chain(args.stdin.iter().map(|i| ("--stdin", i.guest, &i.text)))
    {
        let Some(number) = number else { continue };
        match guests.get(number - 1) {
            Some(guest) if guest.argv.is_none() => bail!(
                "{option} {text}: guest {number} (`{}`) does not import WASI, \
                 and so cannot see it",
                names::name(&guest.spec.text)
            ),
            Some(_) => {}
            None => bail!(
                "{option} {text}: there is no guest {number}; the last one is guest {} (`{}`)",
                guests.len(),
                guests
                    .last()
                    .map_or(String::new(), |guest| names::name(&guest.spec.text)),
            ),
        }
    }
    guests
        .iter()
        .enumerate()
        .map(|(i, guest)| match &guest.argv {
            Some(argv) => context(i + 1, argv, args, console).map(Some),
            None => Ok(None),
        })
        .collect()
}

/// The context of guest `number`, counted from 1.
fn context(number: usize, argv: &[String], args: &RunArgs, console: &Console) -> Result<WasiP1Ctx> {
    let is_for = |guest: Option<usize>| guest.is_none_or(|guest| guest == number);
    // stdout is for the JSON object alone.
    let stdout = console.stream(match args.outputs.json {
        true => Target::Stderr,
        false => Target::Stdout,
    });
    let mut builder = WasiCtxBuilder::new();
    builder.args(argv);

    // Of two settings for one guest, the later one holds.
    let mut env: Vec<(&str, &str)> = Vec::new();
    for variable in args.env.iter().filter(|env| is_for(env.guest)) {
        let (key, value) = (&*variable.value.key, &*variable.value.value);
        env.retain(|(earlier, _)| *earlier != key);
        env.push((key, value));
    }
    builder.envs(&env);

    match args.stdin.iter().rfind(|stdin| is_for(stdin.guest)) {
        Some(stdin) => {
            let file = open(&stdin.value)
                .with_context(|| format!("--stdin {}", names::name(&stdin.text)))?;
            match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                true => builder.stdin(InputFile::new(file)),
                // A pipe, or a device: it may have to be waited for.
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

/// As SIGPIPE does, `Closed` ends who does not look at errors.
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

/// The standard input of this process, for a guest which may have asked for it
/// on its standard output in a line without an end.
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
