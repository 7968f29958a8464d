//! Whatever a guest passes to `poll_oneoff`, it gets an error number or traps.

use crate::support::*;

const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const INVAL: i32 = 28;
const NOMEM: i32 = 48;

/// What `poll_oneoff` returns.
fn poll(kind: Kind, subscriptions: &[Subscription], args: [i32; 4]) -> i32 {
    let mut guests = Guests::new(kind, subscriptions);
    let instance = guests.instance();
    let id = guests.spawn(instance, "poll", &args);
    guests.finish();
    guests.returned(id)
}

fn trap(kind: Kind, subscriptions: &[Subscription], args: [i32; 4]) -> String {
    let mut guests = Guests::new(kind, subscriptions);
    let instance = guests.instance();
    let id = guests.spawn(instance, "poll", &args);
    guests.finish();
    guests.trapped(id)
}

const NOW: Subscription = Subscription::Nanoseconds(MONOTONIC, 0);
const MEMORY: u32 = 2 * 65536;

#[test]
fn no_subscriptions_are_invalid() {
    for kind in kinds() {
        assert_eq!(poll(kind, &[], poll_args(SUBSCRIPTIONS, EVENTS, 0)), INVAL);
    }
}

#[test]
fn more_than_the_host_copies_are_refused() {
    for kind in kinds() {
        for count in [i32::MAX as u32, u32::MAX] {
            assert_eq!(poll(kind, &[NOW], poll_args(0, EVENTS, count)), NOMEM);
        }
    }
}

#[test]
fn subscriptions_beyond_memory_trap() {
    for kind in kinds() {
        let error = trap(kind, &[NOW], poll_args(SUBSCRIPTIONS, EVENTS, 4_096));
        assert!(!error.is_empty());
    }
}

#[test]
fn pointers_out_of_bounds_trap() {
    for kind in kinds() {
        for args in [
            poll_args(MEMORY, EVENTS, 1),
            poll_args(MEMORY - 40, EVENTS, 1),
            poll_args(u32::MAX - 7, EVENTS, 1),
            poll_args(SUBSCRIPTIONS, MEMORY, 1),
            poll_args(SUBSCRIPTIONS, MEMORY - 24, 1),
            [SUBSCRIPTIONS as i32, EVENTS as i32, 1, MEMORY as i32],
            [SUBSCRIPTIONS as i32, EVENTS as i32, 1, -1],
        ] {
            let error = trap(kind, &[NOW], args);
            assert!(error.contains("Pointer"), "{args:?}: {error}");
        }
    }
}

#[test]
fn misaligned_pointers_trap() {
    for kind in kinds() {
        for args in [
            poll_args(SUBSCRIPTIONS + 1, EVENTS, 1),
            poll_args(SUBSCRIPTIONS, EVENTS + 4, 1),
            [SUBSCRIPTIONS as i32, EVENTS as i32, 1, COUNT as i32 + 2],
        ] {
            let error = trap(kind, &[NOW, NOW], args);
            assert!(error.contains("aligned"), "{args:?}: {error}");
        }
    }
}

#[test]
fn events_may_overwrite_the_subscriptions() {
    for kind in kinds() {
        let subscriptions = [NOW; 30];
        let errno = poll(
            kind,
            &subscriptions,
            poll_args(SUBSCRIPTIONS, SUBSCRIPTIONS, 30),
        );
        // What the later subscriptions are by then is up to the guest.
        assert!([SUCCESS, INVAL, BADF].contains(&errno), "{errno}");
        let count_within = [SUBSCRIPTIONS, EVENTS, 1, EVENTS].map(|at| at as i32);
        assert_eq!(poll(kind, &[NOW], count_within), SUCCESS);
    }
}

#[test]
fn unknown_clocks_and_types_are_invalid() {
    for kind in kinds() {
        for bad in [
            Subscription::After(2, ms(1)),
            Subscription::After(3, ms(1)),
            Subscription::After(77, ms(1)),
            Subscription::Raw(3, 0),
            Subscription::Raw(255, 0),
        ] {
            let args = poll_args(SUBSCRIPTIONS, EVENTS, 2);
            assert_eq!(poll(kind, &[NOW, bad], args), INVAL, "{bad:?}");
        }
    }
}

#[test]
fn descriptors_that_are_not_open_are_bad() {
    for kind in kinds() {
        for bad in [
            Subscription::Read(1),
            Subscription::Read(3),
            Subscription::Read(u32::MAX),
            Subscription::Write(0),
            Subscription::Write(77),
        ] {
            let args = poll_args(SUBSCRIPTIONS, EVENTS, 2);
            assert_eq!(poll(kind, &[NOW, bad], args), BADF, "{bad:?}");
        }
    }
}
