//! Guest threads that wait for input: their siblings run on.

use crate::support::*;
use std::thread;
use wasmtime::RunEnd;
use wasmtime::preempt::{ThreadState, WaitFor};

#[test]
fn waiting_for_input_stops_nobody() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let sleep = [Subscription::After(MONOTONIC, ms(20))];
        let mut guests = Guests::with(kind, &sleep, &mut streams(&stdin, &Pipe::default()));
        let reading = guests.instance();
        let reader = guests.spawn(reading, "read", &[0]);
        let spinning = guests.instance();
        let spinner = guests.spawn(spinning, "spin", &[]);
        let (_, sleeper) = guests.spawn_poll(1);
        assert_eq!(guests.run(ms(400)), RunEnd::TimeUp);
        assert_eq!(guests.returned(sleeper), 0);
        assert!(guests.turns(spinning) > 1000);
        let thread = reader.info(&guests.store).unwrap();
        assert_eq!(thread.state, ThreadState::Parked);
        assert!(matches!(thread.waits_for, Some(WaitFor::Future)));

        stdin.type_in("hello");
        spinner.kill(&mut guests.store).unwrap();
        guests.finish();
        assert_eq!(guests.returned(reader), 0);
        assert_eq!(guests.read(reading), "hello");
    }
}

#[test]
fn input_of_another_os_thread_wakes_the_run() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&stdin, &Pipe::default()));
        let reading = guests.instance();
        let reader = guests.spawn(reading, "read", &[0]);
        let typist = thread::spawn(move || {
            thread::sleep(ms(30));
            stdin.type_in("hello");
        });
        guests.finish();
        typist.join().unwrap();
        assert_eq!(guests.returned(reader), 0);
        assert_eq!(guests.read(reading), "hello");
    }
}

#[test]
fn end_of_input_wakes_all_who_wait() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let subscriptions = [Subscription::Read(0)];
        let mut guests = Guests::with(kind, &subscriptions, &mut streams(&stdin, &Pipe::default()));
        let reading: Vec<_> = (0..5).map(|_| guests.instance()).collect();
        let readers: Vec<_> = reading
            .iter()
            .map(|i| guests.spawn(*i, "read", &[0]))
            .collect();
        let pollers: Vec<_> = (0..5).map(|_| guests.spawn_poll(1)).collect();
        assert_eq!(guests.run(ms(20)), RunEnd::TimeUp);
        stdin.close();
        guests.finish();
        for (instance, id) in reading.into_iter().zip(readers) {
            assert_eq!(guests.returned(id), 0);
            assert_eq!(guests.read(instance), "");
        }
        for (instance, id) in pollers {
            assert_eq!(guests.returned(id), 0);
            assert_eq!(guests.events(instance), [(1000, 0, 1)]);
        }
    }
}

#[test]
fn each_gets_what_is_there_in_turns() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&stdin, &Pipe::default()));
        let reading: Vec<_> = (0..3).map(|_| guests.instance()).collect();
        let readers: Vec<_> = reading
            .iter()
            .map(|i| guests.spawn(*i, "read", &[0]))
            .collect();
        let mut got = Vec::new();
        for line in ["one\n", "two\n", "three\n"] {
            guests.run(ms(10));
            stdin.type_in(line);
            guests.run(ms(10));
        }
        guests.finish();
        for (instance, id) in reading.into_iter().zip(readers) {
            assert_eq!(guests.returned(id), 0);
            got.push(guests.read(instance));
        }
        got.sort();
        assert_eq!(got, ["one\n", "three\n", "two\n"]);
    }
}

#[test]
fn killed_one_leaves_the_input_to_the_others() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&stdin, &Pipe::default()));
        let reading: Vec<_> = (0..3).map(|_| guests.instance()).collect();
        let readers: Vec<_> = reading
            .iter()
            .map(|i| guests.spawn(*i, "read", &[0]))
            .collect();
        guests.run(ms(10));
        readers[0].kill(&mut guests.store).unwrap();
        stdin.type_in("hello");
        guests.run(ms(50));
        assert_eq!(guests.returned(readers[1]), 0);
        assert_eq!(guests.read(reading[1]), "hello");
        assert_eq!(guests.store.shutdown_wasm_threads(), 1);
    }
}

#[test]
fn suspended_one_leaves_the_input_to_the_others() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let subscriptions = [Subscription::Read(0)];
        let mut guests = Guests::with(kind, &subscriptions, &mut streams(&stdin, &Pipe::default()));
        // The first to wait for the input, in either way.
        let reading = guests.instance();
        let reader = guests.spawn(reading, "read", &[0]);
        guests.run_until(|guests| guests.waits(reader));
        reader.suspend(&mut guests.store).unwrap();
        let (_, poller) = guests.spawn_poll(1);
        guests.run_until(|guests| guests.waits(poller));
        poller.suspend(&mut guests.store).unwrap();

        // One that waits already, and one that comes later.
        for comes_first in [true, false] {
            let other = guests.instance();
            let id = guests.spawn(other, "read", &[0]);
            if comes_first {
                guests.run_until(|guests| guests.waits(id));
            }
            stdin.type_in("hello");
            assert_eq!(guests.run(HANG), RunEnd::AllSuspended);
            assert_eq!(guests.returned(id), 0);
            assert_eq!(guests.read(other), "hello");
        }

        // And a plain call.
        stdin.type_in("hello");
        let other = guests.instance();
        assert_eq!(guests.call(other, "read", &[0]).unwrap(), 0);
        assert_eq!(guests.read(other), "hello");

        reader.resume(&mut guests.store).unwrap();
        poller.resume(&mut guests.store).unwrap();
        stdin.type_in("bye");
        stdin.close();
        guests.finish();
        assert_eq!(guests.returned(reader), 0);
        assert_eq!(guests.returned(poller), 0);
    }
}

#[test]
fn whichever_is_first_input_or_clock() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let subscriptions = [
            Subscription::Read(0),
            Subscription::After(MONOTONIC, ms(100)),
        ];
        let mut guests = Guests::with(kind, &subscriptions, &mut streams(&stdin, &Pipe::default()));
        let (instance, id) = guests.spawn_poll(2);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(instance), [(1, 0, 0)]);

        let (instance, id) = guests.spawn_poll(2);
        assert_eq!(guests.run(ms(10)), RunEnd::TimeUp);
        stdin.type_in("x");
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(instance), [(1000, 0, 1)]);
    }
}

#[test]
fn closed_and_renumbered_descriptors_are_upstreams_matter() {
    const BADF: i32 = 8;
    for kind in kinds() {
        let stdin = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&stdin, &Pipe::default()));
        let reading = guests.instance();
        let reader = guests.spawn(reading, "read", &[0]);
        guests.run(ms(10));
        // Also while somebody waits for it.
        let other = guests.instance();
        assert_eq!(guests.call(other, "renumber", &[0, 1]).unwrap(), 0);
        stdin.type_in("late");
        guests.finish();
        assert_eq!(guests.returned(reader), BADF);
        let reader = guests.spawn(reading, "read", &[1]);
        guests.finish();
        assert_eq!(guests.returned(reader), 0);
        assert_eq!(guests.read(reading), "late");
        assert_eq!(guests.call(other, "close", &[1]).unwrap(), 0);
        let reader = guests.spawn(reading, "read", &[1]);
        guests.finish();
        assert_eq!(guests.returned(reader), BADF);
    }
}
