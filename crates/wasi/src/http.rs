//! `wasi:http` of WASI 0.2, for components: requests that guest threads answer, and requests
//! that they make.
//!
//! Upstream's functions of `wasi:http` never wait. Guests wait for bodies and responses with
//! pollables and streams, whose functions are those of [`p2`](crate::p2).

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    ComponentExportIndex, Instance, InstancePre, Linker, Resource, Type, TypedFunc, Val,
};
use wasmtime::error::Context as _;
use wasmtime::preempt::ComponentThreadId;
use wasmtime::{AsContextMut, Result, StoreContextMut, ThreadOptions, ensure, format_err};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

/// The interface of components that answer requests, in the newest version that works.
const HANDLER: &str = "wasi:http/incoming-handler@0.2.12";

const NOT_AS_DEFINED: &str =
    "`handle` of `wasi:http/incoming-handler` is not as WASI 0.2 defines it";

/// Adds `wasi:http/types` and `wasi:http/outgoing-handler` of WASI 0.2 to `linker`.
///
/// [`p2::add_to_linker`](crate::p2::add_to_linker) adds what else is in the world
/// `wasi:http/proxy`. A guest thread that waits for a response, or for a body, is parked, and its
/// siblings keep running.
///
/// What a guest may send is up to the hooks of [`WasiHttpView`]. The default ones send any
/// request, to any address.
///
/// # Errors
///
/// If one of the interfaces is already defined.
pub fn add_to_linker<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

/// A component that answers requests: one of the world `wasi:http/proxy`.
pub struct Proxy<T: 'static> {
    pre: InstancePre<T>,
    handle: ComponentExportIndex,
}

impl<T: 'static> Clone for Proxy<T> {
    fn clone(&self) -> Self {
        Proxy {
            pre: self.pre.clone(),
            handle: self.handle,
        }
    }
}

/// The function of an instance of a [`Proxy`] that answers a request.
pub type Handle = TypedFunc<
    (
        Resource<HostIncomingRequest>,
        Resource<HostResponseOutparam>,
    ),
    (),
>;

impl<T: 'static> Proxy<T> {
    /// # Errors
    ///
    /// If the component does not export `wasi:http/incoming-handler` as WASI 0.2 defines it.
    pub fn new(pre: InstancePre<T>) -> Result<Proxy<T>> {
        let component = pre.component();
        let interface = component.get_export_index(None, HANDLER);
        let handle = interface.and_then(|it| component.get_export(Some(&it), "handle"));
        let (item, handle) = handle.ok_or_else(|| {
            format_err!("the component does not export `wasi:http/incoming-handler` of WASI 0.2")
        })?;
        // Which resources they are is known once there is an instance.
        let is_as_defined = match item {
            ComponentItem::ComponentFunc(ty) => {
                let mut params = ty.params();
                params.len() == 2
                    && params.all(|(_, ty)| matches!(ty, Type::Own(_)))
                    && ty.results().len() == 0
            }
            _ => false,
        };
        ensure!(is_as_defined, NOT_AS_DEFINED);
        Ok(Proxy { pre, handle })
    }

    /// The function of `instance`, which is one of this component.
    ///
    /// # Errors
    ///
    /// If its type is not that of WASI 0.2.
    pub fn handle(&self, store: impl AsContextMut, instance: &Instance) -> Result<Handle> {
        let handle = instance.get_typed_func(store, self.handle);
        handle.context(NOT_AS_DEFINED)
    }

    /// Spawns a thread that makes an instance, and calls its function with `request` and
    /// `response`, which are in the table that the instance's host functions use. Make them with
    /// [`new_incoming_request`] and [`new_response_outparam`]. Before the call, `started` gets the
    /// function.
    ///
    /// To let an instance answer several requests, one after the other, keep the function, and
    /// give it to [`ThreadOptions::spawn_component_typed`].
    ///
    /// # Errors
    ///
    /// As for [`ThreadOptions::spawn_component_instance`].
    ///
    /// [`new_incoming_request`]: wasmtime_wasi_http::WasiHttpCtxView::new_incoming_request
    /// [`new_response_outparam`]: wasmtime_wasi_http::WasiHttpCtxView::new_response_outparam
    pub fn spawn(
        &self,
        store: impl AsContextMut<Data = T>,
        options: ThreadOptions,
        request: Resource<HostIncomingRequest>,
        response: Resource<HostResponseOutparam>,
        started: impl FnOnce(StoreContextMut<'_, T>, Handle) + Send + Sync + 'static,
    ) -> Result<ComponentThreadId<Vec<Val>>> {
        let proxy = self.clone();
        options.spawn_component_instance(store, &self.pre, move |mut store, instance| {
            let handle = proxy.handle(&mut store, &instance)?;
            let params = vec![
                Val::Resource(request.try_into_resource_any(&mut store)?),
                Val::Resource(response.try_into_resource_any(&mut store)?),
            ];
            let function = *handle.func();
            started(store, handle);
            Ok((function, params))
        })
    }
}
