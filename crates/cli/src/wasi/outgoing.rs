//! The HTTP requests that components send.

use std::future::Future;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks, default_hooks};

/// How many requests a component may have under way, and all of them together: each takes a
/// descriptor of this process.
const MOST: usize = 16;
const MOST_OF_ALL: usize = 256;

/// How large a piece of a body may be that waits to be sent.
const MOST_PIECE: usize = 64 << 10;

static ALL: Semaphore = Semaphore::const_new(MOST_OF_ALL);

/// The places for a component's requests. The default is that it may send none.
#[derive(Clone, Debug, Default)]
pub struct Outgoing(Option<Arc<Semaphore>>);

impl Outgoing {
    /// Of a component that may send requests, if it is `allowed` to.
    pub fn new(allowed: bool) -> Outgoing {
        Outgoing(allowed.then(|| Arc::new(Semaphore::new(MOST))))
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        result: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent>> + Send> {
        let Some(places) = &self.0 else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let place = places.clone().try_acquire_owned().ok();
        let Some(places) = place.zip(ALL.try_acquire().ok()) else {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        };
        let send = default_hooks().send_request(request, options, result);
        Box::new(async move {
            let (response, rest) = Box::into_pin(send).await?;
            let rest: Rest = Box::new(async move {
                let done = Box::into_pin(rest).await;
                drop(places);
                done
            });
            Ok((response, rest))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MOST_PIECE
    }
}

/// What there is to do until a body is there.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

type Sent = (http::Response<WasiBody>, Rest);

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Empty};

    fn send(outgoing: &mut Outgoing) -> Box<dyn Future<Output = Result<Sent>> + Send> {
        let none = Empty::new().map_err(|never| match never {});
        let request = http::Request::new(none.boxed_unsync());
        outgoing.send_request(request, None, Box::new(async { Ok(()) }))
    }

    /// Why it is refused, if it is.
    fn refused(outgoing: &mut Outgoing) -> Option<Error> {
        Box::into_pin(send(outgoing)).now_or_never()?.err()
    }

    #[test]
    fn requests_beyond_the_most_of_a_component_are_refused() {
        let mut outgoing = Outgoing::new(true);
        let sent: Vec<_> = (0..MOST).map(|_| send(&mut outgoing)).collect();
        let next = refused(&mut outgoing);
        assert!(
            matches!(next, Some(Error::ConnectionLimitReached)),
            "{next:?}"
        );
        // It has no host, which is found out when it is sent.
        let of_other = refused(&mut Outgoing::new(true));
        assert!(
            matches!(of_other, Some(Error::HttpRequestUriInvalid)),
            "{of_other:?}"
        );
        drop(sent);
        let after = refused(&mut outgoing);
        assert!(
            matches!(after, Some(Error::HttpRequestUriInvalid)),
            "{after:?}"
        );
        let not_allowed = refused(&mut Outgoing::default());
        assert!(
            matches!(not_allowed, Some(Error::HttpRequestDenied)),
            "{not_allowed:?}"
        );
    }
}
