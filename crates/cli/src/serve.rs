//! `preempt serve`: HTTP requests as guest threads.
//!
//! ```text
//!   server: connections,          workers: OS threads       each with Stores:
//!   requests, answers
//!                         queue
//!     request  --------------->   Store that takes requests: acceptor, request, request ...
//!     request  --------\          Store that finishes those it has: request ...
//!                       \ queue
//!                        ----->   Store that takes requests: acceptor, request ...
//! ```
//!
//! A request goes to the OS thread that has the fewest. The server has an OS thread of its own,
//! the first one. It also drives what guests wait for: no guest can keep it from running.

mod acceptor;
mod answer;
mod app;
mod args;
mod body;
mod counts;
mod descriptors;
mod environment;
mod host;
mod job;
mod linger;
mod place;
mod server;
mod sizes;
mod stop;
mod store;
mod tenants;
mod traces;
mod worker;

pub use args::ServeArgs;

use crate::console::Target;
use app::App;
use server::Server;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stop::Stop;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;
use wasmtime::Result;
use wasmtime::error::Context as _;
use worker::Worker;

/// How long to wait for a reader of what requests have printed.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until it is stopped.
///
/// # Errors
///
/// Bad usage, a component that cannot be served, or an address that is taken.
pub fn run(args: &ServeArgs) -> Result<()> {
    let app = Arc::new(App::new(args)?);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for the network")?;
    let cannot_listen = || format!("--addr {}: cannot listen there", args.addr);
    descriptors::raise_limit();
    let listener = runtime
        .block_on(async { listen(args.addr) })
        .with_context(cannot_listen)?;
    let address = listener.local_addr().with_context(cannot_listen)?;
    let stop = Stop::listen()?;
    let workers = (0..args.capacity.threads())
        .map(|_| Worker::start(&app, runtime.handle()))
        .collect::<Result<Vec<_>>>()?;
    let server = Server::new(app.clone(), workers, &args.capacity);
    app.console.print(
        Target::Stderr,
        format!("Serving HTTP on http://{address}/\n"),
    );
    let counts = runtime.block_on(server.serve(listener, stop))?;
    app.console.print(Target::Stderr, format!("{counts}\n"));
    app.console.finish();
    // Nobody may be reading it.
    let _ = app.console.drain(|idle| idle >= GRACE);
    // A guest may have asked for what blocks an OS thread for ever, such as opening a pipe.
    runtime.shutdown_background();
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    /// How many connections may wait to be accepted.
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
