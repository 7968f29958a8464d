//! Sequences to begin with. Each does one thing that users do, under each source.

use super::guests::Guests;
use super::op::{EXPORTS, INSTANCES, Op, Spawn};
use crate::bytes::Bytes;
use crate::source;
use arbitrary::Unstructured;
use std::time::Duration;
use wasmtime::preempt::{Preemption, Slice};

type Sequence = fn() -> Vec<Op>;

pub const ALL: [(&str, Sequence); 13] = [
    ("beside-each-other", beside_each_other),
    ("drop-async-run", drop_async_run),
    ("drop-store", drop_store),
    ("each-alone", each_alone),
    ("enter-one-at-a-time", enter_one_at_a_time),
    ("kill-anywhere", kill_anywhere),
    ("kill-with-loans", kill_with_loans),
    ("limits", limits),
    ("plain-calls", plain_calls),
    ("shut-down", shut_down),
    ("suspend", suspend),
    ("trap", trap),
    ("waits", waits),
];

/// The bytes that choose a sequence.
///
/// # Panics
///
/// If they choose another.
pub fn write(source: Preemption, ops: &[Op]) -> Vec<u8> {
    let mut bytes = Bytes::default();
    Guests::write(source, &mut bytes);
    let slice = match source {
        Preemption::Fuel => Slice::Fuel(20),
        _ => Slice::Time(source::shortest(source)),
    };
    bytes.slice(source, slice);
    for op in ops {
        let before = bytes.len();
        op.write(&mut bytes);
        let chosen = Op::choose(&mut Unstructured::new(bytes.since(before)));
        assert_eq!(chosen.as_ref(), Ok(op));
    }
    bytes.into_vec()
}

fn spawn(export: &'static str, instance: usize, n: u32) -> Op {
    Op::Spawn(Spawn {
        export,
        instance,
        n,
        limit: None,
    })
}

fn run(micros: u64) -> Op {
    Op::Run(Duration::from_micros(micros))
}

/// Longer than its calls take, most often.
fn run_long() -> Op {
    run(1_000)
}

fn each_alone() -> Vec<Op> {
    let returns = EXPORTS.iter().filter(|name| **name != "spin");
    let alone = |&export: &&'static str| [spawn(export, 0, 7), run_long(), Op::TakeExits];
    let mut ops: Vec<Op> = returns.flat_map(alone).collect();
    ops.push(Op::ReplaceInstance(0));
    ops
}

fn beside_each_other() -> Vec<Op> {
    let mut ops: Vec<Op> = EXPORTS
        .iter()
        .enumerate()
        .map(|(index, &export)| spawn(export, index % INSTANCES, 20))
        .collect();
    ops.extend([run(200), run(200), Op::TakeExits, run_long(), Op::TakeExits]);
    ops
}

fn enter_one_at_a_time() -> Vec<Op> {
    let mut ops: Vec<Op> = (0..4).map(|_| spawn("lend", 1, 9)).collect();
    ops.extend([spawn("echo", 1, 30), spawn("nap", 1, 1), run_long()]);
    ops.extend([Op::TakeExits, run_long(), Op::TakeExits]);
    ops
}

fn drop_async_run() -> Vec<Op> {
    let mut ops = vec![spawn("nap", 0, 1), spawn("lend", 1, 30)];
    for polls in [1, 2, 10] {
        ops.extend([Op::RunAsync { polls }, spawn("nap", 2, 1), Op::PlainCall(2)]);
    }
    ops.extend([Op::Kill(0), run_long(), Op::TakeExits]);
    ops
}

fn drop_store() -> Vec<Op> {
    let mut ops = vec![spawn("give", 0, 40), spawn("sum", 1, 40)];
    ops.extend([spawn("nap", 2, 1), run(30), Op::ReplaceStore]);
    // Before it has begun, too.
    ops.extend([spawn("lend", 0, 3), Op::ReplaceStore, spawn("ask", 0, 3)]);
    ops.extend([run_long(), Op::TakeExits]);
    ops
}

fn kill_anywhere() -> Vec<Op> {
    let mut ops = Vec::new();
    for (instance, export) in ["sum", "echo", "nap"].into_iter().enumerate() {
        ops.extend([spawn(export, instance, 40), run(20), Op::Kill(2 * instance)]);
        // It may not enter.
        ops.push(spawn("ask", instance, 2));
    }
    ops.extend([Op::TakeExits, run_long(), Op::TakeExits]);
    ops.extend((0..INSTANCES).map(Op::ReplaceInstance));
    ops.extend([spawn("sum", 0, 9), Op::Kill(0), run_long(), Op::TakeExits]);
    ops
}

fn kill_with_loans() -> Vec<Op> {
    let mut ops = vec![spawn("lend", 0, 40), spawn("give", 1, 40)];
    ops.extend([spawn("make", 2, 40), run(60)]);
    ops.extend([Op::Kill(0), Op::Kill(1), Op::Kill(2), Op::TakeExits]);
    // Before it has begun.
    ops.extend([Op::ReplaceInstance(0), spawn("lend", 0, 1), Op::Kill(0)]);
    ops.extend([spawn("give", 0, 1), Op::Kill(1), Op::TakeExits]);
    ops
}

fn limits() -> Vec<Op> {
    let limited = |export, instance, limit| {
        Op::Spawn(Spawn {
            export,
            instance,
            n: 40,
            limit: Some(limit),
        })
    };
    let mut ops = vec![limited("spin", 0, 400), limited("lend", 1, 100)];
    ops.extend([limited("echo", 2, 30), limited("sum", 2, 3_000)]);
    ops.extend([run_long(), Op::TakeExits, spawn("ask", 0, 1), run_long()]);
    ops.push(Op::TakeExits);
    ops
}

fn plain_calls() -> Vec<Op> {
    let mut ops: Vec<Op> = (0..INSTANCES).map(Op::PlainCall).collect();
    ops.extend([spawn("sum", 0, 40), Op::PlainCall(0), run(20)]);
    ops.extend([Op::PlainCall(0), Op::PlainCall(1), spawn("trap", 1, 1)]);
    ops.extend([run_long(), Op::PlainCall(1), Op::TakeExits]);
    ops.extend([Op::ReplaceInstance(1), Op::PlainCall(1)]);
    ops
}

fn shut_down() -> Vec<Op> {
    let mut ops: Vec<Op> = EXPORTS
        .iter()
        .enumerate()
        .map(|(index, &export)| spawn(export, index % INSTANCES, 30))
        .collect();
    ops.extend([run(100), Op::Shutdown, Op::TakeExits]);
    ops.extend((0..INSTANCES).map(Op::ReplaceInstance));
    ops.extend([spawn("echo", 0, 5), run_long(), Op::TakeExits]);
    ops
}

fn suspend() -> Vec<Op> {
    let mut ops = vec![spawn("lend", 0, 30), spawn("nap", 1, 1)];
    ops.extend([spawn("echo", 0, 30), Op::Suspend(1), run(30)]);
    ops.extend([Op::Suspend(0), run_long(), Op::Resume(1), run_long()]);
    ops.extend([Op::PlainCall(0), Op::Resume(0), run_long(), Op::TakeExits]);
    ops
}

fn trap() -> Vec<Op> {
    let mut ops = vec![spawn("trap", 0, 1), spawn("sum", 0, 30)];
    ops.extend([spawn("trap", 1, 1), spawn("lend", 1, 3), run_long()]);
    ops.extend([Op::TakeExits, spawn("give", 0, 3), run_long()]);
    ops.extend([Op::TakeExits, Op::ReplaceInstance(0), Op::PlainCall(0)]);
    ops
}

fn waits() -> Vec<Op> {
    let mut ops: Vec<Op> = (0..6).map(|n| spawn("nap", n % 3, 1)).collect();
    ops.extend([spawn("spin", 2, 1), run(300), Op::Kill(6), run_long()]);
    ops.extend([Op::TakeExits, run_long(), Op::TakeExits]);
    ops
}
