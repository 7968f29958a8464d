//! `sched_yield` lets the siblings go first.

use crate::support::*;
use wasmtime::{RunEnd, Slice};

#[test]
fn yielding_ends_the_slice() {
    for kind in kinds() {
        let mut guests = Guests::new(kind, &[]);
        if !matches!(kind.source, wasmtime::Preemption::Fuel) {
            guests
                .store
                .wasm_threads()
                .set_slice(Slice::Time(ms(60_000)))
                .unwrap();
        }
        let instances = [guests.instance(), guests.instance()];
        let ids = instances.map(|instance| guests.spawn(instance, "yielding", &[]));
        assert_eq!(guests.run(ms(50)), RunEnd::TimeUp);
        for (instance, id) in instances.into_iter().zip(ids) {
            assert!(guests.turns(instance) > 10);
            assert!(id.info(&guests.store).unwrap().stats.yields > 10);
        }
    }
}
