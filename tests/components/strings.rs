//! A long string that a component passes to another is transcoded in pieces: its guest thread is
//! preempted, charged and ended in between, and what arrives is the string.

use super::guests::{self, Seen, engines};
use crate::support::*;
use std::fmt::Write as _;
use wasmtime::component::{Component, Instance, Linker, Val};
use wasmtime::preempt::*;
use wasmtime::*;

/// An encoding of strings: as in WAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16,
    Compact,
}

const ENCODINGS: [Encoding; 3] = [Encoding::Utf8, Encoding::Utf16, Encoding::Compact];

/// A length that is one of 16 bits.
const IS_UTF16: u32 = 1 << 31;

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf8",
            Encoding::Utf16 => "utf16",
            Encoding::Compact => "latin1+utf16",
        }
    }

    /// The bytes of `text`, and its length as the canonical ABI has it.
    fn encode(self, text: &str) -> (Vec<u8>, u32) {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
        match (self, latin1) {
            (Encoding::Utf8, _) => (text.into(), text.len() as u32),
            (Encoding::Compact, Some(latin1)) => {
                let len = latin1.len() as u32;
                (latin1, len)
            }
            (Encoding::Utf16, _) => (units.collect(), text.encode_utf16().count() as u32),
            (Encoding::Compact, None) => {
                let len = text.encode_utf16().count() as u32;
                (units.collect(), len | IS_UTF16)
            }
        }
    }
}

/// `pass` passes `text` on, from one encoding to the other. It returns a hash of what arrives.
fn passing(engine: &Engine, text: &str, [from, to]: [Encoding; 2]) -> Component {
    let (bytes, len) = from.encode(text);
    let mut data = String::new();
    for byte in &bytes {
        write!(data, "\\{byte:02x}").unwrap();
    }
    let pages = bytes.len().div_ceil(1 << 16) + 1;
    let double = match to {
        Encoding::Utf8 => "",
        Encoding::Utf16 => "(local.set $n (i32.mul (local.get $n) (i32.const 2)))",
        Encoding::Compact => {
            "(if (i32.lt_s (local.get $n) (i32.const 0))
              (then (local.set $n (i32.mul (local.get $n) (i32.const 2)))))"
        }
    };
    let (from, to) = (from.name(), to.name());
    let component = format!(
        r#"(component
          (component $callee
            (core module $m
              (memory (export "memory") 64)
              (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (i32.const 1024))
              (func (export "hash") (param $at i32) (param $n i32) (result i64) (local $hash i64)
                (local.set $hash (i64.extend_i32_u (local.get $n)))
                {double}
                (loop $next
                  (if (local.get $n)
                    (then
                      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                      (local.set $hash (i64.add
                        (i64.mul (local.get $hash) (i64.const 1099511628211))
                        (i64.load8_u (i32.add (local.get $at) (local.get $n)))))
                      (br $next))))
                (local.get $hash)))
            (core instance $i (instantiate $m))
            (func (export "hash") (param "s" string) (result u64)
              (canon lift (core func $i "hash") (memory (core memory $i "memory"))
                (realloc (core func $i "realloc")) string-encoding={to})))
          (component $caller
            (import "hash" (func $hash (param "s" string) (result u64)))
            (core module $libc
              (memory (export "memory") {pages})
              (data (i32.const 16) "{data}"))
            (core instance $libc (instantiate $libc))
            (core func $hash (canon lower (func $hash) (memory (core memory $libc "memory"))
              string-encoding={from}))
            (core module $m
              (import "" "hash" (func $hash (param i32 i32) (result i64)))
              (func (export "pass") (result i64)
                (call $hash (i32.const 16) (i32.const {len}))))
            (core instance $i (instantiate $m (with "" (instance (export "hash" (func $hash))))))
            (func (export "pass") (result u64) (canon lift (core func $i "pass"))))
          (instance $a (instantiate $callee))
          (instance $b (instantiate $caller (with "hash" (func $a "hash"))))
          (export "pass" (func $b "pass")))"#
    );
    Component::new(engine, component).unwrap()
}

fn hash(text: &str, encoding: Encoding) -> u64 {
    let (bytes, len) = encoding.encode(text);
    bytes.iter().rev().fold(u64::from(len), |hash, byte| {
        hash.wrapping_mul(1_099_511_628_211)
            .wrapping_add(u64::from(*byte))
    })
}

fn instance(store: &mut Store<Seen>, component: &Component) -> Instance {
    let linker = Linker::new(store.engine());
    linker.instantiate(store, component).unwrap()
}

/// Strings of several pieces: whose characters are of all lengths, which are cut at the end of a
/// piece, and one that only its end makes wide.
fn texts() -> Vec<String> {
    let ascii = "ascii ".repeat(4_000);
    let latin1 = "\u{e9}t\u{e9}".repeat(6_000);
    let wide = "\u{1f600}\u{20ac}x\u{e9}".repeat(5_000);
    vec![
        String::new(),
        ascii.clone(),
        latin1.clone(),
        format!("x{latin1}"),
        wide.clone(),
        format!("x{wide}"),
        format!("xx{wide}"),
        format!("xxx{wide}"),
        format!("{ascii}\u{20ac}"),
        format!("{latin1}\u{1f600}"),
        format!("{ascii}{latin1}{wide}"),
        "x".repeat(16 << 10),
        format!("{}\u{1f600}", "x".repeat((16 << 10) - 1)),
        format!("{}\u{e9}", "x".repeat((16 << 10) - 1)),
    ]
}

fn each_encoding_arrives_as_each_other(preemption: Preemption) {
    let texts = texts();
    for engine in engines(preemption) {
        for from in ENCODINGS {
            for to in ENCODINGS {
                for text in &texts {
                    let mut store = guests::store(&engine, preemption);
                    let component = passing(&engine, text, [from, to]);
                    let instance = instance(&mut store, &component);
                    let spinner = guests::instance(&mut store);
                    guests::spawn(&mut store, &spinner, "sum", &[Val::U32(u32::MAX)]);
                    let id = guests::spawn(&mut store, &instance, "pass", &[]);
                    run_until(&mut store, |store| finished(store, id.id()));
                    let found = guests::returned(&mut store, &id);
                    let start: String = text.chars().take(9).collect();
                    let expected = Val::U64(hash(text, to));
                    assert_eq!(found, [expected], "{from:?} to {to:?}: {start}");
                }
            }
        }
    }
}

/// Of which a piece is a small part.
fn long() -> String {
    "abcdefgh".repeat(50_000)
}

#[test]
fn one_of_n_units_costs_n_units_of_fuel_and_is_preempted_in_its_midst() {
    for engine in engines(Preemption::Fuel) {
        let mut store = store_with_slice(&engine, Seen::default(), Slice::Fuel(10_000));
        let text = long();
        let component = passing(&engine, &text, [Encoding::Utf8, Encoding::Utf16]);
        let instance = instance(&mut store, &component);
        let spinner = guests::instance(&mut store);
        guests::spawn(&mut store, &spinner, "sum", &[Val::U32(u32::MAX)]);
        let id = guests::spawn(&mut store, &instance, "pass", &[]);
        // Until it has been preempted for the first time.
        run_until(&mut store, |store| stats(store, id.id()).preemptions > 0);
        run_until(&mut store, |store| finished(store, id.id()));
        let stats = stats(&store, id.id());
        guests::returned(&mut store, &id);
        // Of hashing it, each of two bytes costs as much as a turn of a loop.
        let units = text.len() as u64;
        assert!(stats.fuel_consumed > units, "{}", stats.fuel_consumed);
        assert!(stats.preemptions > units / (16 << 10), "{stats:?}");
    }
}

fn one_that_is_killed_in_its_midst_does_not_arrive(preemption: Preemption) {
    let text = "abcdefgh".repeat(250_000);
    for engine in engines(preemption) {
        let component = passing(&engine, &text, [Encoding::Utf8, Encoding::Utf8]);
        for preemptions in [1, 2, 5, 20, 60, 100, 120] {
            let mut store = store_with_slice(&engine, Seen::default(), shortest_slice(preemption));
            let instance = instance(&mut store, &component);
            let spinner = guests::instance(&mut store);
            guests::spawn(&mut store, &spinner, "sum", &[Val::U32(u32::MAX)]);
            let id = guests::spawn(&mut store, &instance, "pass", &[]);
            run_until(&mut store, |store| {
                stats(store, id.id()).preemptions >= preemptions || finished(store, id.id())
            });
            if finished(&store, id.id()) {
                guests::returned(&mut store, &id);
                continue;
            }
            id.kill(&mut store).unwrap();
            run_until(&mut store, |store| finished(store, id.id()));
            let exit = id.take_exit(&mut store);
            assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
        }
    }
}

for_each_preemption!(
    each_encoding_arrives_as_each_other,
    one_that_is_killed_in_its_midst_does_not_arrive,
);
