//! A preempted thread goes on where it was: what it returns is what an
//! uninterrupted call returns, however short its slices are.

use crate::support::*;
use wasmtime::*;

/// Functions from an `i32` that keep much alive across their loops and calls.
const KERNELS: &str = r#"
(module
  (memory (export "memory") 2 4)
  (table 4 4 funcref)
  (elem (i32.const 0) $t0 $t1 $t2 $t3)
  (type $step (func (param i64) (result i64)))
  (global $g (mut i64) (i64.const 1))

  (func $recursion (export "recursion") (param i32) (result i64)
    (if (result i64) (i32.lt_s (local.get 0) (i32.const 2))
      (then (i64.extend_i32_s (local.get 0)))
      (else (i64.add
        (call $recursion (i32.sub (local.get 0) (i32.const 1)))
        (call $recursion (i32.sub (local.get 0) (i32.const 2)))))))

  ;; A chain of n frames, each with something to do on the way back.
  (func $deep (export "deep") (param i32) (result f64)
    (if (result f64) (i32.eqz (local.get 0))
      (then (f64.const 1.5))
      (else (f64.div
        (f64.add (call $deep (i32.sub (local.get 0) (i32.const 1))) (f64.const 0.25))
        (f64.const 1.0625)))))

  (func (export "dot") (param $n i32) (result f64)
    (local $i i32) (local $a f64) (local $b f64)
    (loop $fill
      (f64.store (i32.mul (local.get $i) (i32.const 8))
        (f64.div (f64.const 1) (f64.convert_i32_u (i32.add (local.get $i) (i32.const 3)))))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.set $b (f64.const 1))
    (loop $dot
      (local.set $i (i32.sub (local.get $i) (i32.const 1)))
      (local.set $a (f64.add (local.get $a)
        (f64.mul (local.get $b) (f64.load (i32.mul (local.get $i) (i32.const 8))))))
      (local.set $b (f64.sub (f64.const 0.1) (f64.sqrt (local.get $a))))
      (br_if $dot (local.get $i)))
    (local.get $a))

  (func (export "simd") (param $n i32) (result v128)
    (local $a v128) (local $b v128) (local $c v128)
    (local.set $a (v128.const i32x4 1 2 3 4))
    (local.set $b (v128.const f32x4 0.5 1.25 2.75 4.0))
    (local.set $c (v128.const i64x2 7 0x123456789abcdef))
    (loop $again
      (local.set $a (i32x4.add (i32x4.mul (local.get $a) (v128.const i32x4 3 5 7 9)) (i32x4.splat (local.get $n))))
      (local.set $b (f32x4.add (f32x4.sqrt (local.get $b)) (f32x4.convert_i32x4_u (i32x4.shr_u (local.get $a) (i32.const 20)))))
      (local.set $c (i64x2.sub (i64x2.shl (local.get $c) (i32.const 1)) (v128.and (local.get $a) (local.get $b))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (v128.xor (local.get $a) (v128.xor (local.get $b) (local.get $c))))

  ;; Fills memory with a generator, and hashes it.
  (func (export "hash") (param $n i32) (result i64)
    (local $i i32) (local $x i64) (local $hash i64)
    (local.set $x (i64.const 0x9e3779b97f4a7c15))
    (loop $fill
      (local.set $x (i64.mul (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 29))) (i64.const 0xbf58476d1ce4e5b9)))
      (i64.store8 (local.get $i) (local.get $x))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.set $hash (i64.const 0xcbf29ce484222325))
    (loop $hash
      (local.set $i (i32.sub (local.get $i) (i32.const 1)))
      (local.set $hash (i64.mul (i64.xor (local.get $hash) (i64.load8_u (local.get $i))) (i64.const 0x100000001b3)))
      (br_if $hash (local.get $i)))
    (local.get $hash))

  (func (export "grow") (param $n i32) (result i32)
    (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 3)) (memory.grow (i32.and (local.get $n) (i32.const 1)))))
      (memory.copy (i32.const 100) (i32.const 10) (memory.size))
      (i32.store (i32.const 12) (local.get $sum))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.xor (local.get $sum) (i32.load (i32.const 102))))

  (func $t0 (param i64) (result i64) (i64.rotl (local.get 0) (i64.const 13)))
  (func $t1 (param i64) (result i64) (i64.mul (local.get 0) (i64.const 0x5851f42d4c957f2d)))
  (func $t2 (param i64) (result i64) (i64.add (i64.popcnt (local.get 0)) (i64.const 77)))
  (func $t3 (param i64) (result i64) (i64.rem_u (local.get 0) (i64.const 1000003)))
  (func (export "table") (param $n i32) (result i64)
    (local $x i64)
    (local.set $x (i64.const 99))
    (loop $again
      (local.set $x (i64.add (local.get $x)
        (call_indirect (type $step) (local.get $x) (i32.and (local.get $n) (i32.const 3)))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))

  (func (export "br_table") (param $n i32) (result i32)
    (local $state i32) (local $x i32)
    (loop $again
      (block $after (block $d (block $c (block $b (block $a
        (br_table $a $b $c $d (local.get $state)))
        (local.set $x (i32.add (local.get $x) (i32.const 5))) (local.set $state (i32.const 2)) (br $after))
        (local.set $x (i32.mul (local.get $x) (i32.const 31))) (local.set $state (i32.const 3)) (br $after))
        (local.set $x (i32.xor (local.get $x) (local.get $n))) (local.set $state (i32.and (local.get $x) (i32.const 1))) (br $after))
        (local.set $x (i32.rotr (local.get $x) (i32.const 3))) (local.set $state (i32.const 0)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))

  (func (export "values") (param $n i32) (result i32 i64 f32 f64)
    (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4)
    (loop $again (param i32 i64 f32 f64) (result i32 i64 f32 f64)
      (call $shuffle)
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func $shuffle (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    (i32.add (i32.trunc_sat_f64_s (local.get 3)) (i32.mul (local.get 0) (i32.const 7)))
    (i64.add (i64.extend_i32_s (local.get 0)) (i64.rotl (local.get 1) (i64.const 3)))
    (f32.add (f32.convert_i64_s (local.get 1)) (f32.sqrt (local.get 2)))
    (f64.sub (f64.promote_f32 (local.get 2)) (f64.mul (local.get 3) (f64.const 0.75))))

  (func $even (export "tail_calls") (param i32) (result i64)
    (global.set $g (i64.add (i64.mul (global.get $g) (i64.const 3)) (i64.const 1)))
    (if (i32.eqz (local.get 0)) (then (return (global.get $g))))
    (return_call $odd (i64.const 5) (i32.sub (local.get 0) (i32.const 1))))
  (func $odd (param i64 i32) (result i64)
    (if (i32.eqz (local.get 1)) (then (return (i64.add (local.get 0) (global.get $g)))))
    (return_call $even (i32.sub (local.get 1) (i32.const 1))))

  (func (export "exceptions") (param $n i32) (result i64)
    (local $sum i64) (local $x i64)
    (loop $again
      (block $caught (result i64)
        (try_table (catch $thrown $caught) (call $throws (local.get $n) (i32.const 4)))
        (i64.const 11))
      (local.set $x)
      (local.set $sum (i64.add (local.get $x) (i64.mul (local.get $sum) (i64.const 5))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (tag $thrown (param i64))
  (func $throws (param i32 i32)
    (if (i32.eqz (local.get 1))
      (then
        (if (i32.and (local.get 0) (i32.const 3)) (then return))
        (throw $thrown (i64.extend_i32_u (local.get 0)))))
    (call $throws (local.get 0) (i32.sub (local.get 1) (i32.const 1))))
  LOCALS
)
"#;

/// The kernels, and how much each is to do for slices of fuel and of time.
const SIZES: [(&str, i32, i32); 13] = [
    ("recursion", 14, 24),
    ("deep", 500, 5_000),
    ("dot", 700, 16_000),
    ("simd", 900, 300_000),
    ("hash", 800, 130_000),
    ("grow", 300, 20_000),
    ("table", 600, 300_000),
    ("br_table", 1_000, 500_000),
    ("values", 500, 200_000),
    ("tail_calls", 1_000, 200_000),
    ("exceptions", 300, 3_000),
    ("locals", 400, 30_000),
    ("float_locals", 400, 30_000),
];

fn kernels_for(preemption: Preemption) -> Vec<(&'static str, Val)> {
    SIZES
        .iter()
        .map(|(kernel, fuel, time)| match preemption {
            Preemption::Fuel => (*kernel, Val::I32(*fuel)),
            _ => (*kernel, Val::I32(*time)),
        })
        .collect()
}

/// A loop over 40 locals of a type, each of which is made from two others.
fn many_locals(name: &str, ty: &str, combine: &str) -> String {
    let locals = format!("(local {})", format!("{ty} ").repeat(40));
    let init: String = (0..40)
        .map(|i| format!("(local.set {} ({ty}.const {}))", i + 1, i * i + 1))
        .collect();
    let step: String = (0..40)
        .map(|i| {
            let (a, b) = (1 + (i + 7) % 40, 1 + (i + 19) % 40);
            format!(
                "(local.set {} ({ty}.{combine} (local.get {a}) (local.get {b})))",
                i + 1
            )
        })
        .collect();
    let sum: String = (1..40)
        .map(|i| format!("(local.get {}) {ty}.add ", i + 1))
        .collect();
    format!(
        r#"(func (export "{name}") (param i32) (result {ty}) {locals} {init}
            (loop {step} (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))
            (local.get 1) {sum})"#
    )
}

fn kernels() -> String {
    let locals = many_locals("locals", "i64", "sub") + &many_locals("float_locals", "f64", "min");
    KERNELS.replace("LOCALS", &locals)
}

fn with_exceptions(mut config: Config) -> Engine {
    config.wasm_exceptions(true);
    Engine::new(&config).unwrap()
}

/// What each kernel returns to a plain call of an engine without preemption.
fn expected(preemption: Preemption) -> Vec<Vec<u128>> {
    let engine = with_exceptions(Config::new());
    let module = Module::new(&engine, kernels()).unwrap();
    kernels_for(preemption)
        .into_iter()
        .map(|(kernel, n)| {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let kernel = instance.get_func(&mut store, kernel).unwrap();
            let mut results = vec![Val::I32(0); kernel.ty(&store).results().len()];
            kernel.call(&mut store, &[n], &mut results).unwrap();
            bits(&results)
        })
        .collect()
}

/// Runs all kernels side by side, each twice. Returns how often they were
/// preempted.
fn check(preemption: Preemption, slices: &[Slice]) -> u64 {
    let expected = expected(preemption);
    let engine = with_exceptions(config(preemption));
    let module = Module::new(&engine, kernels()).unwrap();
    let mut preemptions = 0;
    for slice in slices {
        let mut store = store_with_slice(&engine, (), *slice);
        let kernels = kernels_for(preemption);
        let threads: Vec<_> = kernels
            .iter()
            .chain(kernels.iter().rev())
            .map(|(kernel, n)| spawn(&mut store, &module, kernel, &[*n]))
            .collect();
        let expected = expected.iter().chain(expected.iter().rev());
        preemptions += run_all(&mut store).preemptions;
        for (thread, expected) in threads.into_iter().zip(expected) {
            let found = bits(&returned(&mut store, thread));
            assert_eq!(found, *expected, "thread {thread}, slice {slice}");
        }
    }
    preemptions
}

#[test]
fn results_do_not_depend_on_slices_of_fuel() {
    let slices = [1, 2, 3, 5, 17, 100, 1_000].map(Slice::Fuel);
    let preemptions = check(Preemption::Fuel, &slices);
    assert!(preemptions > 50_000, "{preemptions}");
}

for_each_preemption!([epoch, signal] results_do_not_depend_on_slices_of_time);

/// The shortest slice and longer ones.
fn times(preemption: Preemption, more: impl IntoIterator<Item = u64>) -> Vec<Slice> {
    let Slice::Time(shortest) = shortest_slice(preemption) else {
        panic!("{preemption} has no slices of time");
    };
    let more = more.into_iter().map(std::time::Duration::from_nanos);
    std::iter::once(shortest)
        .chain(more.map(|more| shortest + more))
        .map(Slice::Time)
        .collect()
}

fn results_do_not_depend_on_slices_of_time(preemption: Preemption) {
    let slices = times(preemption, [1_000, 10_000]);
    until_preempted(500, || check(preemption, &slices));
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn results_do_not_depend_on_slices_for_long() {
    let slices: Vec<_> = (1..150).map(Slice::Fuel).collect();
    let preemptions = check(Preemption::Fuel, &slices);
    assert!(preemptions > 1_000_000, "{preemptions}");
    for preemption in timed_sources() {
        let slices = times(preemption, (0..14).map(|n| 1 << n));
        until_preempted(50_000, || check(preemption, &slices));
    }
}
