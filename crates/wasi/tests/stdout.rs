//! Guest threads that write to a stream which takes no more are parked.

use crate::support::*;
use wasmtime::RunEnd;

#[test]
fn full_output_stops_its_writer_only() {
    for kind in kinds() {
        let stdout = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&Pipe::default(), &stdout));
        let instance = guests.instance();
        let spinning = guests.instance();
        let spinner = guests.spawn(spinning, "spin", &[]);
        let writer = guests.spawn(instance, "write", &[1, 20]);
        stdout.take_more(5);
        guests.run_until(|guests| guests.waits(writer));
        assert_eq!(stdout.written(), "\0".repeat(5));
        let before = guests.turns(spinning);
        guests.run_until(|guests| guests.turns(spinning) > before + 1000);
        spinner.kill(&mut guests.store).unwrap();
        // Upstream waits until the next can be written, too.
        stdout.take_more(16);
        guests.finish();
        assert_eq!(guests.returned(writer), 0);
        assert_eq!(guests.load(instance, COUNT), 20);
        assert_eq!(stdout.written(), "\0".repeat(20));
    }
}

#[test]
fn writes_of_two_threads_do_not_mix() {
    for kind in kinds() {
        let stdout = Pipe::default();
        let mut guests = Guests::with(kind, &[], &mut streams(&Pipe::default(), &stdout));
        let (a, b) = (guests.instance(), guests.instance());
        for (instance, letter) in [(a, b'a'), (b, b'b')] {
            let stdin = instance.get_export(&mut guests.store, "memory").unwrap();
            if let Some(memory) = stdin.into_memory() {
                let at = BUFFER as usize;
                memory.data_mut(&mut guests.store)[at..at + 10].fill(letter);
            }
            guests.spawn(instance, "write", &[1, 10]);
        }
        for _ in 0..30 {
            stdout.take_more(1);
            guests.run(ms(2));
        }
        guests.finish();
        let expected = match kind.shared {
            true => "\0".repeat(20),
            false => "a".repeat(10) + &"b".repeat(10),
        };
        assert_eq!(stdout.written(), expected);
    }
}

#[test]
fn polling_tells_when_it_takes_more() {
    for kind in kinds() {
        let stdout = Pipe::default();
        let subscriptions = [Subscription::Write(1), Subscription::Read(0)];
        let mut guests = Guests::with(
            kind,
            &subscriptions,
            &mut streams(&Pipe::default(), &stdout),
        );
        let (instance, id) = guests.spawn_poll(2);
        assert_eq!(guests.run(ms(20)), RunEnd::TimeUp);
        stdout.take_more(1);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(instance), [(2001, 0, 2)]);
    }
}
