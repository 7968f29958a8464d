//! Starting something empty and seeing it end: nanoseconds for each.

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn spawn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spawn");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for mut subject in preempt_benches::spawn::subjects().expect("guests can be set up") {
        group.bench_function(subject.name, |bencher| {
            bencher.iter_custom(|times| subject.run(times).expect("the guests run"));
        });
    }
    group.finish();
}

criterion_group!(benches, spawn);
criterion_main!(benches);
