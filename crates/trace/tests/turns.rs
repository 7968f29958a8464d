//! Who was on the CPU when, and who spawned whom.

use crate::support::*;
use preempt_trace::stats::Stats;
use preempt_trace::turns::Turns;
use proptest::prelude::*;
use std::collections::BTreeMap;
use wasmtime::preempt::Traced::*;

/// What the turns say, without their types.
fn turns(found: &Turns) -> Vec<(u64, u64, u64)> {
    let turns = found.turns.iter();
    turns.map(|t| (t.thread.as_u64(), t.from, t.to)).collect()
}

#[test]
fn turn_lasts_from_dispatch_until_its_thread_leaves_the_cpu() {
    let trace = trace(&[
        (0, 1, Spawned),
        (0, 2, Spawned),
        (5, 0, RunStarted),
        (5, 1, slice(10)),
        (15, 1, Preempted),
        (16, 2, slice(10)),
        (20, 2, Parked),
        (30, 2, Woken),
        (30, 1, slice(10)),
        (33, 1, Returned),
        (33, 2, slice(10)),
        (40, 2, Paused),
        (41, 0, RunEnded),
    ]);
    let found = Turns::of(&trace);
    let expected = [(1, 5, 15), (2, 16, 20), (1, 30, 33), (2, 33, 40)];
    assert_eq!(turns(&found), expected);
    assert_eq!(found.run, Some(5..41));
    assert_eq!(found.spawns, []);
}

#[test]
fn thread_is_spawned_by_the_one_on_the_cpu() {
    let trace = trace(&[
        (0, 1, Spawned),
        (0, 0, RunStarted),
        (0, 1, slice(10)),
        (3, 2, Spawned),
        (9, 1, Preempted),
        (9, 2, slice(10)),
        (11, 3, Spawned),
        (12, 2, Returned),
        (12, 4, Spawned),
        (12, 0, RunEnded),
    ]);
    let spawns = Turns::of(&trace).spawns;
    let spawns: Vec<(u64, u64)> = spawns
        .iter()
        .map(|spawn| (spawn.thread.as_u64(), spawn.by.as_u64()))
        .collect();
    assert_eq!(spawns, [(2, 1), (3, 2)]);
}

#[test]
fn turn_that_has_no_end_lasts_until_the_last_event() {
    let trace = trace(&[
        (2, 0, RunStarted),
        (2, 1, Spawned),
        (3, 1, slice(10)),
        (8, 2, Spawned),
    ]);
    let found = Turns::of(&trace);
    assert_eq!(turns(&found), [(1, 3, 8)]);
    assert_eq!(found.run, Some(2..8));
    assert_eq!(Turns::of(&Default::default()), Turns::default());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn turns_follow_each_other_and_add_up_to_the_cpu_times(schedule in schedules()) {
        let found = Turns::of(&schedule.trace);
        for pair in found.turns.windows(2) {
            prop_assert!(pair[0].to <= pair[1].from, "{pair:?}");
        }
        let mut cpu = BTreeMap::new();
        for turn in &found.turns {
            *cpu.entry(turn.thread).or_default() += turn.to - turn.from;
        }
        for thread in &Stats::of(&schedule.trace).threads {
            prop_assert_eq!(cpu.get(&thread.thread).copied().unwrap_or(0_u64), thread.cpu);
        }
    }
}
