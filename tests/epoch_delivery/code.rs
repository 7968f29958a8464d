//! Compiled code is what it is without epochs.

use super::support::*;
use crate::support::plain_config;
use wasmtime_preempt::wasmtime::{Config, Engine, EpochDelivery, Module};

#[test]
fn code_is_that_of_an_engine_without_interruption() {
    let text = |config: &Config| {
        let engine = Engine::new(config).unwrap();
        Module::new(&engine, GUESTS).unwrap().text().to_vec()
    };
    let without = text(&plain_config());
    assert_eq!(text(&config(EpochDelivery::Signal)), without);
    assert_ne!(text(&config(EpochDelivery::Check)), without);
}

#[test]
fn compiled_code_can_be_shared_with_engines_without_interruption() {
    let without = Engine::new(&plain_config()).unwrap();
    let compiled = Module::new(&without, GUESTS).unwrap().serialize().unwrap();
    // SAFETY: it is what `serialize` returned.
    unsafe { Module::deserialize(&engine(), &compiled) }.unwrap();
}
