//! What it costs a workload that it can be interrupted, or that it is: in this build and in
//! stock Wasmtime, under each source, in slices of any length.
//!
//! ```text
//!  turns.rs     the measurement: processes that are told in turns what to do
//!    |
//!  figures.rs   what the samples come to       case.rs   what can be measured
//!
//!  server.rs    the other end, compiled into both builds     ours.rs, stock/
//!  layout.rs    other layouts of the guests' code
//! ```

use crate::beside_stock::Programs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub mod case;
mod figures;
mod layout;
pub mod ours;
mod server;
pub mod turns;

/// `paper` is `bench-paper`, and `stock` its published counterpart. Each pair of processes
/// has another layout.
pub fn programs(paper: &Path, stock: Option<PathBuf>) -> Programs {
    let paper = paper.to_path_buf();
    Programs {
        ours: Box::new(move |layout| {
            let mut command = Command::new(&paper);
            command.args(["--serve", "--layout", &layout.to_string()]);
            command
        }),
        stock: stock.map(|stock| -> Box<dyn Fn(usize) -> Command> {
            Box::new(move |layout| {
                let mut command = Command::new(&stock);
                command.arg(layout.to_string());
                command
            })
        }),
    }
}
