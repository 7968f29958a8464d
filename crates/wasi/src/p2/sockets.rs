//! What of `wasi:sockets` is not made for a thread without a runtime.

use crate::wait::in_runtime;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::TcpSocket;
use wasmtime_wasi::p2::bindings::sockets::network::Host as _;
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket as _;
use wasmtime_wasi::sockets::WasiSocketsView as _;

pub fn add_to_linker<T: WasiView>(tcp: &mut LinkerInstance<'_, T>) -> Result<()> {
    // Registers the socket with the runtime that is there.
    tcp.func_wrap_async(
        "[method]tcp-socket.start-listen",
        |mut store: StoreContextMut<'_, T>, (socket,): (Resource<TcpSocket>,)| {
            Box::new(in_runtime(async move {
                let mut sockets = store.data_mut().sockets();
                Ok((match sockets.start_listen(socket).await {
                    Ok(()) => Ok(()),
                    Err(error) => Err(sockets.convert_error_code(error)?),
                },))
            }))
        },
    )
}
