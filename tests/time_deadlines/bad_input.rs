//! A deadline that cannot be had is an error that says what works.

use super::support::*;
use wasmtime_preempt::wasmtime::{Config, Engine, Preemption, Store};

#[test]
fn an_engine_without_epochs_has_none() {
    let mut store = Store::new(&Engine::default(), ());
    let error = store.set_time_deadline(wall(5)).unwrap_err().to_string();
    assert!(
        error.contains("5ms") && error.contains("epoch_interruption"),
        "{error}"
    );
    assert_eq!(store.time_deadline(), None);
}

#[test]
fn guest_threads_have_limits_instead() {
    for preemption in [Preemption::Fuel, Preemption::Epoch] {
        let mut config = Config::new();
        config.preemption(preemption).epoch_interruption(true);
        let mut store = Store::new(&Engine::new(&config).unwrap(), ());
        let error = store.set_time_deadline(cpu(5)).unwrap_err().to_string();
        assert!(error.contains("ThreadOptions::limits"), "{error}");
    }
}
