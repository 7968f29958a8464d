//! The tests of the crate, one file for each behaviour.

mod support;

mod bad_input;
mod bounded;
mod clocks;
mod executors;
mod files;
#[cfg(feature = "http")]
mod http;
mod linking;
mod p2;
mod plain_calls;
mod stdin;
mod stdout;
mod yielding;
