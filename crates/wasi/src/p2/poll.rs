//! `wasi:io/poll`.

use crate::p2::lending::with_table;
use crate::wait::in_runtime;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::slice;
use std::task::Poll;
use wasmtime::component::{Accessor, LinkerInstance, Loan, Resource};
use wasmtime::{Result, StoreContextMut, bail};
use wasmtime_wasi::p2::{DynPollable, MakeFuture};
use wasmtime_wasi::runtime::{poll_noop, with_ambient_tokio_runtime};
use wasmtime_wasi::{ResourceTable, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::poll::HostPollable;

pub fn add_to_linker<T: WasiView>(interface: &mut LinkerInstance<'_, T>) -> Result<()> {
    interface.func_wrap_concurrent(
        "poll",
        |accessor, (pollables,): (Vec<Resource<DynPollable>>,)| {
            Box::pin(async move { Ok((poll(accessor, &pollables).await?,)) })
        },
    )?;
    interface.func_wrap_concurrent(
        "[method]pollable.block",
        |accessor, (pollable,): (Resource<DynPollable>,)| {
            Box::pin(async move {
                poll(accessor, slice::from_ref(&pollable)).await?;
                Ok(())
            })
        },
    )?;
    // Never waits, but it polls what may need a runtime.
    interface.func_wrap(
        "[method]pollable.ready",
        |mut store: StoreContextMut<'_, T>, (pollable,): (Resource<DynPollable>,)| {
            let table = store.data_mut().ctx().table;
            let ready = pin!(table.ready(pollable));
            match with_ambient_tokio_runtime(|| poll_noop(ready)) {
                Some(ready) => Ok((ready?,)),
                None => bail!("`pollable.ready` has to wait"),
            }
        },
    )
}

/// Waits until at least one of `pollables` is ready, and returns the places of all that are.
pub async fn poll<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    pollables: &[Resource<DynPollable>],
) -> Result<Vec<u32>> {
    let waits = with_table(accessor, |table| Wait::lend(table, pollables))?;
    Ok(in_runtime(any_ready(waits)).await)
}

/// An entry to wait for.
struct Wait {
    entry: Loan,
    make_future: MakeFuture,
    /// The pollables that are subscribed to it, by their places in the list.
    pollables: Vec<u32>,
}

impl Wait {
    /// Lends what `pollables` are subscribed to.
    fn lend(table: &mut ResourceTable, pollables: &[Resource<DynPollable>]) -> Result<Vec<Wait>> {
        if pollables.is_empty() {
            bail!("empty poll list");
        }
        let mut entries = BTreeMap::new();
        for (place, pollable) in pollables.iter().enumerate() {
            let pollable = table.get(pollable)?;
            let (_, places) = entries
                .entry(pollable.index())
                .or_insert_with(|| (pollable.make_future(), Vec::new()));
            places.push(u32::try_from(place)?);
        }
        let waits = entries
            .into_iter()
            .map(|(index, (make_future, pollables))| {
                Ok(Wait {
                    entry: table.lend(index)?,
                    make_future,
                    pollables,
                })
            });
        waits.collect()
    }
}

/// Waits until at least one entry is ready, and returns the pollables of all that are.
async fn any_ready(mut waits: Vec<Wait>) -> Vec<u32> {
    let mut futures: Vec<_> = waits
        .iter_mut()
        .map(|wait| ((wait.make_future)(&mut *wait.entry), &wait.pollables))
        .collect();
    poll_fn(|cx| {
        let mut ready = Vec::new();
        for (future, pollables) in &mut futures {
            if future.as_mut().poll(cx).is_ready() {
                ready.extend_from_slice(pollables);
            }
        }
        match ready.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(ready),
        }
    })
    .await
}
