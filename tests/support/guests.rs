//! Guests that several files use.

/// 1 + 2 + ... + n
macro_rules! sum_function {
    () => {
        r#"
  (func $sum (export "sum") (param $n i64) (result i64)
    (local $sum i64)
    (loop $again
      (if (i64.eqz (local.get $n)) (then (return (local.get $sum))))
      (local.set $sum (i64.add (local.get $sum) (local.get $n)))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br $again))
    unreachable)
"#
    };
}

macro_rules! stateless_functions {
    () => {
        r#"
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else
        (i32.add
          (call $fib (i32.sub (local.get 0) (i32.const 1)))
          (call $fib (i32.sub (local.get 0) (i32.const 2)))))))

  (func (export "sum_then_trap") (param i64)
    (drop (call $sum (local.get 0)))
    unreachable)

  (func (export "answer") (result i32) (i32.const 42))
  (func (export "nothing"))
  (func (export "trap") unreachable)
  (func $overflow (export "overflow") (call $overflow)))
"#
    };
}

/// Guests without imports.
pub const GUESTS: &str = concat!(
    r#"
(module
  ;; Counts its turns for as long as it is let.
  (global $turns (export "turns") (mut i64) (i64.const 0))
  (func (export "spin")
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again)))
"#,
    sum_function!(),
    stateless_functions!()
);

/// As [`GUESTS`], but that `spin` does not count. Threads may share an instance of it.
pub const STATELESS: &str = concat!(
    r#"
(module
  (func (export "spin") (loop br 0))
"#,
    sum_function!(),
    stateless_functions!()
);

/// Calls the host once.
pub const CALLS_THEN_SPINS: &str = r#"
(module
  (import "" "host" (func $host))
  (func (export "run") (call $host) (loop br 0)))
"#;
