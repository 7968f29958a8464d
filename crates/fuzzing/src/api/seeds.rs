//! Sequences to begin with. Each does one thing that users do, under each source.

use super::guests::Guests;
use super::op::{Hook, Meddle, Op, Spawn};
use super::thread::{Limits, Work};
use crate::bytes::Bytes;
use arbitrary::Unstructured;
use std::time::Duration;
use wasmtime::preempt::{Preemption, Slice};

type Sequence = fn(Preemption) -> Vec<Op>;

pub const ALL: [(&str, Sequence); 24] = [
    ("children", children),
    ("collect", collect),
    ("deadlock", deadlock),
    ("detached", detached),
    ("drop-async-run", drop_async_run),
    ("drop-store", drop_store),
    ("each-once", each_once),
    ("each-ends", each_ends),
    ("group", group),
    ("hooks", hooks),
    ("idle-stacks", idle_stacks),
    ("join", join),
    ("keep-store", keep_store),
    ("kill-anywhere", kill_anywhere),
    ("kill-from-outside", kill_from_outside),
    ("limits", limits),
    ("max-threads", max_threads),
    ("own-memories", own_memories),
    ("policies", policies),
    ("preempt-from-outside", preempt_from_outside),
    ("shut-down", shut_down),
    ("slices", slices),
    ("suspend", suspend),
    ("wake-from-outside", wake_from_outside),
];

/// The bytes that choose a sequence.
///
/// # Panics
///
/// If they choose another.
pub fn write(source: Preemption, ops: &[Op]) -> Vec<u8> {
    let mut bytes = Bytes::default();
    Guests::write(source, &mut bytes);
    for op in ops {
        // The first store.
        bytes.ratio(false, 8);
        let before = bytes.len();
        op.write(source, &mut bytes);
        let chosen = Op::choose(source, &mut Unstructured::new(bytes.since(before)));
        assert_eq!(chosen.as_ref(), Ok(op));
    }
    bytes.into_vec()
}

fn thread(work: Work, n: u16) -> Spawn {
    Spawn {
        work,
        n,
        slice: None,
        detached: false,
        hook: None,
        grouped: false,
        weight: 1,
        priority: 0,
        deadline: None,
        limits: Limits::default(),
    }
}

fn spawn(work: Work, n: u16) -> Op {
    Op::Spawn(thread(work, n))
}

fn run(micros: u64) -> Op {
    run_beside(micros, &[])
}

/// On an OS thread of its own, beside others.
fn run_beside(micros: u64, meanwhile: &[Meddle]) -> Op {
    Op::Run {
        time: Duration::from_micros(micros),
        elsewhere: !meanwhile.is_empty(),
        meanwhile: meanwhile.to_vec(),
    }
}

/// Longer than its threads take, most often.
fn run_long() -> Op {
    run(1_500)
}

fn pause(micros: u64) -> Meddle {
    Meddle::Pause(Duration::from_micros(micros))
}

fn short(source: Preemption) -> Slice {
    slice(source, 10)
}

fn slice(source: Preemption, n: u64) -> Slice {
    match source {
        Preemption::Fuel => Slice::Fuel(n),
        _ => Slice::Time(crate::source::shortest(source) + Duration::from_nanos(n)),
    }
}

fn each_once(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    ops.extend(Work::ALL.map(|work| spawn(work, 20)));
    ops.extend([run_long(), Op::Open(1), Op::Notify(0), run_long()]);
    ops.extend([Op::TakeExits, run_long(), Op::TakeExits]);
    ops
}

fn each_ends(_: Preemption) -> Vec<Op> {
    let one = |work| [spawn(work, 5), run(300), Op::TakeExits];
    let all = [Work::Trap, Work::Overflow, Work::Nested, Work::Nap];
    let mut ops: Vec<Op> = all.into_iter().flat_map(one).collect();
    ops.extend([Op::PlainCall(100), spawn(Work::Sum, 400), run_long()]);
    ops.push(Op::TakeExits);
    ops
}

fn children(_: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetMaxThreads(5)];
    ops.extend((0..4).map(|n| spawn(Work::Child, 10 * n)));
    ops.extend([run_long(), Op::TakeExits, spawn(Work::Child, 1)]);
    ops.extend([run_long(), Op::TakeExits]);
    ops
}

fn collect(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    for _ in 0..3 {
        ops.extend([spawn(Work::Sum, 300), spawn(Work::Nested, 90)]);
        ops.extend([run(40), Op::Collect, run(40), Op::PlainCall(50)]);
    }
    ops.extend([Op::Collect, run_long(), Op::Collect, Op::TakeExits]);
    ops
}

fn deadlock(_: Preemption) -> Vec<Op> {
    let mut ops: Vec<Op> = (0..3).map(|n| spawn(Work::Wait, n)).collect();
    // For one of those, and for nobody.
    ops.extend([spawn(Work::Join, 2), spawn(Work::Join, 0)]);
    ops.extend([run_long(), Op::Notify(1), run_long()]);
    ops.extend([spawn(Work::Notify, 0), run_long(), Op::TakeExits]);
    ops
}

fn detached(_: Preemption) -> Vec<Op> {
    let detached = |work| {
        Op::Spawn(Spawn {
            detached: true,
            hook: Some(Hook::Count),
            ..thread(work, 30)
        })
    };
    let all = [Work::Sum, Work::Trap, Work::Spin, Work::Pass, Work::Sleep];
    let mut ops: Vec<Op> = all.into_iter().map(detached).collect();
    ops.extend([run_long(), Op::Kill(0), Op::Open(1), run_long()]);
    ops
}

fn drop_async_run(_: Preemption) -> Vec<Op> {
    let all = [Work::Spin, Work::Pass, Work::Keeps, Work::Sleep];
    let mut ops: Vec<Op> = all.into_iter().map(|work| spawn(work, 100)).collect();
    for polls in [1, 2, 10] {
        ops.extend([Op::RunAsync { polls }, Op::Kill(0), Op::Open(1)]);
        ops.extend([run(200), Op::TakeExits, spawn(Work::Keeps, 10)]);
    }
    ops
}

fn drop_store(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    ops.extend(Work::ALL.map(|work| spawn(work, 200)));
    // Before they have run, and at any place.
    ops.extend([Op::Replace, spawn(Work::Spin, 0), spawn(Work::Keeps, 50)]);
    ops.extend([spawn(Work::Nested, 200), spawn(Work::Pass, 1)]);
    ops.extend([run(100), Op::RunAsync { polls: 1 }, Op::Replace]);
    ops.extend([spawn(Work::Sum, 3), run_long(), Op::TakeExits]);
    ops
}

fn group(source: Preemption) -> Vec<Op> {
    let grouped = |work, n| {
        Op::Spawn(Spawn {
            grouped: true,
            ..thread(work, n)
        })
    };
    let mut ops = vec![Op::SetSlice(short(source))];
    ops.extend([grouped(Work::Sum, 50), grouped(Work::Spin, 0)]);
    ops.extend([spawn(Work::Sum, 50), run(100)]);
    ops.push(Op::SetGroupLimits(Limits {
        fuel: Some(2_000),
        cpu: Some(Duration::from_nanos(50 * 2_000)),
        ..Limits::default()
    }));
    ops.extend([grouped(Work::Nested, 100), run_long()]);
    // It leaves its group.
    ops.extend([grouped(Work::Sum, 10), params(2, 1, 0)]);
    ops.extend([run_long(), Op::TakeExits]);
    ops
}

fn hooks(_: Preemption) -> Vec<Op> {
    let hooked = |work, hook| {
        Op::Spawn(Spawn {
            hook: Some(hook),
            ..thread(work, 40)
        })
    };
    vec![
        spawn(Work::Spin, 0),
        hooked(Work::Sum, Hook::KillAnother(0)),
        hooked(Work::Trap, Hook::Spawn),
        hooked(Work::Pass, Hook::Count),
        hooked(Work::Spin, Hook::KillAnother(3)),
        run_long(),
        Op::Kill(4),
        run_long(),
        hooked(Work::Spin, Hook::Spawn),
        run(50),
        Op::Shutdown,
        Op::TakeExits,
    ]
}

fn idle_stacks(_: Preemption) -> Vec<Op> {
    let mut ops = Vec::new();
    for most in [4, 0, 1] {
        ops.push(Op::SetMaxIdleStacks(most));
        ops.extend((0..5).map(|n| spawn(Work::Sum, 10 * n)));
        ops.extend([run_long(), Op::TakeExits, Op::PlainCall(3)]);
    }
    ops
}

fn join(_: Preemption) -> Vec<Op> {
    let mut ops = vec![spawn(Work::Sum, 200), spawn(Work::Spin, 0)];
    // The one before, the one before that, itself, and nobody.
    ops.extend([2, 3, 1, 0].map(|n| spawn(Work::Join, n)));
    ops.extend([run_long(), Op::Kill(1), run_long()]);
    ops.extend([Op::TakeExits, spawn(Work::Join, 2), run_long()]);
    ops.push(Op::TakeExits);
    ops
}

fn keep_store(_: Preemption) -> Vec<Op> {
    let mut ops = Vec::new();
    for end in [Op::Kill(0), Op::Suspend(0), Op::Shutdown] {
        ops.extend([spawn(Work::Keeps, 100), spawn(Work::Sum, 100)]);
        ops.extend([Op::RunAsync { polls: 1 }, end, Op::PlainCall(10)]);
        ops.extend([run_long(), Op::Resume(0), run_long(), Op::TakeExits]);
    }
    ops
}

fn kill_anywhere(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    let all = [Work::Spin, Work::Pass, Work::Wait, Work::Sleep, Work::Join];
    ops.extend(all.map(|work| spawn(work, 2)));
    ops.extend([Op::Kill(0), run(100)]);
    ops.extend((1..5).map(Op::Kill));
    ops.extend([spawn(Work::Overflow, 0), spawn(Work::Nested, 300)]);
    ops.extend([run(30), Op::Kill(5), Op::Kill(6), spawn(Work::Kill, 1)]);
    ops.extend([spawn(Work::Kill, 3), run_long(), Op::TakeExits]);
    ops
}

fn kill_from_outside(_: Preemption) -> Vec<Op> {
    let all = [Work::Spin, Work::Pass, Work::Wait, Work::Nested];
    let mut ops: Vec<Op> = all.into_iter().map(|work| spawn(work, 100)).collect();
    ops.push(run_beside(
        800,
        &[Meddle::Kill(1), pause(50), Meddle::Kill(0), Meddle::Kill(3)],
    ));
    ops.push(run_beside(500, &[Meddle::Kill(2), Meddle::Kill(2)]));
    ops.extend([run(50), Op::TakeExits]);
    ops
}

fn limits(source: Preemption) -> Vec<Op> {
    let fuel = Limits {
        fuel: Some(1_000),
        soft_fuel: Some(500),
        ..Limits::default()
    };
    let time = Limits {
        cpu: Some(Duration::from_nanos(50 * 1_000)),
        wall: Some(Duration::from_nanos(100 * 1_000)),
        ..Limits::default()
    };
    // Fuel only if each engine counts it.
    let first = match source {
        Preemption::Fuel => fuel,
        _ => time,
    };
    let limited = |work, limits| {
        Op::Spawn(Spawn {
            limits,
            ..thread(work, 300)
        })
    };
    let mut ops = vec![limited(Work::Spin, first), limited(Work::Sum, time)];
    ops.extend([limited(Work::Pass, time), limited(Work::Overflow, fuel)]);
    ops.extend([spawn(Work::Spin, 0), spawn(Work::Sleep, 250), run(300)]);
    ops.extend([Op::SetLimits(4, first), Op::SetLimits(5, time), run_long()]);
    ops.extend([run_long(), Op::TakeExits]);
    ops
}

fn max_threads(_: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetMaxThreads(2)];
    ops.extend((0..4).map(|n| spawn(Work::Sum, n)));
    ops.extend([run_long(), spawn(Work::Sum, 9), Op::SetMaxThreads(3)]);
    ops.extend([spawn(Work::Pass, 9), Op::TakeExits, Op::SetMaxThreads(0)]);
    ops.extend([spawn(Work::Sum, 1), Op::Open(1), run_long(), Op::TakeExits]);
    ops
}

fn own_memories(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    for own in [true, false] {
        ops.extend([Op::OwnMemories(own), spawn(Work::Count, 400)]);
        // An error, as the first one is there.
        ops.extend([spawn(Work::Count, 1), run(20), spawn(Work::Count, 2)]);
        ops.extend([run_long(), Op::TakeExits, spawn(Work::Count, 7)]);
        ops.extend([Op::Kill(0), spawn(Work::Count, 30), run_long()]);
    }
    ops
}

fn params(thread: usize, weight: u32, priority: i32) -> Op {
    Op::SetParams {
        thread,
        weight,
        priority,
    }
}

fn policies(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    for policy in 0..6 {
        ops.push(Op::SetScheduler(policy, 7));
        ops.push(Op::Spawn(Spawn {
            weight: 3,
            priority: 1,
            deadline: Some(1_000),
            ..thread(Work::Sum, 60)
        }));
        ops.extend([spawn(Work::Yields, 60), run(60), params(0, 2, -1)]);
        ops.extend([run(60), Op::TakeExits]);
    }
    ops
}

fn preempt_from_outside(_: Preemption) -> Vec<Op> {
    let mut ops = vec![spawn(Work::Spin, 0), spawn(Work::Keeps, 300)];
    ops.push(spawn(Work::Nested, 300));
    for thread in 0..3 {
        let now = Meddle::PreemptNow(thread);
        ops.push(run_beside(
            300,
            &[now, pause(20), Meddle::IncrementEpoch, now],
        ));
    }
    ops.extend([Op::IncrementEpoch, run(100), Op::TakeExits]);
    ops
}

fn shut_down(source: Preemption) -> Vec<Op> {
    let mut ops = vec![Op::SetSlice(short(source))];
    ops.extend(Work::ALL.map(|work| spawn(work, 100)));
    ops.extend([run(200), Op::Shutdown, Op::TakeExits, Op::PlainCall(20)]);
    ops.extend([spawn(Work::Sum, 20), Op::Shutdown, spawn(Work::Sum, 20)]);
    ops.extend([run_long(), Op::TakeExits]);
    ops
}

fn slices(source: Preemption) -> Vec<Op> {
    let mut ops: Vec<Op> = (0..3).map(|_| spawn(Work::Sum, 400)).collect();
    ops.push(Op::Spawn(Spawn {
        slice: Some(slice(source, 3)),
        ..thread(Work::Spin, 0)
    }));
    for n in [1, 60, 4_000, 20] {
        let slice = slice(source, n);
        ops.extend([Op::SetSlice(slice), run(40)]);
        ops.extend([Op::SetThreadSlice(1, slice), run(40)]);
    }
    ops.extend([Op::Kill(3), run_long(), Op::TakeExits]);
    ops
}

fn suspend(_: Preemption) -> Vec<Op> {
    let all = [Work::Spin, Work::Pass, Work::Sleep, Work::Keeps];
    let mut ops: Vec<Op> = all.into_iter().map(|work| spawn(work, 200)).collect();
    // Before it has run, where it spins and where it waits.
    ops.extend([Op::Suspend(2), run(100), Op::Suspend(0), Op::Suspend(1)]);
    ops.extend([run_long(), Op::Open(1), run(100), Op::Resume(1)]);
    ops.extend([Op::Suspend(1), Op::Resume(1), Op::Resume(2), run_long()]);
    ops.extend([Op::Suspend(0), Op::Kill(0), Op::TakeExits]);
    ops
}

fn wake_from_outside(_: Preemption) -> Vec<Op> {
    let all = [Work::Pass, Work::Wait, Work::Pass, Work::Nap, Work::Sleep];
    let mut ops: Vec<Op> = all.into_iter().map(|work| spawn(work, 2)).collect();
    ops.push(run_beside(
        1_500,
        &[
            pause(100),
            Meddle::Open,
            Meddle::Notify(2),
            Meddle::Notify(2),
        ],
    ));
    ops.extend([Op::Open(2), run_long(), Op::TakeExits]);
    ops
}
