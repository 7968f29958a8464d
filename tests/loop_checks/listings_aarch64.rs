//! The code of loops on aarch64, where the setting is off by default: as upstream compiles it, and
//! preserving registers.

use super::golden::assert_golden;
use super::{PAPER, checks};
use object::{Object, ObjectSection, ObjectSymbol};
use std::fmt::Write;
use wasmtime::*;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

/// The instructions of a function.
fn code(config: &mut Config, wat: &str, function: &str) -> Vec<u32> {
    let engine = Engine::new(config).unwrap();
    let elf = engine.precompile_module(wat.as_bytes()).unwrap();
    let elf = object::File::parse(&elf[..]).unwrap();
    let text = elf.section_by_name(".text").unwrap();
    let name = format!("::{function}");
    let symbol = elf
        .symbols()
        .find(|s| s.name().is_ok_and(|symbol| symbol.ends_with(&name)));
    let symbol = symbol.unwrap();
    let start = usize::try_from(symbol.address()).unwrap();
    let end = start + usize::try_from(symbol.size()).unwrap();
    let words = text.data().unwrap()[start..end].chunks_exact(4);
    words
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

/// How many instructions further a jump leads.
fn distance(word: u32) -> Option<isize> {
    let field = |from: u32, bits: u32| {
        let distance = (word << (32 - bits - from)).cast_signed() >> (32 - bits);
        Some(distance as isize)
    };
    match word {
        _ if word & 0xfc00_0000 == 0x1400_0000 => field(0, 26),
        _ if word & 0xff00_0010 == 0x5400_0000 => field(5, 19),
        _ if word & 0x7e00_0000 == 0x3400_0000 => field(5, 19),
        _ if word & 0x7e00_0000 == 0x3600_0000 => field(5, 14),
        _ => None,
    }
}

/// Whether it loads from the function's frame, or stores there.
fn is_of_stack(word: u32) -> bool {
    let loads_or_stores = word & 0x0a00_0000 == 0x0800_0000;
    let literal = word & 0x3b00_0000 == 0x1800_0000;
    loads_or_stores && !literal && matches!(word >> 5 & 0x1f, 29 | 31)
}

/// The shortest loop: it contains no other one. Jumps back from the cold code at the function's end
/// are to the middle of a loop, and pass a return.
fn innermost_loop(code: &[u32]) -> &[u32] {
    const RET: u32 = 0xd65f_03c0;
    let loops = code.iter().enumerate().filter_map(|(end, word)| {
        let start = end.checked_add_signed(distance(*word)?)?;
        let body = code.get(start..=end)?;
        (!body.contains(&RET)).then_some(body)
    });
    loops.min_by_key(|body| body.len()).unwrap()
}

/// As text, without addresses.
fn listing(code: &[u32]) -> String {
    let decoder = InstDecoder::default();
    let mut text = String::new();
    for (at, word) in code.iter().enumerate() {
        let instruction = decoder.decode(&mut U8Reader::new(&word.to_le_bytes()));
        let instruction = instruction.unwrap().to_string();
        let calls = word & 0xfc00_0000 == 0x9400_0000;
        let line = match distance(*word).map(|distance| at.checked_add_signed(distance)) {
            None if calls => "bl".to_string(),
            None => instruction,
            Some(target) => {
                // What is before the target, which is last.
                let what = instruction.split('$').next().unwrap_or_default().trim_end();
                match target.filter(|target| *target < code.len()) {
                    Some(line) => format!("{what} line {}", line + 1),
                    None => format!("{what} elsewhere"),
                }
            }
        };
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn assert_loops_are_lean(name: &str, fuel: bool, epoch: bool) {
    for (workload, wat) in PAPER {
        if workload == "fib" {
            continue;
        }
        let mut text = String::new();
        for (preserve, title) in [(false, "as upstream"), (true, "preserving registers")] {
            let mut config = checks(fuel, epoch);
            config.loop_checks_preserve_registers(preserve);
            let code = code(&mut config, wat, workload);
            let body = innermost_loop(&code);
            let of_stack = body.iter().filter(|word| is_of_stack(**word)).count();
            // The test can fail: it does for what upstream compiles.
            assert_eq!(of_stack == 0, preserve, "{workload}:\n{}", listing(body));
            let count = body.len();
            writeln!(
                text,
                "# {title}: {count} instructions, {of_stack} of the stack"
            )
            .unwrap();
            text.push_str(&listing(body));
        }
        assert_golden(&format!("aarch64-{workload}-{name}"), &text);
    }
}

#[test]
fn the_papers_loops_keep_their_values_in_registers_beside_fuel() {
    assert_loops_are_lean("fuel", true, false);
}

#[test]
fn the_papers_loops_keep_their_values_in_registers_beside_epochs() {
    assert_loops_are_lean("epoch", false, true);
}

#[test]
fn the_papers_loops_keep_their_values_in_registers_beside_both() {
    assert_loops_are_lean("both", true, true);
}

#[test]
fn the_papers_loops_without_checks_keep_their_values_in_registers() {
    for (workload, wat) in PAPER {
        if workload == "fib" {
            continue;
        }
        let code = code(&mut checks(false, false), wat, workload);
        let body = innermost_loop(&code);
        println!("- {workload}: {} instructions", body.len());
        let of_stack = body.iter().filter(|word| is_of_stack(**word)).count();
        assert_eq!(of_stack, 0, "{workload}:\n{}", listing(body));
    }
}
