//! Programs as modules in the text format, with locks made of atomic instructions.

use super::program::{DONE, NEVER, Program, Statement, barrier, counter, flag, mutex, posts};
use std::fmt::{Error, Write};

/// The locks. A mutex is 0, or 1 if it is locked, or 2 if somebody may wait for it.
const LOCKS: &str = r#"
  (func $lock (param $at i32)
    (local $was i32)
    (local.set $was
      (i32.atomic.rmw.cmpxchg (local.get $at) (i32.const 0) (i32.const 1)))
    (loop $again
      (if (i32.eqz (local.get $was)) (then (return)))
      (local.set $was (i32.atomic.rmw.xchg (local.get $at) (i32.const 2)))
      (if (i32.eqz (local.get $was)) (then (return)))
      (drop (memory.atomic.wait32 (local.get $at) (i32.const 2) (i64.const -1)))
      (br $again)))
  (func $unlock (param $at i32)
    (if (i32.eq (i32.atomic.rmw.xchg (local.get $at) (i32.const 0)) (i32.const 2))
      (then (drop (memory.atomic.notify (local.get $at) (i32.const 1))))))
  ;; By plain instructions, with others between them.
  (func $add (param $at i32) (param $n i32) (param $work i32)
    (local $sum i32)
    (local.set $sum (i32.add (i32.load (local.get $at)) (local.get $n)))
    (call $work (local.get $work))
    (i32.store (local.get $at) (local.get $sum)))
  (func $work (param $turns i32)
    (loop $again
      (if (i32.eqz (local.get $turns)) (then (return)))
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br $again)))
  (func $nap
    (drop (memory.atomic.wait32 (i32.const NEVER) (i32.const 0) (i64.const 20000))))
  ;; Gives up the CPU, if the time is not over already.
  (func $yield
    (drop (memory.atomic.wait32 (i32.const NEVER) (i32.const 0) (i64.const 1))))
  (func $post (param $at i32)
    (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
    (drop (memory.atomic.notify (local.get $at) (i32.const 1))))
  (func $take (param $at i32)
    (local $there i32)
    (loop $again
      (local.set $there (i32.atomic.load (local.get $at)))
      (if (i32.eqz (local.get $there))
        (then
          (drop (memory.atomic.wait32 (local.get $at) (i32.const 0) (i64.const -1)))
          (br $again)))
      (br_if $again (i32.ne (local.get $there)
        (i32.atomic.rmw.cmpxchg (local.get $at) (local.get $there)
          (i32.sub (local.get $there) (i32.const 1)))))))
  ;; A flag, with its mutex at +4, and how often its condition was signalled at +8.
  (func $set (param $at i32)
    (call $lock (i32.add (local.get $at) (i32.const 4)))
    (i32.store (local.get $at) (i32.const 1))
    (drop (i32.atomic.rmw.add offset=8 (local.get $at) (i32.const 1)))
    (drop (memory.atomic.notify offset=8 (local.get $at) (i32.const -1)))
    (call $unlock (i32.add (local.get $at) (i32.const 4))))
  (func $await (param $at i32)
    (local $signalled i32)
    (call $lock (i32.add (local.get $at) (i32.const 4)))
    (loop $again
      (if (i32.eqz (i32.load (local.get $at)))
        (then
          (local.set $signalled (i32.atomic.load offset=8 (local.get $at)))
          (call $unlock (i32.add (local.get $at) (i32.const 4)))
          (drop (memory.atomic.wait32 offset=8 (local.get $at)
            (local.get $signalled) (i64.const -1)))
          (call $lock (i32.add (local.get $at) (i32.const 4)))
          (br $again))))
    (call $unlock (i32.add (local.get $at) (i32.const 4))))
  ;; Waits until so many have come.
  (func $barrier (param $at i32) (param $all i32)
    (local $came i32)
    (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
    (drop (memory.atomic.notify (local.get $at) (i32.const -1)))
    (call $until (local.get $at) (local.get $all)))
  (func $until (param $at i32) (param $all i32)
    (local $came i32)
    (loop $again
      (local.set $came (i32.atomic.load (local.get $at)))
      (if (i32.lt_u (local.get $came) (local.get $all))
        (then
          (drop (memory.atomic.wait32 (local.get $at) (local.get $came) (i64.const -1)))
          (br $again)))))
"#;

/// The program as a module.
pub fn text(program: &Program) -> String {
    let mut text = String::new();
    write(program, &mut text).expect("writing to a string cannot fail");
    text
}

fn write(program: &Program, to: &mut String) -> Result<(), Error> {
    let threads = program.threads;
    writeln!(to, "(module")?;
    writeln!(to, "  (import \"env\" \"memory\" (memory 1 1 shared))")?;
    writeln!(
        to,
        "  (import \"wasi\" \"thread-spawn\" (func $spawn (param i32) (result i32)))"
    )?;
    to.push_str(&LOCKS.replace("NEVER", &NEVER.to_string()));
    writeln!(to, "  (func (export \"_start\")")?;
    for thread in 0..threads {
        writeln!(
            to,
            "    (if (i32.lt_s (call $spawn (i32.const {thread})) (i32.const 0)) \
             (then unreachable))"
        )?;
    }
    writeln!(
        to,
        "    (call $until (i32.const {DONE}) (i32.const {threads})))"
    )?;
    writeln!(
        to,
        "  (func (export \"wasi_thread_start\") (param $tid i32) (param $thread i32)"
    )?;
    for thread in 0..threads {
        writeln!(
            to,
            "    (if (i32.eq (local.get $thread) (i32.const {thread})) (then"
        )?;
        for (phase, all) in program.phases.iter().enumerate() {
            for statement in &all[thread] {
                write!(to, "      ")?;
                write_statement(statement, phase, thread, to)?;
                writeln!(to)?;
            }
            let at = barrier(phase);
            writeln!(
                to,
                "      (call $barrier (i32.const {at}) (i32.const {threads}))"
            )?;
        }
        if thread >= threads - program.stuck {
            writeln!(to, "      (call $take (i32.const {NEVER}))")?;
        }
        writeln!(to, "    ))")?;
    }
    writeln!(to, "    (call $post (i32.const {DONE}))))")
}

fn write_statement(
    statement: &Statement,
    phase: usize,
    thread: usize,
    to: &mut String,
) -> Result<(), Error> {
    match statement {
        Statement::AtomicAdd(n) => {
            let at = counter(3);
            write!(
                to,
                "(drop (i32.atomic.rmw.add (i32.const {at}) (i32.const {n})))"
            )
        }
        Statement::Locked {
            mutex: index,
            add,
            work,
            naps,
            within,
        } => {
            write!(to, "(call $lock (i32.const {}))", mutex(*index))?;
            write_add(*index, *add, *work, to)?;
            if *naps {
                to.push_str(" (call $nap)");
            }
            if let Some((inner, n)) = within {
                write!(to, " (call $lock (i32.const {}))", mutex(*inner))?;
                write_add(*inner, *n, *work, to)?;
                write!(to, " (call $unlock (i32.const {}))", mutex(*inner))?;
            }
            write!(to, " (call $unlock (i32.const {}))", mutex(*index))
        }
        Statement::Post(other) => write!(to, "(call $post (i32.const {}))", posts(*other)),
        Statement::Take => write!(to, "(call $take (i32.const {}))", posts(thread)),
        Statement::Set => write!(to, "(call $set (i32.const {}))", flag(phase)),
        Statement::Await => write!(to, "(call $await (i32.const {}))", flag(phase)),
        Statement::Work(turns) => write!(to, "(call $work (i32.const {turns}))"),
        Statement::Yield => write!(to, "(call $yield)"),
    }
}

fn write_add(index: usize, n: u32, work: u32, to: &mut String) -> Result<(), Error> {
    let at = counter(index);
    write!(
        to,
        " (call $add (i32.const {at}) (i32.const {n}) (i32.const {work}))"
    )
}
