//! Guests for every kind of instruction that a thread may be preempted at.

use std::fmt::Write;

/// A guest function to step through: `$name` of [`guests`].
pub struct Case {
    pub name: &'static str,
    pub params: &'static str,
    pub results: &'static str,
    /// How many instructions are looked at, if not all.
    pub limit: u64,
}

const fn case(name: &'static str, params: &'static str, results: &'static str) -> Case {
    Case {
        name,
        params,
        results,
        limit: u64::MAX,
    }
}

pub const CASES: &[Case] = &[
    case("leaf", "(i32.const 7) (i32.const 5)", "i32"),
    case("no_frame_to_speak_of", "", ""),
    case("many_arguments", "(i64.const 3)", "i64"),
    case("many_results", "(i64.const 3)", "i64 i64 f64"),
    case("recursion", "(i32.const 4)", "i32"),
    case("tail_call", "(i32.const 7) (i32.const 5)", "i32"),
    case("tail_call_with_more_arguments", "(i64.const 3)", "i64"),
    case("tail_call_with_fewer_arguments", "(i64.const 3)", "i64"),
    case(
        "tail_call_through_table",
        "(i32.const 7) (i32.const 5)",
        "i32",
    ),
    case("tail_recursion", "(i32.const 5)", "i32"),
    case("tail_call_of_itself", "(i32.const 3)", "i32"),
    case("call_through_table", "(i32.const 9)", "i32"),
    case("branch_table", "(i32.const 3)", "i32"),
    case("loop", "(i32.const 4)", "i64"),
    case("spills", "(i64.const 11)", "i64"),
    case("values_across_calls", "(i64.const 11)", "i64 f64"),
    case("vectors", "(i64.const 11)", "v128"),
    case("floats", "(f64.const 2.5)", "f64 i64"),
    case("flags", "(i64.const -5) (i64.const 3)", "i64 i32"),
    case("atomics", "(i32.const 64)", "i32"),
    case("globals", "(i32.const 5)", "i32"),
    case("grow_memory", "(i32.const 1)", "i32 i32"),
    case("copy_and_fill", "(i32.const 32)", "i32"),
    case("table_operations", "(i32.const 1)", "i32"),
    case("host_calls", "(i32.const 3)", "i32"),
    case("trap_unreachable", "(i32.const 3)", "i32"),
    case("trap_out_of_bounds", "(i32.const -100)", "i32"),
    case("trap_division_by_zero", "(i32.const 3)", "i32"),
    case("trap_conversion", "(f64.const 1e30)", "i32"),
    case("trap_null_function", "(i32.const 3)", "i32"),
    case("trap_wrong_signature", "(i32.const 3)", "i32"),
    case("trap_of_host", "(i32.const 3)", "i32"),
    Case {
        limit: 60,
        ..case("big_frame", "(i64.const 3)", "i64")
    },
    Case {
        limit: 60,
        ..case("huge_frame", "(i64.const 3)", "i64")
    },
];

/// `count` vectors that are live across a call.
fn frame_of(count: usize) -> String {
    let locals: String = (0..count).map(|i| format!("(local $v{i} v128) ")).collect();
    let mut body = String::new();
    for i in 0..count {
        write!(
            body,
            "(local.set $v{i} (i64x2.splat (i64.add (local.get $x) (i64.const {i})))) "
        )
        .unwrap();
    }
    body.push_str("(local.set $x (call $identity (local.get $x))) ");
    for i in 0..count {
        write!(
            body,
            "(local.set $x (i64.add (local.get $x) (i64x2.extract_lane 1 (local.get $v{i})))) "
        )
        .unwrap();
    }
    format!("(param $x i64) (result i64) {locals} {body} (local.get $x)")
}

pub fn guests() -> String {
    let many = "i64 i64 i64 i64 i64 i64 f64 i64 i64 i64 i64 i64 i64 i64";
    let many_args: String = many
        .split(' ')
        .enumerate()
        .map(|(i, ty)| match ty {
            "f64" => "(f64.convert_i64_s (local.get $x)) ".to_owned(),
            _ => format!("(i64.add (local.get $x) (i64.const {i})) "),
        })
        .collect();
    let sum_of_many: String = (0..14)
        .map(|i| match i {
            6 => "(i64.trunc_f64_s (local.get 6)) i64.add ".to_owned(),
            _ => format!("(local.get {i}) (i64.const {}) i64.mul i64.add ", i + 1),
        })
        .collect();
    let many_results = "i64 f64 i64 i64 f64 v128 i64 i64 i64 f64 i64 i64";
    let result_locals: String = many_results
        .split(' ')
        .enumerate()
        .map(|(i, ty)| format!("(local $r{i} {ty}) "))
        .collect();
    let set_results: String = (0..12)
        .rev()
        .map(|i| format!("(local.set $r{i}) "))
        .collect();
    let big = frame_of(600);
    let huge = frame_of(2_000);
    let mut wat = format!(
        r#"(module
  (import "" "start" (func $start))
  (import "" "stop" (func $stop))
  (import "" "add_one" (func $add_one (param i32) (result i32)))
  (import "" "fail" (func $fail (param i32) (result i32)))
  (import "" "leave" (func $leave))
  (memory 1 3)
  (global $g (mut i32) (i32.const 40))
  (table $t 6 6 funcref)
  (elem (table $t) (i32.const 0) func $double $leaf $square)
  (elem declare func $square $double)
  (type $unary (func (param i32) (result i32)))
  (type $binary (func (param i32 i32) (result i32)))

  (func $leaf (param i32 i32) (result i32)
    (i32.add (i32.mul (local.get 0) (i32.const 3)) (local.get 1)))
  (func $double (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))
  (func $square (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))
  (func $identity (param i64) (result i64) (local.get 0))
  (func $no_frame_to_speak_of)

  (func $sum_of_many (param {many}) (result i64) (i64.const 0) {sum_of_many})
  (func $many_arguments (param $x i64) (result i64)
    (i64.sub (call $sum_of_many {many_args}) (local.get $x)))
  (func $give_many (param $x i64) (result {many_results})
    (local.get $x) (f64.const 1.5) (i64.const 2) (i64.const 3) (f64.const 4.5)
    (i64x2.splat (local.get $x)) (i64.const 6) (i64.const 7) (local.get $x) (f64.const 9.5)
    (i64.const 10) (i64.const 11))
  (func $many_results (param $x i64) (result i64 i64 f64)
    {result_locals}
    (call $give_many (local.get $x)) {set_results}
    (i64.add (local.get $r0) (i64.mul (local.get $r3) (local.get $r11)))
    (i64.sub (i64x2.extract_lane 1 (local.get $r5)) (i64.mul (local.get $r8) (local.get $r10)))
    (f64.sub (f64.mul (local.get $r1) (local.get $r4)) (local.get $r9)))

  (func $recursion (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add (call $recursion (i32.sub (local.get 0) (i32.const 1)))
                     (call $recursion (i32.sub (local.get 0) (i32.const 2)))))))

  (func $tail_call (param i32 i32) (result i32)
    (return_call $leaf (local.get 1) (local.get 0)))
  (func $tail_call_with_more_arguments (param $x i64) (result i64)
    (return_call $sum_of_many {many_args}))
  (func $fewer (param {many}) (result i64)
    (return_call $identity (i64.add (local.get 13) (local.get 2))))
  (func $tail_call_with_fewer_arguments (param $x i64) (result i64)
    (i64.add (call $fewer {many_args}) (local.get $x)))
  (func $tail_call_through_table (param i32 i32) (result i32)
    (return_call_indirect $t (type $binary) (local.get 1) (local.get 0) (i32.const 1)))
  (func $tail_recursion (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 77))))
    (return_call $tail_recursion_back (i32.sub (local.get 0) (i32.const 1)) (i64.const 5)))
  (func $tail_recursion_back (param i32 i64) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.wrap_i64 (local.get 1)))))
    (return_call $tail_recursion (i32.sub (local.get 0) (i32.const 1))))
  (func $tail_call_of_itself (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 78))))
    (return_call $tail_call_of_itself (i32.sub (local.get 0) (i32.const 1))))
  (func $call_through_table (param i32) (result i32)
    (call_indirect $t (type $unary)
      (call_indirect $t (type $unary) (local.get 0) (i32.const 0)) (i32.const 2)))

  (func $branch_table (param i32) (result i32)
    (block $d (block $c (block $b (block $a
      (br_table $a $b $c $d (local.get 0)))
      (return (i32.const 10))) (return (i32.const 20))) (return (i32.const 30)))
    (i32.const 40))
  (func $loop (param $n i32) (result i64) (local $x i64)
    (loop $again
      (i64.store (i32.mul (local.get $n) (i32.const 8))
        (i64.add (local.get $x) (i64.extend_i32_u (local.get $n))))
      (local.set $x (i64.rotl (i64.load (i32.mul (local.get $n) (i32.const 8))) (i64.const 3)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $spills {spills})
  (func $values_across_calls (param $x i64) (result i64 f64)
    (local $a i64) (local $b i64) (local $c i64) (local $d i64) (local $f f64)
    (local.set $a (i64.mul (local.get $x) (i64.const 3)))
    (local.set $b (i64.mul (local.get $x) (i64.const 5)))
    (local.set $c (i64.mul (local.get $x) (i64.const 7)))
    (local.set $f (f64.convert_i64_s (local.get $x)))
    (local.set $d (call $identity (local.get $a)))
    (local.set $a (call $identity (i64.add (local.get $d) (local.get $b))))
    (i64.sub (i64.add (local.get $a) (local.get $b)) (i64.mul (local.get $c) (local.get $d)))
    (f64.mul (local.get $f) (f64.const 0.5)))

  (func $vectors (param $x i64) (result v128) (local $v v128) (local $w v128)
    (local.set $v (i64x2.splat (local.get $x)))
    (local.set $w (i32x4.add (local.get $v) (v128.const i32x4 1 2 3 4)))
    (v128.store (i32.const 32) (i16x8.mul (local.get $v) (local.get $w)))
    (i8x16.swizzle
      (f32x4.add (f32x4.convert_i32x4_s (v128.load (i32.const 32))) (f32x4.splat (f32.const 0.5)))
      (v128.bitselect (local.get $w) (local.get $v)
        (i8x16.gt_s (local.get $w) (i8x16.splat (i32.const 2))))))
  (func $floats (param $x f64) (result f64 i64)
    (f64.copysign (f64.sqrt (f64.min (local.get $x) (f64.const 3))) (f64.neg (local.get $x)))
    (i64.add (i64.trunc_sat_f64_u (local.get $x))
      (i64.extend_i32_u (f64.le (local.get $x) (f64.nearest (local.get $x))))))
  (func $flags (param $a i64) (param $b i64) (result i64 i32)
    (select (i64.div_s (local.get $a) (local.get $b)) (i64.rem_u (local.get $a) (local.get $b))
      (i64.lt_s (local.get $a) (local.get $b)))
    (i32.add (i64.gt_u (local.get $a) (local.get $b)) (i32.wrap_i64 (i64.popcnt (local.get $a)))))
  (func $atomics (param i32) (result i32)
    (drop (i32.atomic.rmw.add (local.get 0) (i32.const 5)))
    (drop (i32.atomic.rmw.xor (local.get 0) (i32.const 9)))
    (drop (i32.atomic.rmw.cmpxchg (local.get 0) (i32.const 12) (i32.const 33)))
    (atomic.fence)
    (i32.atomic.load (local.get 0)))
  (func $globals (param i32) (result i32)
    (global.set $g (i32.add (global.get $g) (local.get 0)))
    (global.get $g))

  (func $grow_memory (param i32) (result i32 i32)
    (memory.grow (local.get 0))
    (i32.store (i32.const 65536) (i32.const 9))
    (i32.add (memory.size) (i32.load (i32.const 65536))))
  (func $copy_and_fill (param i32) (result i32)
    (memory.fill (i32.const 100) (i32.const 7) (local.get 0))
    (memory.copy (i32.const 110) (i32.const 100) (local.get 0))
    (i32.load (i32.const 130)))
  (func $table_operations (param i32) (result i32)
    (table.fill $t (i32.const 3) (ref.func $double) (i32.const 2))
    (table.set $t (i32.const 3) (ref.func $square))
    (table.set $t (i32.const 5) (table.get $t (i32.const 4)))
    (table.copy $t $t (i32.const 0) (i32.const 3) (i32.const 2))
    (i32.add (ref.is_null (table.get $t (local.get 0)))
      (call_indirect $t (type $unary) (i32.const 21) (i32.const 5))))
  (func $host_calls (param i32) (result i32)
    (call $add_one (call $add_one (i32.mul (local.get 0) (i32.const 2)))))

  (func $unreachable (param i32) (result i32)
    (if (i32.ne (local.get 0) (i32.const 9)) (then unreachable))
    (local.get 0))
  (func $trap_unreachable (param i32) (result i32) (call $unreachable (local.get 0)))
  (func $trap_out_of_bounds (param i32) (result i32)
    (i32.add (i32.const 1) (i32.load (i32.sub (local.get 0) (i32.const 1)))))
  (func $trap_division_by_zero (param i32) (result i32)
    (i32.div_s (local.get 0) (i32.sub (local.get 0) (i32.const 3))))
  (func $trap_conversion (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
  (func $trap_null_function (param i32) (result i32)
    (call_indirect $t (type $unary) (i32.const 3) (i32.add (local.get 0) (i32.const 2))))
  (func $trap_wrong_signature (param i32) (result i32)
    (call_indirect $t (type $unary) (i32.const 3) (i32.sub (local.get 0) (i32.const 2))))
  (func $trap_of_host (param i32) (result i32) (i32.add (i32.const 1) (call $fail (local.get 0))))
  (func $big_frame {big})
  (func $huge_frame {huge})

  ;; What runs while the others are suspended: leaves nothing in any register.
  (func $trample (export "trample") (param $x i64) (result i64)
    (call $many_results (call $spills (local.get $x))) (drop)
    (i64.add) (call $vectors) (i64x2.extract_lane 0))
  (func (export "leave") (call $leave))
"#,
        spills = frame_of(40),
    );
    for case in CASES {
        let Case {
            name,
            params,
            results,
            ..
        } = case;
        writeln!(
            wat,
            "(func $run_{name} (export \"{name}\") (result {results}) \
             (call $start) (call ${name} {params}) (call $stop))"
        )
        .unwrap();
    }
    wat + ")"
}
