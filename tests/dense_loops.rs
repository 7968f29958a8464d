//! Guests whose loops keep more values alive than there are registers, or exactly
//! as many, so that nearly every instruction has a value in each of them. One wrong
//! bit in any changes the results.

use std::fmt::Write;

/// A loop over `count` values of type `ty`, all of which are live throughout and
/// are returned: value `i` is made of itself and its successors by `step`.
fn dense_loop(
    ty: &str,
    count: usize,
    start: &str,
    step: fn(usize, &str, &str, &str) -> String,
) -> String {
    let mut wat = format!(
        "(func (export \"run\") (param $n i64) (result{})",
        format!(" {ty}").repeat(count)
    );
    for i in 0..count {
        write!(wat, " (local $x{i} {ty})").unwrap();
    }
    for i in 0..count {
        let start = start.replace('#', &(i * 7919 + 1).to_string());
        write!(wat, "\n(local.set $x{i} {start})").unwrap();
    }
    wat.push_str("\n(loop $again");
    for i in 0..count {
        let x = |k: usize| format!("(local.get $x{})", (i + k) % count);
        write!(wat, "\n(local.set $x{i} {})", step(i, &x(0), &x(1), &x(2))).unwrap();
    }
    wat.push_str(
        "\n(br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))",
    );
    for i in 0..count {
        write!(wat, " (local.get $x{i})").unwrap();
    }
    format!("(module {wat}))")
}

pub fn integers(count: usize) -> String {
    dense_loop("i64", count, "(i64.const #)", |i, x, y, _| {
        let rotated = format!("(i64.rotl {x} (i64.const {}))", i * 5 % 63 + 1);
        match i % 3 {
            0 => format!("(i64.add {rotated} {y})"),
            1 => format!("(i64.xor {rotated} {y})"),
            _ => format!("(i64.sub {rotated} {y})"),
        }
    })
}

pub fn vectors(count: usize) -> String {
    let start = "(i64x2.splat (i64.mul (i64.const #) (i64.const 0x9e3779b97f4a7c15)))";
    dense_loop("v128", count, start, |i, x, y, z| match i % 4 {
        0 => format!("(i64x2.add (v128.xor {x} {y}) {z})"),
        1 => format!("(i32x4.sub (i16x8.add {x} {y}) {z})"),
        2 => format!("(v128.xor (i64x2.shl {x} (i32.const 7)) (i64x2.add {y} {z}))"),
        _ => format!(
            "(i8x16.swizzle (i64x2.sub {x} {y}) (v128.and {z} (v128.const i32x4 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f)))"
        ),
    })
}

/// Chaotic, so that a difference in the last bit of one grows.
pub fn floats(count: usize) -> String {
    dense_loop(
        "f64",
        count,
        "(f64.div (f64.const 1) (f64.const #))",
        |_, x, y, _| {
            let sum = format!("(f64.add (f64.mul {x} (f64.const 3.7)) {y})");
            format!("(f64.sub {sum} (f64.floor {sum}))")
        },
    )
}
