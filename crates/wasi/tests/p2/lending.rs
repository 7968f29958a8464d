//! Streams that several calls use.

use crate::p2::support::*;
use crate::support::{Pipe, streams};
use wasmtime::component::{Resource, TypedFunc};
use wasmtime_wasi::cli::StdinStream;
use wasmtime_wasi::p2::DynInputStream;
use wasmtime_wasi::{ResourceTableError, WasiCtxBuilder};

type ReadFrom = TypedFunc<(Resource<DynInputStream>,), (u32,)>;

async fn reader(guests: &mut Guests) -> ReadFrom {
    let component = guests.component("(i32.const 0)");
    let instance = guests.instance(&component).await;
    instance
        .get_typed_func(&mut guests.store, "read-from")
        .unwrap()
}

#[test]
fn calls_may_use_a_stream_one_after_the_other() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let stream = guests
                .store
                .data_mut()
                .table
                .push(stdin.p2_stream())
                .unwrap();
            let rep = stream.rep();
            for text in ["one", "three"] {
                stdin.type_in(text);
                let reader = reader(&mut guests).await;
                let thread = guests.start(&reader, (Resource::new_borrow(rep),));
                guests.finish().await;
                assert_eq!(guests.returned(&thread), text.len() as u32);
            }
            guests.store.data_mut().table.delete(stream).unwrap();
        });
    }
}

#[test]
fn stream_that_a_call_waits_for_is_lent() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let stream = guests
                .store
                .data_mut()
                .table
                .push(stdin.p2_stream())
                .unwrap();
            let rep = stream.rep();
            let reader = reader(&mut guests).await;
            let thread = guests.start(&reader, (Resource::new_borrow(rep),));
            guests.run_another_beside(&[&thread]).await;
            let table = &mut guests.store.data_mut().table;
            let same = Resource::<DynInputStream>::new_own(rep);
            assert!(matches!(table.get(&same), Err(ResourceTableError::Lent)));
            assert!(matches!(table.delete(same), Err(ResourceTableError::Lent)));
            stdin.type_in("hello");
            guests.finish().await;
            assert_eq!(guests.returned(&thread), 5);
            guests.store.data_mut().table.delete(stream).unwrap();
        });
    }
}

#[test]
fn second_call_that_waits_for_a_stream_traps() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let stream = guests
                .store
                .data_mut()
                .table
                .push(stdin.p2_stream())
                .unwrap();
            let readers = [reader(&mut guests).await, reader(&mut guests).await];
            let [first, second] = readers.map(|reader| {
                let borrowed = Resource::new_borrow(stream.rep());
                guests.start(&reader, (borrowed,))
            });
            guests.run_until(|guests| guests.finished(&second)).await;
            let trap = guests.trapped(&second);
            assert!(trap.contains("in use by another call"), "{trap}");
            // That is the second one's problem only.
            stdin.type_in("hello");
            guests.finish().await;
            assert_eq!(guests.returned(&first), 5);
            guests.store.data_mut().table.delete(stream).unwrap();
        });
    }
}

#[test]
fn entries_are_back_when_the_store_is_asked_afterwards() {
    // Waits in a list, twice, and leaves the streams as they were.
    const CODE: &str = "
        (call $set (i32.const 0) (call $input-ready (call $stdin)))
        (call $set (i32.const 1) (call $output-ready (call $stdout)))
        (call $set (i32.const 2) (call $sleep (i64.const 3_600_000_000_000)))
        (drop (call $poll-list (i32.const 3)))
        (call $poll-list (i32.const 3))";
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let make_ready = || stdin.type_in("x");
            assert_eq!(guests.wait_beside_another(CODE, make_ready).await, 1);
            // Two streams, a clock, the other guest's clock, their pollables, and what the
            // standard streams share.
            assert_eq!(guests.store.data_mut().table.iter_mut().count(), 8 + 1);
        });
    }
}
