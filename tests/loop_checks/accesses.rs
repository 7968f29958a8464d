//! What a turn of a loop does with the stack on aarch64, where the setting is off by default.

use super::{PAPER, checks};
use object::{Object, ObjectSection, ObjectSymbol};
use wasmtime::*;

/// A turn of a function's innermost loop.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    instructions: usize,
    /// How many of them load from the function's frame, or store there.
    of_stack: usize,
}

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

fn is_of_stack(word: u32) -> bool {
    let loads_or_stores = word & 0x0a00_0000 == 0x0800_0000;
    let literal = word & 0x3b00_0000 == 0x1800_0000;
    loads_or_stores && !literal && matches!(word >> 5 & 0x1f, 29 | 31)
}

/// The shortest loop: it contains no other one. Jumps back from the cold code at the function's end
/// are to the middle of a loop, and pass a return.
fn innermost_turn(code: &[u32]) -> Turn {
    const RET: u32 = 0xd65f_03c0;
    let loops = code.iter().enumerate().filter_map(|(end, word)| {
        let start = end.checked_add_signed(distance(*word)?)?;
        let body = code.get(start..=end)?;
        (!body.contains(&RET)).then_some(body)
    });
    let body = loops.min_by_key(|body| body.len()).unwrap();
    Turn {
        instructions: body.len(),
        of_stack: body.iter().filter(|word| is_of_stack(**word)).count(),
    }
}

#[test]
fn a_turn_of_the_papers_loops_does_not_touch_the_stack() {
    for (workload, wat) in PAPER {
        if workload == "fib" {
            continue;
        }
        for (name, fuel, epoch) in [
            ("none", false, false),
            ("fuel", true, false),
            ("epoch", false, true),
            ("both", true, true),
        ] {
            let [stock, ours] = [false, true].map(|preserve| {
                let mut config = checks(fuel, epoch);
                config.loop_checks_preserve_registers(preserve);
                innermost_turn(&code(&mut config, wat, workload))
            });
            println!("- {workload}, checks: {name}: stock {stock:?}, preserving {ours:?}");
            assert_eq!(ours.of_stack, 0, "{workload}, {name}");
        }
    }
}
