//! A connection that is closed while its client still sends is read on for a while. The OS would
//! answer what it cannot deliver with a reset, and a client that is reset loses the answer that it
//! has not read yet: RFC 9112, section 9.6.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may send nothing and not close its side either.
const MOST_SILENCE: Duration = Duration::from_secs(5);

/// How long a client may send what nobody will use.
const MOST_TIME: Duration = Duration::from_secs(30);

pub struct Linger<S> {
    stream: S,
    /// Once this is set, connections whose clients send nothing are closed at once.
    is_stopping: Arc<AtomicBool>,
    /// Everything that has come was read, and nothing was written since.
    is_idle: bool,
    end: Option<End>,
}

/// When to give up.
struct End {
    silence: Pin<Box<Sleep>>,
    time: Instant,
}

impl<S> Linger<S> {
    pub fn new(stream: S, is_stopping: Arc<AtomicBool>) -> Linger<S> {
        Linger {
            stream,
            is_stopping,
            is_idle: true,
            end: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Linger<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.is_idle = read.is_pending();
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_idle = false;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_idle = false;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if this.is_idle && this.is_stopping.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let end = this.end.get_or_insert_with(|| {
            let now = Instant::now();
            End {
                silence: Box::pin(sleep_until(now + MOST_SILENCE)),
                time: now + MOST_TIME,
            }
        });
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let silence = Instant::now() + MOST_SILENCE;
                    end.silence.as_mut().reset(silence.min(end.time));
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return end.silence.as_mut().poll(cx).map(Ok),
            }
            if end.silence.deadline() <= Instant::now() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn linger(stream: DuplexStream, is_stopping: bool) -> Linger<DuplexStream> {
        Linger::new(stream, Arc::new(AtomicBool::new(is_stopping)))
    }

    /// With a clock that nothing but timers moves. How long it took.
    fn timed(test: impl Future<Output = ()>) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = Instant::now();
            test.await;
            start.elapsed()
        })
    }

    #[test]
    fn what_a_client_still_sends_is_read() {
        let took = timed(async {
            let (mut client, server) = duplex(16);
            let mut server = linger(server, false);
            let close = tokio::spawn(async move { server.shutdown().await });
            client.write_all(&[1; 100_000]).await.unwrap();
            client.shutdown().await.unwrap();
            close.await.unwrap().unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        });
        assert_eq!(took, Duration::ZERO);
    }

    #[test]
    fn silent_client_is_waited_for_as_long_as_said() {
        let took = timed(async {
            let (_client, server) = duplex(16);
            linger(server, false).shutdown().await.unwrap();
        });
        assert_eq!(took.as_secs(), MOST_SILENCE.as_secs());
    }

    #[test]
    fn client_that_sends_without_end_is_waited_for_as_long_as_said() {
        let took = timed(async {
            let (mut client, server) = duplex(16);
            let mut server = linger(server, false);
            tokio::spawn(async move {
                while client.write_all(&[1; 16]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            server.shutdown().await.unwrap();
        });
        assert_eq!(took.as_secs(), MOST_TIME.as_secs());
    }

    #[test]
    fn idle_client_is_not_waited_for_once_the_server_stops() {
        let took = timed(async {
            let (_client, server) = duplex(16);
            linger(server, true).shutdown().await.unwrap();
        });
        assert_eq!(took, Duration::ZERO);
    }

    #[test]
    fn client_that_was_just_answered_is_waited_for() {
        let took = timed(async {
            let (_client, server) = duplex(16);
            let mut server = linger(server, true);
            server.write_all(&[1]).await.unwrap();
            server.shutdown().await.unwrap();
        });
        assert_eq!(took.as_secs(), MOST_SILENCE.as_secs());
    }
}
