//! The body of an answer, which is complete only if the guest has finished it.
//!
//! Upstream's body ends as if it were complete when the guest's end of it is dropped. So that end
//! is kept until the client has what was written, or is gone:
//!
//! ```text
//!   the thread has ended, and the body
//!     ends             it was finished: complete
//!     has no more yet  it was not, and never will be: an error, which closes the connection
//! ```

use super::answer::Cancel;
use super::host::Instance;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// What a request's thread and the body of its answer have in common.
#[derive(Clone, Default)]
pub struct Ending(Arc<State>);

#[derive(Default)]
struct State {
    has_ended: AtomicBool,
    /// Of who reads the body.
    reader: AtomicWaker,
    /// What the guest's end of the body belongs to, unless other requests go on with it.
    instance: Mutex<Option<Box<Instance>>>,
}

impl Ending {
    /// The thread has ended, and this is left of its instance.
    pub fn end(&self, instance: Option<Box<Instance>>) {
        let mut rest = self
            .0
            .instance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *rest = instance;
        drop(rest);
        self.0.has_ended.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Acquire)
    }
}

/// The body of a thread's answer. If it is dropped before its end, so is the request.
pub struct AnswerBody {
    body: HyperOutgoingBody,
    thread: Ending,
    /// Until the end of the body.
    cancel: Option<Cancel>,
    /// Whether there was a time to send what there is, before an error.
    has_paused: bool,
}

impl AnswerBody {
    pub fn new(body: HyperOutgoingBody, thread: Ending, cancel: Cancel) -> AnswerBody {
        AnswerBody {
            body,
            thread,
            cancel: Some(cancel),
            has_paused: false,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.thread.0.reader.register(cx.waker());
        // Before it is asked what there is: after it there is nothing new.
        let has_ended = self.thread.has_ended();
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending if has_ended && self.has_paused => {
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
            Poll::Pending if has_ended => {
                self.has_paused = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => frame,
        };
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.cancel = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take().filter(|_| !self.body.is_end_stream()) {
            cancel.cancel();
        }
    }
}
