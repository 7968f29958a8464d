//! Calls that are not of a guest thread wait as upstream's do.

use crate::support::*;
use std::thread;
use std::time::Instant;

#[test]
fn plain_call_sleeps() {
    for kind in kinds() {
        let mut guests = Guests::new(kind, &[Subscription::After(MONOTONIC, ms(30))]);
        let instance = guests.instance();
        let started = Instant::now();
        let args = poll_args(SUBSCRIPTIONS, EVENTS, 1);
        assert_eq!(guests.call(instance, "poll", &args).unwrap(), 0);
        assert!(started.elapsed() >= ms(30));
        assert_eq!(guests.events(instance), [(1, 0, 0)]);
        assert_eq!(guests.call(instance, "yield", &[]).unwrap(), 0);
    }
}

#[test]
fn plain_call_reads() {
    for kind in kinds() {
        let stdin = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&stdin, &Pipe::default()));
        let instance = guests.instance();
        let typist = thread::spawn(move || {
            thread::sleep(ms(30));
            stdin.type_in("hello");
        });
        assert_eq!(guests.call(instance, "read", &[0]).unwrap(), 0);
        typist.join().unwrap();
        assert_eq!(guests.read(instance), "hello");
    }
}
