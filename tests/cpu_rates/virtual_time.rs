//! With a virtual clock, CPU time is fuel: rates are exact, and schedules repeat.

use super::*;
use crate::support::guests;
use preempt_trace::check::Order;

struct Guests {
    store: Store<()>,
    module: Module,
    clock: VirtualClock,
}

impl Guests {
    fn new() -> Guests {
        let (mut store, module) = guests(Preemption::Fuel);
        let clock = VirtualClock::new();
        let mut threads = store.wasm_threads();
        threads.set_slice(Slice::Fuel(50_000)).unwrap();
        threads.set_virtual_clock(clock.clone()).unwrap();
        Guests {
            store,
            module,
            clock,
        }
    }

    fn set_rate(&mut self, group: u64, quota: Duration, period: Duration) {
        let limits = ThreadLimits::new().cpu_rate(quota, period);
        let mut threads = self.store.wasm_threads();
        threads.set_group_limits(group, limits).unwrap();
    }

    fn spin(&mut self, options: ThreadOptions) -> ThreadId {
        spin(&mut self.store, &self.module, options)
    }

    /// 1 + ... + `n`, which takes some units for each.
    fn sum(&mut self, n: i64, options: ThreadOptions) -> ThreadId {
        let params = [Val::I64(n)];
        spawn_with(&mut self.store, &self.module, "sum", &params, options)
    }

    fn run_until_it_shows(&mut self, time: Duration) {
        while self.clock.now() < time {
            self.store.run_wasm_threads_for(ms(5)).unwrap();
        }
    }

    fn used(&self, ids: &[ThreadId]) -> u64 {
        let fuel = |id: &ThreadId| stats(&self.store, *id).fuel_consumed;
        ids.iter().map(fuel).sum()
    }
}

fn in_percent(used: u64, of: Duration) -> f64 {
    100.0 * used as f64 / of.as_nanos() as f64
}

#[test]
fn each_gets_its_rate_within_two_percent_however_many_threads_it_has() {
    for members in [[1, 1, 1], [1, 7, 3]] {
        let mut guests = Guests::new();
        let rates = [(1, 10), (2, 10), (7, 20)];
        let mut groups = Vec::new();
        for ((group, members), (quota, period)) in (1..).zip(members).zip(rates) {
            guests.set_rate(group, ms(quota), ms(period));
            let options = ThreadOptions::new().group(group);
            let ids = (0..members).map(|_| guests.spin(options.clone()));
            groups.push(ids.collect::<Vec<_>>());
        }
        // What is there at first is not the rate.
        guests.run_until_it_shows(ms(50));
        let (start, before) = (guests.clock.now(), groups.clone());
        let before: Vec<u64> = before.iter().map(|ids| guests.used(ids)).collect();
        guests.run_until_it_shows(start + ms(500));
        let time = guests.clock.now() - start;
        for ((ids, before), (quota, period)) in groups.iter().zip(before).zip(rates) {
            let got = in_percent(guests.used(ids) - before, time);
            let rate = 100.0 * quota as f64 / period as f64;
            assert!((got / rate - 1.0).abs() < 0.02, "{got} % for {rate} %");
            // Its threads share it alike.
            let used = ids.iter().map(|id| guests.used(&[*id]));
            let (least, most) = (used.clone().min().unwrap(), used.max().unwrap());
            assert!(most - least < 2_000_000, "{least} to {most}");
        }
    }
}

#[test]
fn a_rate_below_a_slice_bounds_the_slice() {
    let mut guests = Guests::new();
    let long = Slice::Fuel(1 << 40);
    let options = ThreadOptions::new().slice(long).cpu_rate(ms(1), ms(10));
    let id = guests.spin(options);
    guests.run_until_it_shows(ms(300));
    let got = in_percent(guests.used(&[id]), guests.clock.now());
    assert!((9.8..10.6).contains(&got), "{got} %");
}

#[test]
fn threads_that_come_and_go_get_no_more_than_their_group() {
    let mut guests = Guests::new();
    guests.set_rate(1, ms(1), ms(10));
    let mut used = 0;
    for n in 0..400 {
        let options = ThreadOptions::new().group(1);
        let id = guests.sum(100 + 97 * (n % 53), options);
        guests.store.run_wasm_threads_for(HANG).unwrap();
        used += guests.used(&[id]);
        returned(&mut guests.store, id);
        let may = ms(1) + guests.clock.now() / 10;
        assert!(used <= may.as_nanos() as u64, "{used} of {may:?}");
    }
    // They got that much: each had given back what it did not need.
    let got = in_percent(used, guests.clock.now());
    assert!(got > 9.8, "{got} %");
}

#[test]
fn threads_that_are_killed_while_they_wait_give_back_what_they_have_borrowed() {
    let mut guests = Guests::new();
    guests.set_rate(1, ms(1), ms(10));
    let spinners: Vec<_> = (0..50)
        .map(|_| guests.spin(ThreadOptions::new().group(1)))
        .collect();
    guests.run_until_it_shows(ms(20));
    let now = guests.clock.now();
    for id in spinners {
        id.kill(&mut guests.store).unwrap();
    }
    let id = guests.sum(1_000, ThreadOptions::new().group(1));
    run_all(&mut guests.store);
    returned(&mut guests.store, id);
    let waited = guests.clock.now() - now;
    assert!(waited < ms(20), "{waited:?}");
}

#[test]
fn schedules_repeat_however_a_run_is_cut() {
    let run = |piece: Duration| {
        let mut guests = Guests::new();
        guests.set_rate(1, ms(1), ms(10));
        guests.store.wasm_threads().set_trace(1 << 16).unwrap();
        let ids: Vec<_> = (0..6)
            .map(|n| {
                let mut options = ThreadOptions::new().group(n % 2);
                if n > 3 {
                    options = options.cpu_rate(ms(2), ms(5 * n));
                }
                guests.sum(100_000 + 30_000 * n as i64, options)
            })
            .collect();
        while guests.store.run_wasm_threads_for(piece).unwrap().end != RunEnd::AllFinished {}
        let trace = take_trace(&mut guests.store);
        // A throttled thread is a parked one.
        let checker = checker(Preemption::Fuel).all_finished(true);
        let report = checker.order(Order::RoundRobin).check(&trace);
        assert!(report.is_ok(), "{report}");
        let is_of_run = |event: &&TraceEvent| {
            use Traced::*;
            !matches!(
                event.what,
                RunStarted | RunEnded | Paused | Dispatched { .. }
            )
        };
        let events: Vec<_> = trace.events.iter().filter(is_of_run).copied().collect();
        let stats = ids.iter().map(|id| {
            let stats = stats(&guests.store, *id);
            (stats.throttles, stats.dispatches, stats.fuel_consumed)
        });
        (events, stats.collect::<Vec<_>>(), guests.clock.now())
    };
    let whole = run(HANG);
    assert!(whole.1.iter().any(|(throttles, ..)| *throttles > 3));
    for piece in [1, 3] {
        let cut = run(Duration::from_micros(200 * piece));
        assert_eq!(cut.0.len(), whole.0.len());
        assert_eq!(cut.0, whole.0);
        assert_eq!((cut.1, cut.2), (whole.1.clone(), whole.2));
    }
}

#[test]
fn a_clock_that_is_set_later_starts_with_full_quotas() {
    let (mut store, module) = guests(Preemption::Fuel);
    let limits = ThreadLimits::new().cpu_rate(ONCE.0, ONCE.1);
    store.wasm_threads().set_group_limits(1, limits).unwrap();
    let in_group = |store: &mut Store<()>, n| {
        let options = ThreadOptions::new().group(1);
        spawn_with(store, &module, "sum", &[Val::I64(n)], options)
    };
    let first = in_group(&mut store, 100_000_000);
    run_until_throttled(&mut store, first);
    first.kill(&mut store).unwrap();
    let clock = VirtualClock::new();
    store
        .wasm_threads()
        .set_virtual_clock(clock.clone())
        .unwrap();
    let second = in_group(&mut store, 1_000);
    run_all(&mut store);
    returned(&mut store, second);
    assert!(clock.now() < ms(1), "{:?}", clock.now());
}
