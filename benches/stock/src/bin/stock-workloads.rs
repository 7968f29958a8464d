//! The workloads of `overhead.rs`, with the published Wasmtime.

#[path = "../build.rs"]
mod build;
#[path = "../../../src/overhead/layout.rs"]
mod layout;
#[path = "../../../src/served.rs"]
mod served;
#[path = "../../../src/overhead/server.rs"]
mod server;
#[path = "../../../src/workloads.rs"]
mod workloads;

use wasmtime::bail;

fn main() -> wasmtime::Result<()> {
    let Some(layout) = std::env::args().nth(1).and_then(|arg| arg.parse().ok()) else {
        bail!("the only argument is the number of a layout");
    };
    server::serve(
        &build::BUILD,
        |_, _, _, _, _| bail!("the published Wasmtime has no guest threads"),
        layout,
    )
}
