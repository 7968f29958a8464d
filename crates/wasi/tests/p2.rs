//! WASI 0.2, in components.

mod closing;
mod component;
mod killing;
mod lending;
mod limits;
mod linking;
mod lists;
mod outlasting;
mod plain_calls;
mod sharing;
mod sleeping;
mod spinning;
mod support;
mod tcp;
mod waiting;
