//! How long a request waits beside stores that want all of the CPU, on tokio's
//! multi-thread runtime.
//!
//! A server answers a line with a line. A client, an OS thread of its own, asks again
//! some time after each answer, and takes note of how long that took. Beside it stores of
//! guests that never yield run as tasks of the server's runtime: each in
//! `Store::run_wasm_threads_async`, or, as embedders do it today, in a `call_async` that yields
//! at each tick of an epoch.

use crate::guest;
use hdrhistogram::Histogram;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use wasmtime::error::Context as _;
use wasmtime::{Config, Engine, Preemption, Result, Store};

/// What runs beside the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Nothing,
    /// Stores in `run_wasm_threads_async`.
    GuestThreads(Preemption),
    /// Stores in `call_async`, with an epoch each 10 ms.
    CallAsync,
}

/// The times of all requests, in nanoseconds.
pub fn measure(beside: Beside, stores: usize, time: Duration) -> Result<Histogram<u64>> {
    let workers = thread::available_parallelism().map_or(1, |n| n.get());
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?;
    let address = serve(&runtime)?;
    let stop = Arc::new(AtomicBool::new(false));
    match beside {
        Beside::Nothing => {}
        Beside::GuestThreads(preemption) => guest_threads(&runtime, preemption, stores)?,
        Beside::CallAsync => call_async(&runtime, stores, &stop)?,
    }
    // Until all of them have had a turn.
    thread::sleep(time / 4);
    let client = thread::spawn(move || ask(address, time));
    let times = client.join();
    stop.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(Duration::from_secs(10));
    times.map_err(|_| wasmtime::format_err!("the client has panicked"))?
}

fn serve(runtime: &Runtime) -> Result<SocketAddr> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut line = [0; 64];
                loop {
                    match stream.read(&mut line).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => {
                            if stream.write_all(&line[..n]).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    Ok(address)
}

fn ask(address: SocketAddr, time: Duration) -> Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Histogram::new(3)?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(3));
        let start = Instant::now();
        stream.write_all(b"GET /\n")?;
        stream
            .read_exact(&mut [0; 6])
            .context("the server has gone")?;
        times.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(times)
}

fn guest_threads(runtime: &Runtime, preemption: Preemption, stores: usize) -> Result<()> {
    let engine = Engine::new(Config::new().preemption(preemption))?;
    for _ in 0..stores {
        let mut store = Store::new(&engine, ());
        for _ in 0..2 {
            let run = guest::func(&mut store, guest::SPIN)?;
            store.spawn_wasm_thread(run, &[])?;
        }
        runtime.spawn(async move { store.run_wasm_threads_async(Duration::MAX).await });
    }
    Ok(())
}

fn call_async(runtime: &Runtime, stores: usize, stop: &Arc<AtomicBool>) -> Result<()> {
    let engine = Engine::new(Config::new().epoch_interruption(true))?;
    let (ticked, stop) = (engine.clone(), stop.clone());
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
            ticked.increment_epoch();
        }
    });
    for _ in 0..stores {
        let mut store = Store::new(&engine, ());
        let run = guest::typed::<(), ()>(&mut store, guest::SPIN)?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        runtime.spawn(async move { run.call_async(&mut store, ()).await });
    }
    Ok(())
}
