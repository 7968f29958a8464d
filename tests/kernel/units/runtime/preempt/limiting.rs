//! `limits.rs`: what is left of limits, and when they are reached.

use super::clock::Moment;
use super::limits::{Allowance, Budget, ThreadLimits};
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn an_allowance_is_what_is_left_until_the_next_limit() {
    let mut budget = Budget::new(ThreadLimits::new().fuel(100).soft_fuel(60).cpu_time(ms(9)));
    budget.charge(50, ms(4));
    let left = budget.allowance(false);
    assert_eq!((left.fuel, left.group_fuel), (Some(10), None));
    assert_eq!((left.time, left.count_cpu_time), (Some(ms(5)), true));
    assert_eq!(budget.fuel_left(), Some(50));
    budget.charge(10, ms(0));
    assert!(budget.newly_over_soft(false).is_some());
    assert_eq!(budget.allowance(true).group_fuel, Some(40));
    budget.charge(u64::MAX, Duration::MAX);
    let left = budget.allowance(false);
    assert_eq!((left.fuel, left.time), (Some(0), Some(ms(0))));
}

#[test]
fn fuel_that_others_hold_is_not_given_twice_but_one_unit_remains() {
    let mut budget = Budget::new(ThreadLimits::new().fuel(100));
    for (counter, left) in [(-30, 70), (7, 70), (-60, 10), (-60, 1)] {
        budget.hold(counter);
        assert_eq!(budget.fuel_left(), Some(left), "{counter}");
        assert_eq!(budget.allowance(true).fuel, Some(left), "{counter}");
    }
    for (counter, left) in [(-60, 10), (-60, 70), (-30, 100), (i64::MIN, 100)] {
        budget.give_back(counter);
        assert_eq!(budget.fuel_left(), Some(left), "{counter}");
    }
    budget.charge(100, ms(0));
    assert_eq!(budget.fuel_left(), Some(0));
}

#[test]
fn a_limit_is_reached_before_it_is_exceeded() {
    let limits = ThreadLimits::new().fuel(10).cpu_time(ms(3));
    for (fuel, cpu, over, exceeded) in [
        (9, ms(2), false, false),
        (10, ms(2), true, false),
        (11, ms(2), true, true),
        (9, ms(3), true, false),
        (9, ms(4), true, true),
    ] {
        let mut budget = Budget::new(limits);
        budget.charge(fuel, cpu);
        assert_eq!(budget.over(false).is_some(), over, "{fuel} {cpu:?}");
        assert_eq!(budget.exceeded(true).is_some(), exceeded, "{fuel} {cpu:?}");
    }
}

#[test]
fn of_two_allowances_the_tighter_one_holds() {
    let some = Allowance {
        fuel: Some(7),
        time: Some(ms(2)),
        ..Allowance::default()
    };
    let other = Allowance {
        fuel: Some(5),
        group_fuel: Some(5),
        count_cpu_time: true,
        ..Allowance::default()
    };
    for both in [some.and(other), other.and(some)] {
        assert_eq!((both.fuel, both.group_fuel), (Some(5), Some(5)));
        assert_eq!((both.time, both.count_cpu_time), (Some(ms(2)), true));
    }
    let now = Moment::now();
    assert_eq!(some.end(now), now.as_nanos() + 2_000_000);
    assert_eq!(other.end(now), u64::MAX);
    let until = other.until(now.saturating_add(ms(1)), now);
    assert_eq!(until.time, Some(ms(1)));
    assert_eq!(
        other.until(now, now.saturating_add(ms(1))).time,
        Some(ms(0))
    );
}

#[test]
fn a_soft_limit_is_told_once_and_again_after_it_was_raised_even_if_it_is_reached_already() {
    let soft = |fuel, cpu| ThreadLimits::new().soft_fuel(fuel).soft_cpu_time(ms(cpu));
    let mut budget = Budget::new(soft(10, 5));
    budget.charge(100, ms(50));
    let told = |budget: &mut Budget| {
        let mut told = 0;
        while budget.newly_over_soft(false).is_some() {
            told += 1;
        }
        told
    };
    assert_eq!(told(&mut budget), 2);
    // As they were, or lower.
    budget.set_limits(soft(10, 4));
    assert_eq!(told(&mut budget), 0);
    budget.set_limits(soft(20, 10));
    assert_eq!(told(&mut budget), 2);
    budget.set_limits(soft(200, 100));
    assert_eq!(told(&mut budget), 0);
    budget.charge(100, ms(50));
    assert_eq!(told(&mut budget), 2);
}
