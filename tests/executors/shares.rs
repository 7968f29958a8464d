//! Shares of runs as futures: each has its weight, however many runs divide it.

use super::*;
use std::future::Future;

for_each_preemption!(
    a_tenant_with_many_stores_gets_no_more_than_its_share,
    weights_are_kept,
    a_share_is_no_limit,
);

/// Stores with a spinner each, whose runs have `share`.
fn spinners(source: Preemption, stores: usize, share: Option<&CpuShare>) -> Vec<Spinner> {
    let engine = engine(source);
    let module = Module::new(&engine, GUESTS).unwrap();
    let spinner = |_| {
        let mut store = store_with_slice(&engine, (), short_slice(source));
        let (id, _) = spawn_spinner(&mut store, &module);
        Spinner {
            store,
            id,
            share: share.cloned(),
        }
    };
    (0..stores).map(spinner).collect()
}

struct Spinner {
    store: Store<()>,
    id: ThreadId,
    share: Option<CpuShare>,
}

/// Polls the runs of all in turn, as a worker does, until they have run for `time`. Returns what
/// each had.
fn poll_in_turn(mut spinners: Vec<Spinner>, time: Duration) -> Vec<Duration> {
    {
        let runs = spinners.iter_mut().map(|spinner| {
            let run = spinner.store.run_wasm_threads_async(HANG);
            Box::pin(match &spinner.share {
                Some(share) => run.share(share),
                None => run,
            })
        });
        let mut runs: Vec<_> = runs.collect();
        let mut cx = Context::from_waker(Waker::noop());
        let start = Instant::now();
        while start.elapsed() < time {
            for run in &mut runs {
                assert!(run.as_mut().poll(&mut cx).is_pending());
            }
        }
    }
    let used = spinners
        .iter()
        .map(|spinner| stats(&spinner.store, spinner.id).cpu_time);
    used.collect()
}

fn sum(times: &[Duration]) -> f64 {
    times.iter().sum::<Duration>().as_secs_f64()
}

fn a_tenant_with_many_stores_gets_no_more_than_its_share(source: Preemption) {
    let [one, many] = [(); 2].map(|()| CpuShare::new(1).unwrap());
    let mut all = spinners(source, 1, Some(&one));
    all.extend(spinners(source, 19, Some(&many)));
    let used = poll_in_turn(all, ms(1_500));
    let part = sum(&used[..1]) / sum(&used);
    // It would be a twentieth.
    assert!((0.2..0.8).contains(&part), "{source}: {part} of {used:?}");
    // Each of the others has had its turns.
    assert!(used[1..].iter().all(|used| !used.is_zero()), "{used:?}");
}

fn weights_are_kept(source: Preemption) {
    let heavy = CpuShare::new(8).unwrap();
    let mut all = spinners(source, 1, Some(&heavy));
    // Runs without a share have a weight of 1 each.
    all.extend(spinners(source, 2, None));
    let used = poll_in_turn(all, ms(1_500));
    let part = sum(&used[..1]) / sum(&used);
    // It would be a third.
    assert!(part > 0.5, "{source}: {part} of {used:?}");
}

fn a_share_is_no_limit(source: Preemption) {
    let [light, heavy] = [1, 1_000].map(|weight| CpuShare::new(weight).unwrap());
    // One that is not polled is not busy.
    let idle = spinners(source, 1, Some(&heavy));
    let alone = poll_in_turn(spinners(source, 1, Some(&light)), ms(300));
    assert!(sum(&alone) > 0.02, "{source}: {alone:?}");
    drop(idle);
}

#[test]
fn weights_that_are_none_are_refused() {
    let error = CpuShare::new(0).unwrap_err().to_string();
    assert!(
        error.contains("weight of 0: it must be from 1 to 1000000"),
        "{error}"
    );
}
