//! The answer to a request: the component's, or why there is none.

use super::place::Place;
use crate::limits::Limit;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use indicatif::BinaryBytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime::preempt::{OverLimit, RemoteThread};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// What a client gets.
pub type Answer = Response<HyperOutgoingBody>;

/// Why a request has no answer of the component's.
#[derive(Debug)]
pub enum Failure {
    /// It is not one that a component can answer.
    BadRequest(wasmtime::Error),
    /// The component has answered with an error.
    Error(ErrorCode),
    Trapped(wasmtime::Error),
    /// The component has ended with this status, by `wasi:cli/exit`.
    Exited(i32),
    /// The component has returned.
    NoAnswer,
    TimedOut(Duration),
    /// Over a limit other than the timeout.
    OverLimit(OverLimit),
    /// Over so many bytes.
    OverMemory(u64),
    /// There are this many already.
    Busy(usize),
    /// The server is being stopped.
    Stopping,
    /// The server's own fault.
    Internal(wasmtime::Error),
}

impl Failure {
    /// The component has trapped, or ended itself.
    pub fn of_trap(error: wasmtime::Error) -> Failure {
        match error.downcast_ref() {
            Some(I32Exit(status)) => Failure::Exited(*status),
            None => Failure::Trapped(error),
        }
    }

    /// Whether the component has ended itself as it should.
    pub fn is_exit(&self) -> bool {
        matches!(self, Failure::Exited(0))
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Failure::BadRequest(_) => StatusCode::BAD_REQUEST,
            Failure::Error(_)
            | Failure::Trapped(_)
            | Failure::Exited(_)
            | Failure::NoAnswer
            | Failure::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Failure::OverLimit(_)
            | Failure::OverMemory(_)
            | Failure::Busy(_)
            | Failure::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For clients, which are not told what is inside of the component.
    fn text(&self) -> String {
        match self {
            Failure::BadRequest(_) => "the request has no valid host".into(),
            Failure::Error(_) => "the component answered with an error".into(),
            Failure::Trapped(_) => "the component trapped".into(),
            Failure::Exited(_) => "the component ended without an answer".into(),
            Failure::NoAnswer => "the component returned without an answer".into(),
            Failure::TimedOut(limit) => format!("the request was over its timeout of {limit:?}"),
            Failure::OverLimit(over) => format!("the request was over {}", Limit(*over)),
            Failure::OverMemory(limit) => {
                let limit = BinaryBytes(*limit);
                format!("the request was over its memory limit of {limit}")
            }
            Failure::Busy(most) => format!("there are {most} requests already"),
            Failure::Stopping => "the server is being stopped".into(),
            Failure::Internal(_) => "the server failed".into(),
        }
    }

    /// For whoever runs the server.
    pub fn log(&self) -> String {
        match self {
            Failure::BadRequest(error) | Failure::Trapped(error) | Failure::Internal(error) => {
                format!("{}: {error:#}", self.text())
            }
            Failure::Exited(status) => format!("{}: status {status}", self.text()),
            Failure::Error(code) => format!("{}: {code:?}", self.text()),
            _ => self.text(),
        }
    }

    pub fn answer(&self) -> Answer {
        let status = self.status();
        let text = Bytes::from(format!("{status}: {}\n", self.text()));
        let body = Full::new(text).map_err(|never| match never {});
        let mut answer = Response::new(body.boxed_unsync());
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        match self {
            Failure::Busy(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Failure::Stopping => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        answer
    }
}

/// Where the answer to a request goes.
#[derive(Clone)]
pub struct Reply(Arc<Mutex<Option<Sender>>>);

type Sender = oneshot::Sender<Result<Answer, Failure>>;

impl Reply {
    pub fn new() -> (Reply, oneshot::Receiver<Result<Answer, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        (Reply(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    fn take(&self) -> Option<Sender> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives the answer, unless there was one.
    pub fn give(&self, answer: Result<Answer, Failure>) {
        if let Some(sender) = self.take() {
            // The client may be gone.
            let _ = sender.send(answer);
        }
    }

    /// Says why there is no answer.
    ///
    /// # Errors
    ///
    /// The failure, if there was an answer.
    pub fn give_failure(&self, failure: Failure) -> Result<(), Failure> {
        match self.take() {
            Some(sender) => {
                let _ = sender.send(Err(failure));
                Ok(())
            }
            None => Err(failure),
        }
    }
}

/// Ends a request whose client is gone. Also has the request's place among all.
#[derive(Clone)]
pub struct Cancel(Arc<Mutex<State>>);

struct State {
    thread: Option<RemoteThread>,
    is_cancelled: bool,
    place: Option<Place>,
}

impl Cancel {
    pub fn new(place: Place) -> Cancel {
        Cancel(Arc::new(Mutex::new(State {
            thread: None,
            is_cancelled: false,
            place: Some(place),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }

    /// The request has this thread.
    pub fn runs(&self, thread: RemoteThread) {
        let mut state = self.state();
        if state.is_cancelled {
            thread.kill();
        }
        state.thread = Some(thread);
    }

    /// The request is over.
    pub fn is_over(&self) {
        let mut state = self.state();
        (state.thread, state.place) = (None, None);
    }

    pub fn cancel(&self) {
        let mut state = self.state();
        state.is_cancelled = true;
        match &state.thread {
            Some(thread) => thread.kill(),
            // It is in the queue, or over.
            None => state.place = None,
        }
    }
}
