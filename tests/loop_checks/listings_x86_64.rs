//! The code of loops on x86-64, as it is and as it should be.

use super::golden::assert_golden;
use super::{PAPER, checks};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind, Register,
};
use object::{Object, ObjectSection, ObjectSymbol};
use std::fmt::Write;
use wasmtime::*;

/// Instructions are the same whatever the host's processor can do.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The instructions of a function.
fn disassemble(config: &mut Config, wat: &str, function: &str) -> Vec<Instruction> {
    let engine = Engine::new(config.target(TARGET).unwrap()).unwrap();
    let elf = engine.precompile_module(wat.as_bytes()).unwrap();
    let elf = object::File::parse(&elf[..]).unwrap();
    let text = elf.section_by_name(".text").unwrap();
    let symbol = elf
        .symbols()
        .find(|s| {
            s.name()
                .is_ok_and(|name| name.ends_with(&format!("::{function}")))
        })
        .unwrap();
    let start = usize::try_from(symbol.address()).unwrap();
    let end = start + usize::try_from(symbol.size()).unwrap();
    let code = &text.data().unwrap()[start..end];
    Decoder::with_ip(64, code, symbol.address(), DecoderOptions::NONE)
        .into_iter()
        .take_while(|instruction| !instruction.is_invalid())
        .collect()
}

fn jumps(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

/// The shortest loop: it contains no other one.
fn innermost_loop(code: &[Instruction]) -> &[Instruction] {
    let at = |ip| code.iter().position(|i| i.ip() == ip);
    let loops = code.iter().enumerate().filter_map(|(end, i)| {
        let start = at(i.near_branch_target()).filter(|start| jumps(i) && *start <= end)?;
        // Jumps back from the cold code at the function's end are to the middle of a
        // loop, and pass a return.
        let body = &code[start..=end];
        let returns = |i: &Instruction| i.flow_control() == FlowControl::Return;
        (!body.iter().any(returns)).then_some(body)
    });
    loops.min_by_key(|body| body.len()).unwrap()
}

/// Where its stack frame is: what does not stay in a register is there.
fn touches_stack(instruction: &Instruction) -> bool {
    let memory = (0..instruction.op_count()).any(|i| instruction.op_kind(i) == OpKind::Memory);
    memory && matches!(instruction.memory_base(), Register::RSP | Register::RBP)
        || matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        )
}

/// As text, without addresses.
fn listing(code: &[Instruction]) -> String {
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    for instruction in code {
        let target = instruction.near_branch_target();
        let mut line = String::new();
        if jumps(instruction) {
            let to = match code.iter().position(|i| i.ip() == target) {
                Some(to) => format!("line {}", to + 1),
                None => "elsewhere".to_string(),
            };
            write!(line, "{:?} {to}", instruction.mnemonic()).unwrap();
        } else if instruction.flow_control() == FlowControl::Call {
            line.push_str("call");
        } else if instruction.is_ip_rel_memory_operand() {
            write!(line, "{:?} (constant)", instruction.mnemonic()).unwrap();
        } else {
            formatter.format(instruction, &mut line);
        }
        writeln!(text, "{}", line.to_lowercase()).unwrap();
    }
    text
}

fn assert_loops_are_lean(name: &str, config: fn() -> Config) {
    for (workload, wat) in PAPER {
        if workload == "fib" {
            let code = disassemble(&mut config(), wat, "fib");
            assert_golden(&format!("fib-{name}"), &listing(&code));
            continue;
        }
        let code = disassemble(&mut config(), wat, workload);
        let body = innermost_loop(&code);
        let text = listing(body);
        assert!(!body.iter().any(touches_stack), "{workload}:\n{text}");
        assert_golden(&format!("{workload}-{name}"), &text);

        // The test can fail: it does for what upstream compiles.
        let code = disassemble(
            config().loop_checks_preserve_registers(false),
            wat,
            workload,
        );
        let body = innermost_loop(&code);
        assert!(body.iter().any(touches_stack), "{}", listing(body));
    }
}

#[test]
fn the_papers_loops_keep_their_values_in_registers_beside_fuel() {
    assert_loops_are_lean("fuel", || checks(true, false));
}

#[test]
fn the_papers_loops_keep_their_values_in_registers_beside_epochs() {
    assert_loops_are_lean("epoch", || checks(false, true));
}

#[test]
fn the_papers_loops_keep_their_values_in_registers_beside_both() {
    assert_loops_are_lean("both", || checks(true, true));
}

/// Has a reference that the collector looks for, and a loop.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const HOLDS_A_REFERENCE: &str = r#"(module
    (func $count (param $object anyref) (param $n i32) (result anyref)
        (loop $again
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $object)))"#;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn a_function_that_holds_a_reference_polls_at_its_entry_and_in_its_loop() {
    let mut config = Config::new();
    config.preemption(Preemption::Signal);
    let code = disassemble(&mut config, HOLDS_A_REFERENCE, "count");
    assert_golden("poll-signal", &listing(&code));
    let calls = |code: &[Instruction]| {
        let calls = code.iter().map(Instruction::flow_control);
        calls.filter(|flow| *flow == FlowControl::Call).count()
    };
    assert_eq!(calls(&code), 2);

    let without = HOLDS_A_REFERENCE.replace("anyref", "i64");
    let code = disassemble(&mut config, &without, "count");
    assert_eq!(calls(&code), 0, "{}", listing(&code));
}
