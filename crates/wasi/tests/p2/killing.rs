//! Threads that are killed while they wait.

use crate::p2::support::*;
use crate::support::{Pipe, streams};
use wasmtime::component::{Resource, TypedFunc};
use wasmtime::preempt::TypedExit;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::StdinStream;
use wasmtime_wasi::p2::DynInputStream;

const TIMES: usize = 200;

/// Ends `thread`, which waits.
#[track_caller]
fn kill(guests: &mut Guests, thread: &Thread) {
    thread.kill(&mut guests.store).unwrap();
    let exit = thread.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
}

#[test]
fn killed_readers_give_back_what_was_lent_to_them() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let table = &mut guests.store.data_mut().table;
            let stream = table.push(stdin.p2_stream()).unwrap();
            let component = guests.component("(i32.const 0)");
            for n in 0..TIMES {
                // Nobody can enter the instance of a killed thread.
                let instance = guests.instance(&component).await;
                let read: TypedFunc<(Resource<DynInputStream>,), (u32,)> = instance
                    .get_typed_func(&mut guests.store, "read-from")
                    .unwrap();
                let borrowed = Resource::new_borrow(stream.rep());
                let reader = guests.start(&read, (borrowed,));
                guests.run_until(|guests| guests.waits(&reader)).await;
                let table = &mut guests.store.data_mut().table;
                assert!(table.get(&stream).is_err());
                // Some of them are ready to go on.
                let text = ["", "x"][n % 2];
                stdin.type_in(text);
                kill(&mut guests, &reader);
                let table = &mut guests.store.data_mut().table;
                let read = table.get_mut(&stream).unwrap().read(16).unwrap();
                assert_eq!(read, text);
                assert_eq!(table.iter_mut().count(), 1);
            }
            let table = &mut guests.store.data_mut().table;
            table.delete(stream).unwrap();
            assert!(table.is_empty());
            let tasks = guests.store.concurrent_resource_table().unwrap();
            assert!(tasks.is_empty());
        });
    }
}

#[test]
fn killed_ones_leave_the_standard_streams_to_the_others() {
    const POLL: &str = "
        (call $set (i32.const 0) (call $input-ready (call $stdin)))
        (call $set (i32.const 1) (call $sleep (i64.const 3_600_000_000_000)))
        (call $poll-list (i32.const 2))";
    const WRITE: &str = "
        (call $blocking-write (call $stdout) (i32.const 1024) (i32.const 5) (i32.const 0))
        (call $expect)
        (i32.const 1)";
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let waiting = [READ, POLL, WRITE].map(|code| guests.component(code));
            for n in 0..TIMES {
                let instance = guests.instance(&waiting[n % 3]).await;
                let run: Run = instance.get_typed_func(&mut guests.store, "run").unwrap();
                let thread = guests.start(&run, (0,));
                guests.run_until(|guests| guests.waits(&thread)).await;
                kill(&mut guests, &thread);
            }
            let last = [
                guests.spawn(READ).await,
                guests.spawn(POLL).await,
                guests.spawn(WRITE).await,
            ];
            guests.run_another_beside(&last.each_ref()).await;
            stdout.take_more(100);
            guests.run_until(|guests| guests.finished(&last[2])).await;
            assert_eq!(stdout.written().len(), 5);
            stdin.type_in("hello");
            guests.run_until(|guests| guests.finished(&last[0])).await;
            // It may be that the reader was faster.
            stdin.type_in("x");
            guests.finish().await;
            assert_eq!(last.map(|thread| guests.returned(&thread)), [5, 1, 1]);
        });
    }
}
