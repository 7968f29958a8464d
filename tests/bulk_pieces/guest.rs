//! A guest that works on long memories, tables and arrays.

use std::fmt::Write as _;

/// Of a memory, in bytes.
pub const BYTES: u32 = 4 << 16;

/// Of a table, array or element segment.
pub const ELEMENTS: u32 = 30_000;

/// An operation on elements from `$dst`, from `$src` and of `$len`, or on some of these.
pub struct Operation {
    pub name: &'static str,
    body: &'static str,
    /// Whether it works on memories only.
    pub on_memories: bool,
}

const fn on_memories(name: &'static str, body: &'static str) -> Operation {
    Operation {
        name,
        body,
        on_memories: true,
    }
}

const fn on_elements(name: &'static str, body: &'static str) -> Operation {
    Operation {
        name,
        body,
        on_memories: false,
    }
}

pub const OPERATIONS: &[Operation] = &[
    on_memories(
        "memory.fill",
        "(memory.fill $m (local.get $dst) (i32.const 7) (local.get $len))",
    ),
    on_memories(
        "memory.copy",
        "(memory.copy $m $m (local.get $dst) (local.get $src) (local.get $len))",
    ),
    on_memories(
        "memory.copy of 64 bits",
        "(memory.copy $wide $wide (i64.extend_i32_u (local.get $dst))
            (i64.extend_i32_u (local.get $src)) (i64.extend_i32_u (local.get $len)))",
    ),
    on_memories(
        "memory.copy between two",
        "(memory.copy $m $wide (local.get $dst) (i64.extend_i32_u (local.get $src))
            (local.get $len))",
    ),
    on_memories(
        "memory.init",
        "(memory.init $m $data (local.get $dst) (local.get $src) (local.get $len))",
    ),
    on_elements(
        "table.fill",
        "(table.fill $functions (local.get $dst) (ref.func $f1) (local.get $len))",
    ),
    on_elements(
        "table.fill of references",
        "(table.fill $anys (local.get $dst) (ref.i31 (i32.const 5)) (local.get $len))",
    ),
    on_elements(
        "table.copy",
        "(table.copy $functions $functions (local.get $dst) (local.get $src) (local.get $len))",
    ),
    on_elements(
        "table.copy of references",
        "(table.copy $anys $anys (local.get $dst) (local.get $src) (local.get $len))",
    ),
    on_elements(
        "table.init",
        "(table.init $functions $elements (local.get $dst) (local.get $src) (local.get $len))",
    ),
    on_elements(
        "table.grow",
        "(drop (table.grow $growing (ref.func $f2) (local.get $len)))",
    ),
    on_elements(
        "array.fill",
        "(array.fill $bytes (global.get $b) (local.get $dst) (i32.const 3) (local.get $len))",
    ),
    on_elements(
        "array.fill of numbers",
        "(array.fill $longs (global.get $l) (local.get $dst) (i64.const 0x123456789)
            (local.get $len))",
    ),
    on_elements(
        "array.fill of references",
        "(array.fill $boxes (global.get $r) (local.get $dst) (struct.new $box (i32.const 77))
            (local.get $len))",
    ),
    on_elements(
        "array.copy",
        "(array.copy $bytes $bytes (global.get $b) (local.get $dst) (global.get $b)
            (local.get $src) (local.get $len))",
    ),
    on_elements(
        "array.copy of numbers",
        "(array.copy $longs $longs (global.get $l) (local.get $dst) (global.get $l)
            (local.get $src) (local.get $len))",
    ),
    on_elements(
        "array.copy of references",
        "(array.copy $boxes $boxes (global.get $r) (local.get $dst) (global.get $r)
            (local.get $src) (local.get $len))",
    ),
    on_elements(
        "array.init_data",
        "(array.init_data $longs $data (global.get $l) (local.get $dst) (local.get $src)
            (local.get $len))",
    ),
    on_elements(
        "array.init_elem",
        "(array.init_elem $functions_array $elements (global.get $f) (local.get $dst)
            (local.get $src) (local.get $len))",
    ),
    on_elements(
        "array.new",
        "(global.set $b (array.new $bytes (i32.const 9) (local.get $len)))",
    ),
    on_elements(
        "array.new of numbers",
        "(global.set $l (array.new $longs (i64.const 0x11223344556677) (local.get $len)))",
    ),
    on_elements(
        "array.new of references",
        "(global.set $r (array.new $boxes (struct.new $box (i32.const 5)) (local.get $len)))",
    ),
    on_elements(
        "array.new_default",
        "(global.set $l (array.new_default $longs (local.get $len)))",
    ),
    on_elements(
        "array.new_data",
        "(global.set $b (array.new_data $bytes $data (local.get $src) (local.get $len)))",
    ),
    on_elements(
        "array.new_elem",
        "(global.set $f (array.new_elem $functions_array $elements (local.get $src)
            (local.get $len)))",
    ),
];

/// Exports each operation, and these:
///
/// - `prepare` fills everything with a pattern.
/// - `sum` depends on all of it.
/// - `collect` makes garbage and collects, without end.
pub fn text() -> String {
    let mut text = String::from(REST);
    for Operation { name, body, .. } in OPERATIONS {
        writeln!(
            text,
            r#"(func (export "{name}") (param $dst i32) (param $src i32) (param $len i32) {body})"#
        )
        .unwrap();
    }
    let data: String = (0..BYTES)
        .map(|i| char::from(b'a' + (i % 23 + i / 70_000) as u8))
        .collect();
    let elements: String = (0..ELEMENTS)
        .map(|i| format!("$f{} ", (i % 5 + i / 9_000) % 4))
        .collect();
    format!(
        r#"(module {text}
            (data $data "{data}")
            (elem $elements func {elements}))"#
    )
}

const REST: &str = r#"
(import "" "gc" (func $gc))
(type $function (func (result i64)))
(type $box (struct (field i32)))
(type $bytes (array (mut i8)))
(type $longs (array (mut i64)))
(type $boxes (array (mut (ref null $box))))
(type $functions_array (array (mut funcref)))

(memory $m 4)
(memory $wide i64 4)
(table $functions 30000 funcref)
(table $anys 30000 anyref)
(table $growing 10 funcref)
(global $b (mut (ref null $bytes)) (ref.null $bytes))
(global $l (mut (ref null $longs)) (ref.null $longs))
(global $r (mut (ref null $boxes)) (ref.null $boxes))
(global $f (mut (ref null $functions_array)) (ref.null $functions_array))

(func $f0 (type $function) (i64.const 10))
(func $f1 (type $function) (i64.const 11))
(func $f2 (type $function) (i64.const 12))
(func $f3 (type $function) (i64.const 13))

(func $pattern (param $i i32) (result i32)
  (i32.add (i32.rem_u (local.get $i) (i32.const 251)) (i32.shr_u (local.get $i) (i32.const 12))))

(func (export "prepare") (local $i i32)
  (loop $next
    (i32.store8 $m (local.get $i) (call $pattern (local.get $i)))
    (i32.store8 $wide (i64.extend_i32_u (local.get $i))
      (call $pattern (i32.add (i32.const 100) (local.get $i))))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (i32.const 262144))))
  (global.set $b (array.new_default $bytes (i32.const 30000)))
  (global.set $l (array.new_default $longs (i32.const 30000)))
  (global.set $r (array.new_default $boxes (i32.const 30000)))
  (global.set $f (array.new_default $functions_array (i32.const 30000)))
  (table.init $functions $elements (i32.const 0) (i32.const 0) (i32.const 30000))
  (local.set $i (i32.const 0))
  (loop $next
    (table.set $anys (local.get $i)
      (select (result anyref)
        (ref.i31 (call $pattern (local.get $i)))
        (struct.new $box (call $pattern (local.get $i)))
        (i32.and (local.get $i) (i32.const 4))))
    (array.set $bytes (global.get $b) (local.get $i) (call $pattern (local.get $i)))
    (array.set $longs (global.get $l) (local.get $i)
      (i64.mul (i64.const 0x100000001) (i64.extend_i32_u (call $pattern (local.get $i)))))
    (array.set $boxes (global.get $r) (local.get $i)
      (struct.new $box (call $pattern (local.get $i))))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (i32.const 30000)))))

(func $of_function (param $f funcref) (result i64)
  (if (ref.is_null (local.get $f)) (then (return (i64.const 1))))
  (call_ref $function (ref.cast (ref $function) (local.get $f))))

(func $of_any (param $any anyref) (result i64)
  (if (ref.is_null (local.get $any)) (then (return (i64.const 2))))
  (if (ref.test (ref i31) (local.get $any))
    (then (return (i64.extend_i32_u (i31.get_u (ref.cast (ref i31) (local.get $any)))))))
  (i64.extend_i32_u (struct.get $box 0 (ref.cast (ref $box) (local.get $any)))))

(func $and (param $sum i64) (param $value i64) (result i64)
  (i64.add (i64.mul (local.get $sum) (i64.const 1099511628211)) (local.get $value)))

(func (export "sum") (result i64) (local $i i32) (local $sum i64)
  (loop $next
    (local.set $sum (call $and (local.get $sum) (i64.load8_u $m (local.get $i))))
    (local.set $sum (call $and (local.get $sum)
      (i64.load8_u $wide (i64.extend_i32_u (local.get $i)))))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (i32.const 262144))))
  (local.set $i (i32.const 0))
  (loop $next
    (local.set $sum (call $and (local.get $sum)
      (call $of_function (table.get $functions (local.get $i)))))
    (local.set $sum (call $and (local.get $sum) (call $of_any (table.get $anys (local.get $i)))))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (i32.const 30000))))
  (local.set $i (i32.const 0))
  (loop $next
    (local.set $sum (call $and (local.get $sum)
      (call $of_function (table.get $growing (local.get $i)))))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (table.size $growing))))
  (local.set $i (array.len (global.get $b)))
  (loop $next
    (if (local.get $i)
      (then
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (local.set $sum (call $and (local.get $sum)
          (i64.extend_i32_u (array.get_u $bytes (global.get $b) (local.get $i)))))
        (br $next))))
  (local.set $i (array.len (global.get $l)))
  (loop $next
    (if (local.get $i)
      (then
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (local.set $sum (call $and (local.get $sum)
          (array.get $longs (global.get $l) (local.get $i))))
        (br $next))))
  (local.set $i (array.len (global.get $r)))
  (loop $next
    (if (local.get $i)
      (then
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (local.set $sum (call $and (local.get $sum)
          (call $of_any (array.get $boxes (global.get $r) (local.get $i)))))
        (br $next))))
  (local.set $i (array.len (global.get $f)))
  (loop $next
    (if (local.get $i)
      (then
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (local.set $sum (call $and (local.get $sum)
          (call $of_function (array.get $functions_array (global.get $f) (local.get $i)))))
        (br $next))))
  (local.get $sum))

(func (export "collect") (local $i i32)
  (loop $again
    (local.set $i (i32.const 50))
    (loop $next
      (drop (array.new $longs (i64.const -1) (i32.const 100)))
      (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (call $gc)
    (br $again)))
"#;
