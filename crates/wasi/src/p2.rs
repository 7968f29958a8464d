//! WASI 0.2, for components.
//!
//! Upstream's pollables and streams are entries of the store's
//! [`ResourceTable`](wasmtime_wasi::ResourceTable), and its functions borrow the table, and
//! with it the store, while they wait. So a function that may wait is replaced by a concurrent
//! host function, which parks the guest thread that calls it. It takes the entries it waits for
//! out of the table until it has waited:
//!
//! ```text
//!   guest                                  the store's table
//!
//!   blocking-read(stream 3):
//!     lends entry 3     <-------------     3: an input stream
//!     entry.blocking_read().await          3: lent
//!     drops the loan    ------------->     3: an input stream
//! ```
//!
//! The loan ends when it is dropped, also if the wait fails or the thread is killed.
//!
//! Rejected:
//!
//! - Borrowing the table only while the wait is polled. The future of a pollable borrows
//!   the entry, so it would have to be made anew for each poll, and dropping one loses its
//!   wake-up: tokio's timers and sockets wake the futures that still exist.
//! - Sharing all entries behind locks, as [`p1`](crate::p1) shares the standard streams.
//!   What can be waited for here is of any type, also of an embedder's, and so is what uses
//!   it without waiting. Only the standard streams are shared, because several guest
//!   threads may read them at the same time.

mod lending;
mod poll;
mod sockets;
mod stdio;
mod streams;

use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::add_to_linker_with_options_async;
use wasmtime_wasi::p2::bindings::LinkOptions;

/// Adds all interfaces of the world `wasi:cli/command` of WASI 0.2 to `linker`.
///
/// They behave like those of [`wasmtime_wasi::p2::add_to_linker_async`], except that these
/// functions park the calling guest thread while they wait, and its siblings keep running:
///
/// - of `wasi:io/poll`: `poll` and `pollable.block`,
/// - of `wasi:io/streams`: `blocking-read`, `blocking-skip`, `blocking-write-and-flush`,
///   `blocking-write-zeroes-and-flush`, `blocking-flush` and `blocking-splice`.
///
/// WASI 0.2 waits in these, for clocks, standard streams, sockets and the lookup of names.
/// In plain calls, such as `call_async`, they keep the store while they wait, as upstream's do.
///
/// No runtime of tokio's has to be there; if there is none, wasmtime-wasi's own is used. In a
/// runtime, use `Store::run_wasm_threads_async`: a synchronous run would block the OS thread
/// that drives what guests wait for.
///
/// Guest threads that wait for the same standard stream take turns. What one of them writes
/// with `blocking-write-and-flush` is not mixed with what others write.
///
/// Some functions keep the store until they are done, in guest threads too: those of
/// `wasi:filesystem`, and dropping a stream, which waits until everything is written. Pollables
/// of `wasi:clocks` go by the OS's clock, whatever clocks the context has.
///
/// What a thread waits for can be used again when it has been killed. Handles that its instance
/// owns stay in the table.
///
/// # Errors
///
/// If one of the interfaces is already defined, or if
/// [`Config::concurrency_support`](wasmtime::Config::concurrency_support) is off.
///
/// # Errors that guests get
///
/// The same as upstream's. Besides, a call traps if it uses what another thread is waiting
/// for: a stream, or the clock, socket or stream of a pollable. Handles to a standard stream
/// from separate calls of `get-stdin`, for example, are separate streams in this respect.
pub fn add_to_linker<T: WasiView>(linker: &mut Linker<T>) -> Result<()> {
    add_to_linker_with_options(linker, &LinkOptions::default())
}

/// Like [`add_to_linker`], with unstable features as upstream's
/// [`add_to_linker_with_options_async`].
///
/// # Errors
///
/// See [`add_to_linker`].
pub fn add_to_linker_with_options<T: WasiView>(
    linker: &mut Linker<T>,
    options: &LinkOptions,
) -> Result<()> {
    add_to_linker_with_options_async(linker, options)?;
    // Whether `linker` allows shadowing can only be tried.
    if shadow(linker).is_ok() {
        return Ok(());
    }
    linker.allow_shadowing(true);
    let shadowed = shadow(linker);
    linker.allow_shadowing(false);
    shadowed
}

fn shadow<T: WasiView>(linker: &mut Linker<T>) -> Result<()> {
    poll::add_to_linker(&mut linker.instance("wasi:io/poll@0.2.12")?)?;
    streams::add_to_linker(&mut linker.instance("wasi:io/streams@0.2.12")?)?;
    sockets::add_to_linker(&mut linker.instance("wasi:sockets/tcp@0.2.12")?)?;
    stdio::add_to_linker(linker)
}
