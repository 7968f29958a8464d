//! A preempted thread finds every register as it was, wherever it was stopped.
//!
//! The guests are dense loops over more live values than there are registers, or
//! exactly as many, so that nearly every instruction at which the signal can come
//! has a value in each. One wrong bit in any of them changes the results.

use super::support::*;
use crate::dense_loops::{floats, integers, vectors};
use std::arch::asm;

/// Nearly every second instruction leaves flags that the next one reads: carries,
/// conditional moves, branches, and unordered comparisons, which take two.
const FLAGS: &str = r#"
(module
  (func (export "run") (param $n i64) (result i64 i64 i64 i64 f64)
    (local $a i64) (local $b i64) (local $c i64) (local $d i64) (local $f f64)
    (local.set $a (i64.const 0x123456789abcdef)) (local.set $b (i64.const -3))
    (local.set $c (i64.const 77)) (local.set $d (i64.const -0x7777777777777777))
    (local.set $f (f64.const 0.3))
    (loop $again
      (i64.add128 (local.get $a) (local.get $b) (local.get $c) (local.get $d))
      (local.set $b) (local.set $a)
      (i64.sub128 (local.get $c) (local.get $d) (local.get $b) (local.get $n))
      (local.set $d) (local.set $c)
      (local.set $a (select (local.get $a) (i64.rotl (local.get $c) (i64.const 9))
        (i64.lt_s (local.get $b) (local.get $d))))
      (local.set $c (select (i64.add (local.get $c) (local.get $n)) (local.get $c)
        (i64.gt_u (local.get $a) (local.get $c))))
      (if (i64.lt_u (i64.rotl (local.get $a) (i64.const 21)) (local.get $d))
        (then (local.set $b (i64.add (local.get $b) (i64.const 0x51ed270b))))
        (else (local.set $d (i64.xor (local.get $d) (local.get $a)))))
      (if (f64.eq (f64.reinterpret_i64 (local.get $a)) (f64.reinterpret_i64 (local.get $a)))
        (then (local.set $f (f64.sub (f64.const 1) (f64.mul (local.get $f) (local.get $f)))))
        (else (local.set $d (i64.add (local.get $d) (i64.const 1)))))
      (local.set $a (i64.add (local.get $a) (i64.extend_i32_u
        (f64.lt (local.get $f) (f64.convert_i64_s (local.get $b))))))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $f)))"#;

/// Chaotic, and so dependent on the rounding mode that `$set` has set. It begins when
/// the guest sees that mode: a slice that ends in a host function ends where that
/// returns, without a signal, and then the mode is whatever the next thread has left.
const ROUNDING: &str = r#"
(module
  (import "" "set_rounding" (func $set (param i32)))
  ;; Far less than what a float around 1 can tell apart.
  (global $tiny (mut f64) (f64.const 0x1p-80))
  (func $mode (result i32)
    (if (f64.gt (f64.add (f64.const 1) (global.get $tiny)) (f64.const 1))
      (then (return (i32.const 2))))
    (if (f64.lt (f64.sub (f64.const -1) (global.get $tiny)) (f64.const -1))
      (then (return (i32.const 1))))
    (if (f64.lt (f64.sub (f64.const 1) (global.get $tiny)) (f64.const 1))
      (then (return (i32.const 3))))
    (i32.const 0))
  (func (export "run") (param $n i64) (param $mode i32) (result f64 f32)
    (local $x f64) (local $y f32)
    (loop $until_set
      (call $set (local.get $mode))
      (br_if $until_set (i32.ne (call $mode) (local.get $mode))))
    (local.set $x (f64.const 0.1)) (local.set $y (f32.const 0.1))
    (loop $again
      (local.set $x (f64.add (f64.mul (local.get $x) (f64.const 3.7)) (f64.const 0.1)))
      (local.set $x (f64.sub (local.get $x) (f64.floor (local.get $x))))
      (local.set $y (f32.add (f32.mul (local.get $y) (f32.const 3.7)) (f32.const 0.1)))
      (local.set $y (f32.sub (local.get $y) (f32.floor (local.get $y))))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (call $set (i32.const 0))
    (local.get $x) (local.get $y)))"#;

/// Sets the rounding of floating-point instructions on this OS thread: 0 is to the nearest,
/// as everywhere, 1 down, 2 up, 3 to zero.
#[cfg(target_arch = "x86_64")]
fn set_rounding(mode: i32) {
    let mut mxcsr = 0u32;
    // SAFETY: this reads and writes one register, by way of a local. No host code
    // that runs until mode 0 is back looks at the last bit of a float.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack));
        mxcsr = mxcsr & !(3 << 13) | (mode as u32 & 3) << 13;
        asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack));
    }
}

/// As above.
#[cfg(target_arch = "aarch64")]
fn set_rounding(mode: i32) {
    let mode: u64 = [0, 2, 1, 3][mode as usize & 3];
    let mut fpcr: u64;
    // SAFETY: this reads and writes one register. No host code that runs until mode 0 is back
    // looks at the last bit of a float.
    unsafe {
        asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack));
        fpcr = fpcr & !(3 << 22) | mode << 22;
        asm!("msr fpcr, {}", in(reg) fpcr, options(nomem, nostack));
    }
}

struct Guests {
    store: Store<()>,
    linker: Linker<()>,
    jobs: Vec<Job>,
}

impl Guests {
    fn new() -> Guests {
        let mut config = config();
        config.wasm_wide_arithmetic(true);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "set_rounding", set_rounding).unwrap();
        Guests {
            store: store(&engine, ()),
            linker,
            jobs: Vec::new(),
        }
    }

    /// Several of one kind, with different values at every moment.
    fn add(&mut self, wat: &str, more: &[Val]) {
        let module = Module::new(self.store.engine(), wat).unwrap();
        for turns in [300_001, 200_003] {
            let params = [&[Val::I64(turns)], more].concat();
            let job = Job::new(&mut self.store, &self.linker, &module, "run", &params);
            assert!(
                matches!(job.outcome, Outcome::Returned(_)),
                "{:?}",
                job.outcome
            );
            self.jobs.push(job);
        }
    }

    fn run(&mut self, preemptions: u64) -> u64 {
        run_until(&mut self.store, &self.jobs, preemptions)
    }
}

const A_FEW: u64 = 2_000;

#[test]
fn preempted_thread_keeps_its_general_registers() {
    let mut guests = Guests::new();
    for count in [11, 12, 13] {
        guests.add(&integers(count), &[]);
    }
    guests.run(A_FEW);
}

#[test]
fn preempted_thread_keeps_its_vector_registers() {
    let mut guests = Guests::new();
    for count in [14, 15, 16] {
        guests.add(&vectors(count), &[]);
    }
    guests.run(A_FEW);
}

#[test]
fn preempted_thread_keeps_its_floats() {
    let mut guests = Guests::new();
    guests.add(&floats(14), &[]);
    guests.add(&floats(15), &[]);
    guests.run(A_FEW);
}

#[test]
fn preempted_thread_keeps_what_it_has_spilled() {
    let mut guests = Guests::new();
    guests.add(&integers(24), &[]);
    guests.add(&vectors(24), &[]);
    guests.add(&floats(24), &[]);
    guests.run(A_FEW);
}

#[test]
fn preempted_thread_keeps_its_flags() {
    let mut guests = Guests::new();
    guests.add(FLAGS, &[]);
    guests.run(A_FEW);
}

#[test]
fn preempted_thread_keeps_its_rounding_mode() {
    let mut guests = Guests::new();
    for mode in 0..4 {
        guests.add(ROUNDING, &[Val::I32(mode)]);
    }
    let outcomes = guests.jobs.iter().step_by(2).map(|job| &job.outcome);
    let outcomes: Vec<_> = outcomes.collect();
    assert_ne!(outcomes[0], outcomes[1]);
    assert_ne!(outcomes[1], outcomes[2]);
    guests.run(A_FEW);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn registers_survive_100_000_preemptions_each() {
    let all: [(&str, Vec<String>); 4] = [
        ("general", [11, 12, 13].map(integers).to_vec()),
        ("vector", [14, 15, 16].map(vectors).to_vec()),
        ("float", [14, 15, 24].map(floats).to_vec()),
        ("flags", vec![FLAGS.to_owned(), FLAGS.to_owned()]),
    ];
    for (kind, wats) in all {
        let mut guests = Guests::new();
        for wat in wats {
            guests.add(&wat, &[]);
        }
        let start = Instant::now();
        let preemptions = guests.run(100_000);
        println!(
            "- {kind} registers: {preemptions} preemptions in {:?}",
            start.elapsed()
        );
    }
}
