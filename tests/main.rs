//! The tests of the fork, one file for each behaviour.

mod dense_loops;
mod support;

mod async_host_functions;
mod atomic_wait;
mod bad_input;
mod bulk_fuel;
mod bulk_pieces;
#[cfg(feature = "call-hook")]
mod call_hooks;
mod callers;
mod charging;
mod components;
mod conformance;
mod contention;
mod cpu_rates;
mod determinism;
mod differential;
mod docs;
mod dropping;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod epoch_delivery;
mod epoch_embedder;
mod examples;
mod exceptions;
mod executors;
mod exit_hooks;
mod exits;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod fiber_switches;
mod forks;
mod fuel;
mod fuel_budget;
mod fuzz_corpora;
mod gc_roots;
mod handles;
mod host_functions;
mod host_return;
mod host_waits;
mod idle_stacks;
mod imports;
mod limits;
mod listing;
mod loop_checks;
mod many_threads;
mod mappings;
mod moving_between_os_threads;
mod nested_entries;
mod nested_runs;
mod panics;
mod parking;
mod policies;
mod recycling;
mod results;
mod round_robin;
mod scheduler;
mod scheduler_notices;
mod sharing;
mod shutdown;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod signal;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod signal_engine;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod signal_process;
mod slices;
mod slices_in_step;
mod soak;
mod stack_overflow;
#[cfg(unix)]
mod stack_slab;
mod starting;
mod starvation;
mod stress;
mod suspending;
mod thread_limits;
mod time_deadlines;
mod timer_thread;
mod traces;
mod traps;
mod typed;
mod upstream_interruption;
mod virtual_clock;

/// The tests that go upstream with the patches.
#[path = "../overlay/tests/all"]
mod upstream {
    mod loop_checks;
    mod preemptive_threads;
}
