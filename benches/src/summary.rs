//! The rows of the summary: what is compared with what, and the aims.

use crate::latency::{self, Beside};
use crate::paired::{Effort, Subject, measure};
use crate::piped::Piped;
use crate::report::Row;
use crate::workloads::{self, Workload};
use crate::{beside_stock, dispatch, epochs, host_calls, memory, spawn, waiting};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wasmtime::{Preemption, Result};

/// Threads in the measurement of memory.
const THREADS: u32 = 10_000;

/// A dispatch, beside what else gives the CPU to the next one. `exe` is `bench-unthreaded`.
pub fn dispatch(exe: &Path, quick: bool) -> Result<Vec<Row>> {
    let stock = beside_stock::build(exe, "stock")?;
    let mut stock = Piped::start(&mut Command::new(stock))?;
    let mut subjects = dispatch::subjects()?;
    subjects.push(Subject::new(dispatch::FIBERS_STOCK, |times| {
        beside_stock::ask(&mut stock, "fiber", times)
    }));
    let samples = measure(&mut subjects, effort(quick))?;
    let pair = |what, beside, aim| Row::pair("dispatch", &samples, what, beside, aim);
    use dispatch::*;
    Ok(vec![
        pair(GUESTS_FUEL, FIBERS_STOCK, Some(2.2))?,
        pair(GUESTS_EPOCH, FIBERS_STOCK, Some(2.5))?,
        pair(GUESTS_FUEL, FIBERS, None)?,
        pair(GUESTS_FUEL, FIBERS_INLINED, None)?,
        pair(GUESTS_FUEL_1000, FIBERS_1000, None)?,
        pair(GUESTS_FUEL, CALL_ASYNC, None)?,
        pair(GUESTS_FUEL, TOKIO, None)?,
        // Five times faster than the OS.
        pair(GUESTS_FUEL, OS_ANY, Some(0.2))?,
        pair(GUESTS_FUEL, OS_ONE, Some(0.2))?,
        pair(GUESTS_EPOCH, OS_ONE, Some(0.2))?,
        Row::alone("dispatch", &samples, GUESTS_TIMER)?,
    ])
}

/// Spawning, running and finishing, beside what else starts something.
pub fn spawn(quick: bool) -> Result<Vec<Row>> {
    let samples = measure(&mut spawn::subjects()?, effort(quick))?;
    let pair = |what, beside, aim| Row::pair("spawn", &samples, what, beside, aim);
    use spawn::*;
    Ok(vec![
        pair(THREAD, CALL, Some(1.0))?,
        pair(THREAD_TYPED, CALL_TYPED, Some(1.5))?,
        pair(THREAD_DETACHED, CALL, Some(1.0))?,
        pair(THREAD_BATCH, CALL, None)?,
        pair(POOLED_THREAD, POOLED_CALL, Some(1.0))?,
        pair(POOLED_THREAD_TYPED, POOLED_CALL_TYPED, Some(1.5))?,
        pair(POOLED_THREAD_BATCH, POOLED_CALL, Some(1.0))?,
        pair(THREAD, TOKIO, None)?,
        pair(POOLED_THREAD_BATCH, TOKIO_BATCH, None)?,
        pair(THREAD, OS, None)?,
        pair(THREAD_TIMED, THREAD, Some(1.1))?,
        pair(PAIR_TIMED, PAIR, Some(1.2))?,
    ])
}

/// What suspended threads hold. `exe` is `bench-memory`.
pub fn memory(exe: &Path, quick: bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, stacks, guests, aim) in [
        ("on-demand stack", "on-demand", "one", Some(5.0)),
        ("pooled stack", "pooled", "one", Some(5.0)),
        ("instance of its own", "on-demand", "each", None),
    ] {
        let figures = suspended(exe, quick, stacks, guests)?;
        rows.extend(suspended_rows(what, &figures, aim));
    }
    Ok(rows)
}

/// What suspended components hold, and modules as small. `exe` is `bench-memory`.
pub fn suspended_components(exe: &Path, quick: bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, guests) in [("component", "components"), ("module", "each")] {
        let figures = suspended(exe, quick, "on-demand", guests)?;
        rows.extend(suspended_rows(what, &figures, None));
    }
    Ok(rows)
}

fn suspended(exe: &Path, quick: bool, stacks: &str, guests: &str) -> Result<memory::Figures> {
    let mut all = Vec::new();
    for _ in 0..if quick { 1 } else { 3 } {
        all.push(memory::in_process(exe, THREADS, stacks, guests)?);
    }
    // Memory is the same each time; only the times may be disturbed.
    all.sort_by(|a, b| a.shutdown.total_cmp(&b.shutdown));
    Ok(all[all.len() / 2])
}

fn suspended_rows(what: &str, figures: &memory::Figures, aim: Option<f64>) -> Vec<Row> {
    let rows = [
        ("resident", (figures.resident / 1024.0, "KiB"), aim),
        ("page tables", (figures.page_tables / 1024.0, "KiB"), None),
        ("spawn", (figures.spawn, "ns"), None),
        ("dispatch of each in turn", (figures.dispatch, "ns"), None),
        ("shutdown", (figures.shutdown, "ns"), None),
    ];
    let row = |(name, figure, aim)| {
        let what = format!("{name}, {what}");
        Row::new("suspended thread", &what, figure, None, aim)
    };
    rows.into_iter().map(row).collect()
}

/// Calls of the host in guest threads, beside those in plain calls; and stores of modules with
/// many functions, beside those with few.
pub fn host_calls(quick: bool) -> Result<Vec<Row>> {
    let sources = match Preemption::for_this_host() {
        Preemption::Signal => vec![Preemption::Fuel, Preemption::Epoch, Preemption::Signal],
        _ => vec![Preemption::Fuel, Preemption::Epoch],
    };
    let (mut subjects, pairs) = host_calls::subjects(&sources)?;
    let samples = measure(&mut subjects, effort(quick))?;
    let mut rows = Vec::new();
    for (thread, plain) in pairs {
        rows.push(Row::pair("host call", &samples, thread, plain, Some(1.05))?);
    }
    let (mut subjects, pairs) = host_calls::stores(&sources)?;
    let samples = measure(&mut subjects, effort(quick))?;
    for (size, smallest) in pairs {
        rows.push(Row::pair("store", &samples, size, smallest, Some(1.1))?);
    }
    Ok(rows)
}

/// Guests with references, preempted by signals where they poll, beside epochs and beside no
/// interruption.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn references(quick: bool) -> Result<Vec<Row>> {
    let (mut subjects, groups) = crate::references::subjects()?;
    let samples = measure(&mut subjects, effort(quick))?;
    let mut rows = Vec::new();
    for [nothing, epochs, signals] in groups {
        rows.push(Row::pair("references", &samples, epochs, nothing, None)?);
        rows.push(Row::pair("references", &samples, signals, nothing, None)?);
        rows.push(Row::pair(
            "references",
            &samples,
            signals,
            epochs,
            Some(1.0),
        )?);
    }
    Ok(rows)
}

/// Components as guest threads.
pub fn components(quick: bool) -> Result<Vec<Row>> {
    use crate::components::{PREEMPTED, calls, preemptions};
    let (mut subjects, pairs) = calls()?;
    let samples = measure(&mut subjects, effort(quick))?;
    let mut rows = Vec::new();
    for [thread, call] in pairs {
        rows.push(Row::pair("call", &samples, thread, call, Some(1.5))?);
    }
    let samples = measure(&mut preemptions()?, effort(quick))?;
    let [component, module] = PREEMPTED;
    rows.push(Row::pair("slice", &samples, component, module, Some(1.0))?);
    Ok(rows)
}

/// Epochs delivered by signals, beside checks and beside no interruption.
pub fn epochs(quick: bool) -> Result<Vec<Row>> {
    use epochs::{Mode, calls, increments, latencies, stores, workload};
    let mut rows = Vec::new();
    for (tick, aim) in [(10, 1.01), (1, 1.03)] {
        let group = format!("ticks of {tick} ms");
        let broad: &[Workload] = if quick { &[] } else { &workloads::BROAD };
        for guest in workloads::PAPER.iter().chain(broad) {
            let (mut subjects, [nothing, checks, signals]) =
                workload(guest, Duration::from_millis(tick))?;
            let effort = Effort {
                rounds: if quick { 7 } else { 21 },
                sample: Duration::from_millis(100),
            };
            let samples = measure(&mut subjects, effort)?;
            rows.push(Row::pair(&group, &samples, checks, nothing, None)?);
            rows.push(Row::pair(&group, &samples, signals, nothing, Some(aim))?);
        }
    }
    let (mut subjects, pairs) = calls()?;
    let samples = measure(&mut subjects, effort(quick))?;
    for [nothing, checks, signals] in pairs {
        rows.push(Row::pair("call", &samples, signals, nothing, None)?);
        rows.push(Row::pair("call", &samples, signals, checks, Some(1.0))?);
    }
    for functions in [10, 20_000] {
        let (mut subjects, [_, checks, signals]) = stores(functions)?;
        let samples = measure(&mut subjects, effort(quick))?;
        rows.push(Row::pair("store", &samples, signals, checks, Some(1.0))?);
    }
    for (mode, aims) in [
        (Mode::Check, [None, None]),
        (Mode::Signal, [Some(10_000.0), Some(50_000.0)]),
    ] {
        let latencies = latencies(mode, if quick { 500 } else { 5_000 })?;
        for (what, quantile, aim) in [("median", 0.5, aims[0]), ("p99", 0.99, aims[1])] {
            let at = (quantile * (latencies.len() - 1) as f64) as usize;
            let what = format!("increment to callback, {what}, {}", mode.name());
            rows.push(Row::new("latency", &what, (latencies[at], "ns"), None, aim));
        }
    }
    // Last: the OS threads that this starts go on.
    for (spinners, aim) in [(0, 1_000.0), (8, 25_000.0)] {
        let samples = measure(&mut [increments(spinners)?], effort(quick))?;
        let [samples] = &samples[..] else {
            continue;
        };
        let figure = (samples.median(), "ns");
        rows.push(Row::new("increment", samples.name, figure, None, Some(aim)));
    }
    Ok(rows)
}

/// Waiting, beside what else waits, and runs as futures beside synchronous ones.
pub fn waiting(quick: bool) -> Result<Vec<Row>> {
    use waiting::*;
    let samples = measure(&mut subjects()?, effort(quick))?;
    let pair = |what, beside, aim| Row::pair("waiting", &samples, what, beside, aim);
    let mut rows = vec![
        pair(PARK, PARK_CALL_ASYNC, None)?,
        pair(NOTIFY, NOTIFY_OS_ONE, Some(1.0))?,
        pair(NOTIFY, NOTIFY_OS, Some(1.0))?,
    ];
    let time = Duration::from_millis(if quick { 500 } else { 3_000 });
    let cpu = sleepers(THREADS, time)?;
    let what = "CPU of 10,000 sleepers";
    rows.push(Row::new("waiting", what, (cpu, "%"), None, Some(0.1)));
    let effort = Effort {
        rounds: if quick { 5 } else { 21 },
        sample: Duration::from_millis(20),
    };
    let samples = measure(&mut runs()?, effort)?;
    let pair = |what, beside, aim| Row::pair("executors", &samples, what, beside, aim);
    rows.push(pair(ASYNC_RUN, SYNC_RUN, Some(1.05))?);
    rows.push(pair(ONE_STORE, TWO_STORES, Some(0.6))?);
    Ok(rows)
}

/// Requests beside 100 stores that want all of the CPU. A slice is 10 ms.
pub fn latency(quick: bool) -> Result<Vec<Row>> {
    let time = Duration::from_secs(if quick { 4 } else { 20 });
    let mut rows = Vec::new();
    for (what, beside, aim) in [
        ("nothing beside", Beside::Nothing, None),
        (
            "100 stores in run_wasm_threads_async, signals",
            Beside::GuestThreads(Preemption::for_this_host()),
            Some(30e6),
        ),
        (
            "100 stores in run_wasm_threads_async, epochs",
            Beside::GuestThreads(Preemption::Epoch),
            Some(30e6),
        ),
        ("100 stores in call_async, epochs", Beside::CallAsync, None),
    ] {
        let times = latency::measure(beside, 100, time)?;
        for (name, quantile) in [("median", 0.5), ("p99", 0.99)] {
            let figure = (times.value_at_quantile(quantile) as f64, "ns");
            let what = format!("{name}, {what}, {} requests", times.len());
            let aim = aim.filter(|_| quantile > 0.9);
            rows.push(Row::new("latency of a request", &what, figure, None, aim));
        }
    }
    Ok(rows)
}

/// Stores without guest threads. `exe` is `bench-unthreaded`.
pub fn unthreaded(exe: &Path, quick: bool) -> Result<Vec<Row>> {
    let stock = beside_stock::build(exe, "stock")?;
    let effort = Effort {
        rounds: if quick { 5 } else { 15 },
        sample: Duration::from_millis(4),
    };
    let pairs = if quick { 11 } else { 21 };
    beside_stock::compare(exe, &stock, pairs, effort, 1.05)
}

fn effort(quick: bool) -> Effort {
    Effort {
        rounds: if quick { 15 } else { 51 },
        sample: Duration::from_millis(5),
    }
}
