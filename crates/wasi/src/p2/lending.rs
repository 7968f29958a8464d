//! Entries of the store's table that a call has to itself.

use std::marker::PhantomData;
use wasmtime::component::{Accessor, Loan, Resource};
use wasmtime_wasi::{ResourceTable, ResourceTableError, WasiView};

/// Calls `f` with the table of the store.
pub fn with_table<T: WasiView + 'static, R>(
    accessor: &Accessor<T>,
    f: impl FnOnce(&mut ResourceTable) -> R,
) -> R {
    accessor.with(|mut access| f(access.get().ctx().table))
}

/// A resource that is out of the table until this is dropped.
pub struct Lent<R> {
    loan: Loan,
    resource: PhantomData<fn() -> R>,
}

/// Takes a resource out of the table.
pub fn lend<T: WasiView + 'static, R: 'static>(
    accessor: &Accessor<T>,
    resource: &Resource<R>,
) -> Result<Lent<R>, ResourceTableError> {
    let loan = with_table(accessor, |table| table.lend(resource.rep()))?;
    Ok(Lent {
        loan,
        resource: PhantomData,
    })
}

impl<R: 'static> Lent<R> {
    pub fn get(&mut self) -> Result<&mut R, ResourceTableError> {
        let resource = self.loan.downcast_mut();
        resource.ok_or(ResourceTableError::WrongType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::{Future, pending};
    use std::slice;
    use std::task::{Context, Waker};
    use wasmtime::{Engine, Store};
    use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamResult, subscribe};
    use wasmtime_wasi::{WasiCtx, WasiCtxView, async_trait};

    #[derive(Default)]
    struct State {
        ctx: WasiCtx,
        table: ResourceTable,
    }

    impl WasiView for State {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView {
                ctx: &mut self.ctx,
                table: &mut self.table,
            }
        }
    }

    struct Silent;

    #[async_trait]
    impl Pollable for Silent {
        async fn ready(&mut self) {
            pending().await
        }
    }

    impl InputStream for Silent {
        fn read(&mut self, _: usize) -> StreamResult<Bytes> {
            Ok(Bytes::new())
        }
    }

    #[test]
    fn wait_that_is_dropped_gives_its_entries_back() {
        let mut store = Store::new(&Engine::default(), State::default());
        let table = &mut store.data_mut().table;
        let stream = table.push(Box::new(Silent) as DynInputStream).unwrap();
        let pollable = subscribe(table, Resource::<DynInputStream>::new_borrow(stream.rep()));
        let pollable = pollable.unwrap();
        crate::wait::block_on(store.run_concurrent(async |accessor| {
            let is_lent = || {
                with_table(accessor, |table| {
                    matches!(table.get(&stream), Err(ResourceTableError::Lent))
                })
            };
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..2 {
                let same = Resource::new_borrow(stream.rep());
                let mut read = Box::pin(crate::p2::streams::blocking_read(accessor, same, 1));
                assert!(read.as_mut().poll(&mut cx).is_pending());
                assert!(is_lent());
                drop(read);
                assert!(!is_lent());

                let mut block =
                    Box::pin(crate::p2::poll::poll(accessor, slice::from_ref(&pollable)));
                assert!(block.as_mut().poll(&mut cx).is_pending());
                assert!(is_lent());
                drop(block);
                assert!(!is_lent());
            }
        }))
        .unwrap();
        let table = &mut store.data_mut().table;
        table.delete(pollable).unwrap();
        table.delete(stream).unwrap();
    }
}
