//! Giving the CPU to the next one: nanoseconds per dispatch, with the guests' own
//! work taken off.

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn dispatch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for mut subject in preempt_benches::dispatch::subjects().expect("guests can be set up") {
        group.bench_function(subject.name, |bencher| {
            bencher.iter_custom(|times| subject.run(times).expect("the guests run"));
        });
    }
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
