//! The host of components: resources that are counted, and functions that use them.

use crate::polling::block_on;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use wasmtime::component::{Accessor, Linker, Resource, ResourceAny, ResourceTable, ResourceType};
use wasmtime::{Engine, Result, Store, StoreContextMut};

/// What `ask` is told.
pub const NAME: &str = "Ada";

/// A resource. It counts itself.
pub struct Entry {
    _counted: Arc<()>,
}

#[derive(Default)]
pub struct Host {
    table: ResourceTable,
    pub token: Arc<()>,
}

impl Host {
    fn make(&mut self) -> Result<Resource<Entry>> {
        let _counted = self.token.clone();
        Ok(self.table.push(Entry { _counted })?)
    }

    /// How many resources there are.
    pub fn entries(&mut self) -> usize {
        self.table.iter_mut().count()
    }
}

/// The embedder's handle to a resource.
pub struct Handle {
    pub any: ResourceAny,
    pub rep: u32,
}

impl Handle {
    pub fn new(store: &mut Store<Host>) -> Handle {
        let entry = store.data_mut().make().expect("there is room");
        let rep = entry.rep();
        let any = entry.try_into_resource_any(store);
        let any = any.expect("it is not lent");
        Handle { any, rep }
    }

    /// Deletes the resource, if it is still the embedder's.
    pub fn delete(self, store: &mut Store<Host>) -> Result<()> {
        block_on(self.any.resource_drop_async(&mut *store))?;
        let table = &mut store.data_mut().table;
        table.delete(Resource::<Entry>::new_own(self.rep))?;
        Ok(())
    }
}

/// With or without a function that parks its thread.
pub fn linker(engine: &Engine, parks: bool) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let mut root = linker.root();
    let drop = |mut store: StoreContextMut<'_, Host>, rep| {
        let table = &mut store.data_mut().table;
        table.delete(Resource::<Entry>::new_own(rep))?;
        Ok(())
    };
    root.resource("r", ResourceType::host::<Entry>(), drop)?;
    root.func_wrap("make", |mut store: StoreContextMut<'_, Host>, (): ()| {
        Ok((store.data_mut().make()?,))
    })?;
    root.func_wrap(
        "look",
        |store: StoreContextMut<'_, Host>, (entry,): (Resource<Entry>,)| {
            store.data().table.get(&entry)?;
            Ok((entry.rep(),))
        },
    )?;
    root.func_wrap("name", |_: StoreContextMut<'_, Host>, (): ()| {
        Ok((NAME.to_string(),))
    })?;
    match parks {
        false => root.func_wrap("nap", |_: StoreContextMut<'_, Host>, (): ()| Ok(()))?,
        true => root.func_wrap_concurrent("nap", |accessor: &Accessor<Host>, (): ()| {
            let token = accessor.with(|mut access| access.get().token.clone());
            Box::pin(async move {
                let mut polled = 0;
                poll_fn(|cx| {
                    polled += 1;
                    cx.waker().wake_by_ref();
                    match polled {
                        3 => Poll::Ready(()),
                        _ => Poll::Pending,
                    }
                })
                .await;
                std::mem::drop(token);
                Ok(())
            })
        })?,
    }
    Ok(linker)
}
