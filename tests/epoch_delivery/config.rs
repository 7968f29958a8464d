//! An engine that cannot deliver epochs by signals says why, and what works.

use super::support::*;
use wasmtime_preempt::wasmtime::{Collector, Config, Engine, EpochDelivery, Preemption, Strategy};

fn refused(config: &Config, why: &str) {
    let error = Engine::new(config).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    assert!(error.contains("EpochDelivery::"), "{error}");
}

#[test]
fn it_needs_epochs() {
    let mut config = Config::new();
    config.epoch_delivery(EpochDelivery::Signal);
    refused(&config, "epoch_interruption(true)");
}

#[test]
fn guest_threads_have_their_own_source() {
    for preemption in [Preemption::Fuel, Preemption::Epoch, Preemption::Signal] {
        let mut config = config(EpochDelivery::Signal);
        config.preemption(preemption);
        refused(&config, &preemption.to_string());
    }
}

#[test]
fn code_of_other_machines_and_compilers_is_refused() {
    let mut other = config(EpochDelivery::Signal);
    other.target("pulley64").unwrap();
    refused(&other, "pulley64");
    let mut winch = config(EpochDelivery::Signal);
    winch.strategy(Strategy::Winch);
    if let Err(error) = Engine::new(&winch) {
        // Where Winch is compiled in, it is we who refuse it.
        println!("- {error}");
    }
}

#[test]
fn engines_say_that_they_interrupt() {
    assert!(engine().get_epoch_interruption());
    assert!(!Engine::default().get_epoch_interruption());
}

#[test]
fn the_reference_counting_collector_is_refused() {
    let mut counting = config(EpochDelivery::Signal);
    counting.collector(Collector::DeferredReferenceCounting);
    refused(&counting, "Collector::Copying");
    counting.gc_support(false);
    assert!(Engine::new(&counting).is_ok());
}

#[test]
fn a_stack_without_room_for_the_host_is_refused() {
    let mut small = config(EpochDelivery::Signal);
    small.async_stack_size(1 << 20).max_wasm_stack(1 << 20);
    let error = Engine::new(&small).unwrap_err().to_string();
    assert!(error.contains("async_stack_size"), "{error}");
}
