//! Connections, requests and answers.

use super::answer::{Answer, Cancel, Failure, Reply};
use super::app::App;
use super::args::Capacity;
use super::counts::Counts;
use super::job::Job;
use super::linger::Linger;
use super::place::Place;
use super::stop::Stop;
use super::worker::Worker;
use crate::names;
use http::Method;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use wasmtime::{Result, bail, format_err};

/// How long to wait before accepting again, if the OS could not: it may have no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take to send the head of a request, if `--timeout` is not shorter. A
/// connection without a request is closed then, too.
const MOST_HEAD_TIME: Duration = Duration::from_secs(30);

/// How large the head of a request may be. What has been read at once may be twice as much.
const MOST_HEAD: usize = 64 << 10;

/// The longest name of a request.
const MOST_NAME: usize = 200;

pub struct Server {
    app: Arc<App>,
    workers: Vec<Worker>,
    requests: AtomicU64,
    most_requests: usize,
    places: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    is_stopping: Arc<AtomicBool>,
    counts: Counts,
}

impl Server {
    pub fn new(app: Arc<App>, workers: Vec<Worker>, capacity: &Capacity) -> Server {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Server {
            app,
            workers,
            requests: AtomicU64::new(0),
            most_requests: capacity.max_requests.get(),
            places: semaphore(capacity.max_requests.get()),
            connections: semaphore(capacity.max_connections.get()),
            is_stopping: Arc::default(),
            counts: Counts::default(),
        }
    }

    /// Answers requests until the server is to be stopped, and then those that it has.
    ///
    /// # Errors
    ///
    /// If a connection is still used in the end.
    pub async fn serve(self, listener: TcpListener, mut stop: Stop) -> Result<Counts> {
        let server = Arc::new(self);
        let open = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = server.accept(&listener) => accepted,
                Some(_) = connections.join_next() => continue,
                () = stop.asked() => break,
            };
            let Some((stream, place)) = accepted else {
                continue;
            };
            let to = server.clone();
            let service = service_fn(move |request| {
                let to = to.clone();
                async move { Ok::<_, Infallible>(to.answer(request).await) }
            });
            let time = server.app.timeout;
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(time));
            let stream = Linger::new(Box::pin(stream), server.is_stopping.clone());
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(time.min(MOST_HEAD_TIME))
                .max_buf_size(MOST_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            let connection = open.watch(connection);
            connections.spawn(async move {
                // Errors are the client's, or were reported.
                let _ = connection.await;
                drop(place);
            });
        }
        drop(listener);
        server.is_stopping.store(true, Ordering::Relaxed);
        // By then, all requests have had their time.
        let _ = timeout(server.app.timeout, open.shutdown()).await;
        connections.shutdown().await;
        let server = Arc::into_inner(server);
        let server = server.ok_or_else(|| format_err!("a connection has outlived the server"))?;
        // What they still wait for is driven here.
        let finish = || server.workers.into_iter().for_each(Worker::finish);
        spawn_blocking(finish).await?;
        Ok(server.counts)
    }

    /// The next connection, and its place among all.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, impl Drop + use<>)> {
        let place = self.connections.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written at once.
                let _ = stream.set_nodelay(true);
                Some((stream, place))
            }
            Err(error) => {
                self.app.log(&format!("error: cannot accept: {error}"));
                sleep(PAUSE).await;
                None
            }
        }
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Answer {
        let arrived = Instant::now();
        let is_head = request.method() == Method::HEAD;
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (method, path) = (request.method(), request.uri().path());
        let mut name = names::name(&format!("{number} ({method} {path}"));
        name.truncate(name.floor_char_boundary(MOST_NAME));
        name.push(')');
        let answer = match self.ask(request, &name, arrived).await {
            Ok(answer) => answer,
            Err(failure) => {
                let log = failure.log();
                self.app.log(&format!("request {name}: {log}"));
                failure.answer()
            }
        };
        self.counts.add(answer.status());
        match is_head {
            true => without_body(answer),
            false => answer,
        }
    }

    /// Asks the component.
    async fn ask(
        &self,
        request: http::Request<Incoming>,
        name: &str,
        arrived: Instant,
    ) -> Result<Answer, Failure> {
        let (parts, body) = request.into_parts();
        check(&parts).map_err(Failure::BadRequest)?;
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Failure::Stopping);
        }
        let permit = self.places.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Failure::Busy(self.most_requests))?;
        let workers = self.workers.iter().filter(|worker| worker.is_alive());
        let worker = workers.min_by_key(|worker| worker.load());
        let worker =
            worker.ok_or_else(|| Failure::Internal(format_err!("no OS thread is left")))?;
        let (reply, answer) = Reply::new();
        let cancel = Cancel::new(Place::new(worker.take_load(), permit));
        let group = self.app.tenants.group(&parts);
        let body = body.map_err(|error| error.into()).boxed_unsync();
        worker.send(Job {
            request: http::Request::from_parts(parts, body),
            name: name.to_string(),
            group,
            arrived,
            reply,
            cancel: cancel.clone(),
        });
        let waiting = Waiting(Some(cancel));
        let answer = timeout(self.app.timeout, answer).await;
        match answer {
            Ok(answer) => {
                waiting.end();
                answer.unwrap_or_else(|_| Err(Failure::Internal(format_err!("no answer came"))))
            }
            Err(_) => Err(Failure::TimedOut(self.app.timeout)),
        }
    }
}

/// A client that waits. If it goes away, its request is ended.
struct Waiting(Option<Cancel>);

impl Waiting {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel.cancel();
        }
    }
}

/// The head of an answer. Its body is read for the guest that writes it, and for nobody else.
fn without_body(answer: Answer) -> Answer {
    let (head, mut body) = answer.into_parts();
    tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    let none = Empty::new().map_err(|never| match never {});
    http::Response::from_parts(head, none.boxed_unsync())
}

/// # Errors
///
/// If the request has no host that a component could be told.
fn check(request: &Parts) -> Result<()> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if request.uri.authority().is_some() => return Ok(()),
        (None, _) => bail!("it has none"),
        (Some(_), Some(_)) => bail!("it has more than one"),
    };
    let authority = Authority::try_from(host.as_bytes());
    match authority {
        Ok(authority) if !authority.host().is_empty() && !authority.as_str().contains('@') => {
            Ok(())
        }
        _ => bail!("{host:?}"),
    }
}
