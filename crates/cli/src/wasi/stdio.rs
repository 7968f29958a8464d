//! The standard streams of guests, as wasmtime-wasi wants them.

use crate::console::{Refused, Stream};
use bytes::Bytes;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

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
pub struct Prompted(pub Stream);

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
