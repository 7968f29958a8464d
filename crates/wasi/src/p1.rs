//! WASI preview 1.

use crate::iovecs::Piece;
use crate::listing::Listing;
use crate::poll::{Looked, Poll};
use crate::stdio::{Stdio, Step, any_ready};
use crate::wait::{block_on, wait};
use std::future::poll_fn;
use std::pin::pin;
use std::task;
use std::time::Duration;
use wasmtime::preempt::ConcurrentCaller;
use wasmtime::{AsContextMut, Caller, Extern, Linker, Result, bail};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Filesize, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as upstream, WasiSnapshotPreview1};
use wiggle::{GuestMemory, GuestPtr};

const MODULE: &str = "wasi_snapshot_preview1";

/// How many bytes of guest memory a function that takes a name may copy: far more than any
/// operating system accepts.
const MAX_NAMES: usize = 1 << 20;

/// How many random bytes to generate at a time.
const RANDOM_PIECE: u32 = 64 << 10;

/// Adds all functions of WASI preview 1 to `linker`; `get` finds the context in the store's
/// data.
///
/// They behave like those of [`wasmtime_wasi::p1`], except that a wait parks only the
/// calling guest thread and its siblings keep running. This applies to `poll_oneoff` (and
/// so to `sleep` and `select`), to `fd_read` from standard input, and to `fd_write` to a
/// standard stream that is not ready for more. `sched_yield` lets the siblings go first.
/// Threads of one context may wait at the same time; threads that wait for the same input
/// take turns. The memory that the guest exports may be shared. Works in synchronous and
/// asynchronous runs.
///
/// File reads and writes block the OS thread, even for pipes and devices.
///
/// No call holds the siblings up for long. `fd_read`, `fd_write`, `fd_pread` and
/// `fd_pwrite` move at most 256 KiB, to or from several buffers at once, and return how
/// much they moved. `random_get` lets the siblings go first every 64 KiB, `fd_readdir`
/// every 16 KiB, and `poll_oneoff` whenever it does not wait. The work the OS does for one
/// call is not bounded: listing part of a directory reads all of its names.
///
/// # Clocks and randomness
///
/// They are the context's, so that an embedder can replace them: see
/// [`WasiCtxBuilder::monotonic_clock`](wasmtime_wasi::WasiCtxBuilder::monotonic_clock),
/// `wall_clock` and `secure_random`. `poll_oneoff` looks at the context's clocks, and sleeps
/// in between by the clock of the store's timed waits. If that is a
/// [virtual clock](wasmtime::preempt::WasmThreads::set_virtual_clock), give the context the
/// same one, as a [`Clock`](crate::Clock).
///
/// # Plain calls
///
/// A call made outside any guest thread, such as one from a start function, blocks the OS
/// thread while it waits, like upstream's synchronous functions. Inside a tokio runtime it
/// keeps the store borrowed instead, which requires
/// [`call_async`](wasmtime::Func::call_async): a synchronous call that would have to wait
/// fails there. So does a call by a guest thread from within a function that a host
/// function called.
///
/// # Errors
///
/// If one of the functions is already defined.
///
/// # Errors that guests get
///
/// The same as upstream's. A pointer that is out of bounds or misaligned traps.
/// `poll_oneoff` returns `inval` without subscriptions, `nomem` with more than 4,096 or
/// more than fit in [`hostcall_fuel`](wasmtime::Store::hostcall_fuel), and `badf` for a
/// descriptor that is not open or is a directory. More than 1,024 buffers are `inval`;
/// names longer than 1 MiB are `nomem`.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: impl Fn(&mut T) -> &mut WasiP1Ctx + Copy + Send + Sync + 'static,
) -> Result<()> {
    /// Upstream's functions, unchanged.
    macro_rules! functions {
        ($($name:ident($($arg:ident: $ty:ty),*);)*) => {$(
            functions!(@ $name, |f| f, $($arg: $ty),*);
        )*};
        (blocking $($name:ident($($arg:ident: $ty:ty),*);)*) => {$(
            functions!(@ $name, block_on, $($arg: $ty),*);
        )*};
        (@ $name:ident, $run:expr, $($arg:ident: $ty:ty),*) => {
            linker.func_wrap(
                MODULE,
                stringify!($name),
                move |mut caller: Caller<'_, T>, $($arg: $ty),*| {
                    with_guest(&mut caller, get, |context, memory, fuel| {
                        context.set_hostcall_fuel(fuel.min(MAX_NAMES));
                        let run = $run;
                        run(upstream::$name(context, memory, $($arg),*))
                    })
                    .flatten()
                },
            )?;
        };
    }
    functions! {
        args_get(a: i32, b: i32);
        args_sizes_get(a: i32, b: i32);
        clock_res_get(a: i32, b: i32);
        clock_time_get(a: i32, b: i64, c: i32);
        environ_get(a: i32, b: i32);
        environ_sizes_get(a: i32, b: i32);
        fd_allocate(a: i32, b: i64, c: i64);
        fd_fdstat_set_flags(a: i32, b: i32);
        fd_fdstat_set_rights(a: i32, b: i64, c: i64);
        fd_prestat_dir_name(a: i32, b: i32, c: i32);
        fd_prestat_get(a: i32, b: i32);
        fd_tell(a: i32, b: i32);
        proc_exit(a: i32);
        proc_raise(a: i32);
        sock_accept(a: i32, b: i32, c: i32);
        sock_recv(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
        sock_send(a: i32, b: i32, c: i32, d: i32, e: i32);
        sock_shutdown(a: i32, b: i32);
    }
    functions! { blocking
        fd_advise(a: i32, b: i64, c: i64, d: i32);
        fd_close(a: i32);
        fd_datasync(a: i32);
        fd_fdstat_get(a: i32, b: i32);
        fd_filestat_get(a: i32, b: i32);
        fd_filestat_set_size(a: i32, b: i64);
        fd_filestat_set_times(a: i32, b: i64, c: i64, d: i32);
        fd_renumber(a: i32, b: i32);
        fd_seek(a: i32, b: i64, c: i32, d: i32);
        fd_sync(a: i32);
        path_create_directory(a: i32, b: i32, c: i32);
        path_filestat_get(a: i32, b: i32, c: i32, d: i32, e: i32);
        path_filestat_set_times(a: i32, b: i32, c: i32, d: i32, e: i64, f: i64, g: i32);
        path_link(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32);
        path_open(
            a: i32, b: i32, c: i32, d: i32, e: i32, f: i64, g: i64, h: i32, i: i32
        );
        path_readlink(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
        path_remove_directory(a: i32, b: i32, c: i32);
        path_rename(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
        path_symlink(a: i32, b: i32, c: i32, d: i32, e: i32);
        path_unlink_file(a: i32, b: i32, c: i32);
    }
    linker.func_wrap_concurrent(MODULE, "fd_read", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.fd_read(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "fd_write", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.fd_write(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "fd_pread", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.fd_pread(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "fd_pwrite", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.fd_pwrite(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "fd_readdir", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.fd_readdir(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "random_get", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.random_get(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "poll_oneoff", move |accessor, args| {
        Box::pin(wait(accessor, Guest { accessor, get }.poll_oneoff(args)))
    })?;
    linker.func_wrap_concurrent(MODULE, "sched_yield", move |accessor, ()| {
        Box::pin(async move {
            Guest { accessor, get }.yield_now().await?;
            Ok(Errno::Success as i32)
        })
    })?;
    Ok(())
}

/// The guest that called a function which may wait.
struct Guest<'a, T: 'static, G> {
    accessor: &'a ConcurrentCaller<T>,
    get: G,
}

impl<T: 'static, G> Guest<'_, T, G>
where
    G: Fn(&mut T) -> &mut WasiP1Ctx + Copy,
{
    /// Calls `f` with the guest's context, its memory, and how many bytes a host function
    /// may allocate for it.
    fn with<R>(
        &self,
        f: impl FnOnce(&mut WasiP1Ctx, &mut GuestMemory<'_>, usize) -> R,
    ) -> Result<R> {
        let get = self.get;
        let with = |mut caller: Caller<'_, T>| with_guest(&mut caller, get, f);
        self.accessor.with(with).flatten()
    }

    async fn fd_read(self, (fd, iovs, count, read): (i32, i32, i32, i32)) -> Result<i32> {
        self.read(fd, (iovs, count), read, None).await
    }

    async fn fd_pread(
        self,
        (fd, iovs, count, offset, read): (i32, i32, i32, i64, i32),
    ) -> Result<i32> {
        let offset = Some(offset.cast_unsigned());
        self.read(fd, (iovs, count), read, offset).await
    }

    /// Reads, at `offset` if there is one.
    async fn read(
        self,
        fd: i32,
        iovs: (i32, i32),
        read: i32,
        offset: Option<Filesize>,
    ) -> Result<i32> {
        let fd = Fd::from(fd);
        let iovs = GuestPtr::new((iovs.0.cast_unsigned(), iovs.1.cast_unsigned()));
        let room = self.with(|_, memory, _| Piece::for_reading(memory, iovs))?;
        let mut room = match room {
            Ok(room) => room,
            Err(error) => return self.give(Err(error), read),
        };
        let mut attempts = 0;
        let result = loop {
            let step = self.with(|context, _, _| {
                let stdio = Stdio::of(context)?;
                let at = room.iovecs();
                let memory = &mut room.memory();
                Result::<_, wasmtime::Error>::Ok(match offset {
                    Some(offset) => stdio.drive(context.fd_pread(memory, fd, at, offset)),
                    None => stdio.drive(context.fd_read(memory, fd, at)),
                })
            })??;
            match step {
                Step::Done(result) => break result,
                Step::Asked(streams) => any_ready(&streams).await,
            }
            self.again(&mut attempts).await?;
        };
        let given = match result {
            Ok(count) => self.with(|_, memory, _| {
                room.scatter(memory, iovs, count)?;
                Ok(count)
            })?,
            Err(error) => Err(error),
        };
        self.give(given, read)
    }

    async fn fd_write(self, (fd, iovs, count, written): (i32, i32, i32, i32)) -> Result<i32> {
        self.write(fd, (iovs, count), written, None).await
    }

    async fn fd_pwrite(
        self,
        (fd, iovs, count, offset, written): (i32, i32, i32, i64, i32),
    ) -> Result<i32> {
        let offset = Some(offset.cast_unsigned());
        self.write(fd, (iovs, count), written, offset).await
    }

    /// Writes, at `offset` if there is one.
    async fn write(
        self,
        fd: i32,
        iovs: (i32, i32),
        written: i32,
        offset: Option<Filesize>,
    ) -> Result<i32> {
        let fd = Fd::from(fd);
        let iovs = GuestPtr::new((iovs.0.cast_unsigned(), iovs.1.cast_unsigned()));
        let piece = self.with(|_, memory, _| Piece::gather(memory, iovs))?;
        let mut piece = match piece {
            Ok(piece) => piece,
            Err(error) => return self.give(Err(error), written),
        };
        let (result, taken) = loop {
            let (step, taken) = self.with(|context, _, _| {
                let stdio = Stdio::of(context)?;
                let at = piece.iovecs();
                let memory = &mut piece.memory();
                let step = match offset {
                    Some(offset) => stdio.drive(context.fd_pwrite(memory, fd, at, offset)),
                    None => stdio.drive(context.fd_write(memory, fd, at)),
                };
                Result::<_, wasmtime::Error>::Ok((step, stdio.take_written()))
            })??;
            match step {
                Step::Done(result) => break (result, taken),
                // Never asked: a write only queues its bytes, to be taken below.
                Step::Asked(streams) => any_ready(&streams).await,
            }
        };
        let result = match taken.write().await {
            Ok(()) => result,
            Err(error) => Err(error.into()),
        };
        self.give(result, written)
    }

    async fn fd_readdir(
        self,
        (fd, buffer, len, cookie, used): (i32, i32, i32, i64, i32),
    ) -> Result<i32> {
        let fd = Fd::from(fd);
        let buffer = GuestPtr::<u8>::new(buffer.cast_unsigned());
        let mut listing = Listing::new(len.cast_unsigned(), cookie.cast_unsigned());
        loop {
            let more = self.with(|context, memory, _| {
                let cookie = listing.cookie();
                let to = buffer.add(listing.filled())?;
                let (mut piece, len) = listing.piece();
                let start = GuestPtr::new(0);
                let used = block_on(context.fd_readdir(&mut piece, fd, start, len, cookie))?;
                let (entries, more) = listing.take(used);
                memory.copy_from_slice(entries, to.as_array(u32::try_from(entries.len())?))?;
                Result::<_, Error>::Ok(more)
            })?;
            match more {
                Ok(true) => self.yield_now().await?,
                Ok(false) => break self.give(Ok(listing.filled()), used),
                Err(error) => break self.give(Err(error), used),
            }
        }
    }

    async fn random_get(self, (buffer, len): (i32, i32)) -> Result<i32> {
        let buffer = GuestPtr::<u8>::new(buffer.cast_unsigned());
        let len = len.cast_unsigned();
        let mut done = 0;
        while done < len {
            if done > 0 {
                self.yield_now().await?;
            }
            let piece = RANDOM_PIECE.min(len - done);
            let got = self
                .with(|context, memory, _| context.random_get(memory, buffer.add(done)?, piece))?;
            if let Err(error) = got {
                return Ok(error.downcast()? as i32);
            }
            done += piece;
        }
        Ok(Errno::Success as i32)
    }

    async fn poll_oneoff(
        self,
        (subscriptions, events, count, ready): (i32, i32, i32, i32),
    ) -> Result<i32> {
        let poll = self.with(|context, _, _| {
            Poll::new(
                context,
                subscriptions.cast_unsigned(),
                events.cast_unsigned(),
                count.cast_unsigned(),
            )
        })??;
        let mut attempts = 0;
        let result = loop {
            let looked = self.with(|context, memory, fuel| poll.look(context, memory, fuel))?;
            let (left, streams) = match looked {
                Ok(Looked::Ready(count)) => break Ok(count),
                Ok(Looked::NotYet(left, streams)) => (left, streams),
                Err(error) => break Err(error),
            };
            let mut time_up = pin!(self.sleep(left));
            let mut any_ready = pin!(any_ready(&streams));
            poll_fn(|cx| match time_up.as_mut().poll(cx) {
                task::Poll::Pending => any_ready.as_mut().poll(cx).map(Ok),
                ready => ready,
            })
            .await?;
            self.again(&mut attempts).await?;
        };
        // A guest that polls in a loop is usually waiting for a sibling.
        if attempts == 0 {
            self.yield_now().await?;
        }
        self.give(result, ready)
    }

    /// Lets the siblings go first.
    async fn yield_now(&self) -> Result<()> {
        if self.accessor.current_thread()?.is_some() {
            self.accessor.yield_now().await;
        }
        Ok(())
    }

    async fn sleep(&self, time: Option<Duration>) -> Result<()> {
        match time {
            Some(time) => self.accessor.sleep(time).await,
            None => std::future::pending().await,
        }
    }

    /// Called after something became ready. Another thread may have been faster, and some
    /// streams are ready yet have no data: do not spin on those forever.
    async fn again(&self, attempts: &mut u32) -> Result<()> {
        *attempts += 1;
        if *attempts > 10 {
            self.accessor.sleep(Duration::from_millis(1)).await?;
        }
        Ok(())
    }

    /// Returns a result to the guest, writing its value to `place` in memory.
    fn give(&self, result: Result<Size, Error>, place: i32) -> Result<i32> {
        match result {
            Ok(size) => {
                let place = GuestPtr::<Size>::new(place.cast_unsigned());
                self.with(|_, memory, _| memory.write(place, size))??;
                Ok(Errno::Success as i32)
            }
            Err(error) => Ok(error.downcast()? as i32),
        }
    }
}

/// Calls `f` with the calling guest's context and memory, and how many bytes a host
/// function may allocate for it.
fn with_guest<T: 'static, R>(
    caller: &mut Caller<'_, T>,
    get: impl Fn(&mut T) -> &mut WasiP1Ctx,
    f: impl FnOnce(&mut WasiP1Ctx, &mut GuestMemory<'_>, usize) -> R,
) -> Result<R> {
    // The context's clocks may show it.
    caller.wasm_threads().update_virtual_clock();
    let fuel = caller.as_context_mut().hostcall_fuel();
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => {
            let (memory, data) = memory.data_and_store_mut(caller);
            let context = get(data);
            context.set_hostcall_fuel(fuel);
            Ok(f(context, &mut GuestMemory::Unshared(memory), fuel))
        }
        Some(Extern::SharedMemory(memory)) => {
            let context = get(caller.data_mut());
            context.set_hostcall_fuel(fuel);
            Ok(f(context, &mut GuestMemory::Shared(memory.data()), fuel))
        }
        _ => bail!("a guest of WASI must export its memory as `memory`"),
    }
}
