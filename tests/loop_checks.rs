//! The checks of fuel and of epochs in loops leave what the loops compute in
//! registers, and change nothing else.

use crate::dense_loops::{floats, integers, vectors};
use crate::support::*;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind, Register,
};
use object::{Object, ObjectSection, ObjectSymbol};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use wasmtime::preempt::*;
use wasmtime::*;

/// Instructions are the same whatever the host's processor can do.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The paper's workloads, by what their functions are called.
const PAPER: [(&str, &str); 3] = [
    ("fib", include_str!("../fixtures/paper/fib.wat")),
    ("dot", include_str!("../fixtures/paper/dot.wat")),
    ("multiply", include_str!("../fixtures/paper/matmul.wat")),
];

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

/// Compares with the file `golden/NAME.txt`, which `BLESS=1` in the environment
/// writes anew.
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{}: BLESS=1 accepts it", path.display());
}

fn checks(fuel: bool, epoch: bool) -> Config {
    let mut config = Config::new();
    config.consume_fuel(fuel).epoch_interruption(epoch);
    config
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

/// Calls `run` as a guest thread in slices that end at nearly every check, beside
/// one that spins. Returns its results, the fuel it used and how often it was
/// preempted.
fn run(config: &mut Config, preemption: Preemption, wat: &str, turns: i64) -> (String, u64, u64) {
    let engine = Engine::new(config.preemption(preemption)).unwrap();
    let module = Module::new(&engine, wat).unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let sibling = Module::new(&engine, GUESTS).unwrap();
    spawn(&mut store, &sibling, "spin", &[]);
    let id = spawn(&mut store, &module, "run", &[Val::I64(turns)]);
    while id.info(&store).unwrap().state != ThreadState::Finished {
        store.run_wasm_threads_for(ms(10)).unwrap();
    }
    let stats = stats(&store, id);
    let results = format!("{:?}", returned(&mut store, id));
    (results, stats.fuel_consumed, stats.preemptions)
}

fn dense_guests() -> impl Iterator<Item = String> {
    let counts = [3, 13, 14, 15, 24];
    let guests = [integers, vectors, floats];
    counts
        .into_iter()
        .flat_map(move |n| guests.map(|guest| guest(n)))
}

/// Calls `run` without any checks.
fn call(wat: &str, turns: i64) -> String {
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let func = instance.get_func(&mut store, "run").unwrap();
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    func.call(&mut store, &[Val::I64(turns)], &mut results)
        .unwrap();
    format!("{results:?}")
}

#[test]
fn every_register_is_as_it_was_after_a_check_that_calls_the_host() {
    for wat in dense_guests() {
        let (found, _, preemptions) = run(&mut Config::new(), Preemption::Fuel, &wat, 3_000);
        assert_eq!(found, call(&wat, 3_000), "{wat}");
        assert!(preemptions >= 2_999, "{preemptions}");
    }
}

#[test]
fn every_register_is_as_it_was_after_an_epoch() {
    until_preempted(100, || {
        let preemptions = dense_guests().map(|wat| {
            let (found, _, preempted) = run(&mut Config::new(), Preemption::Epoch, &wat, 2_000_000);
            assert_eq!(found, call(&wat, 2_000_000), "{wat}");
            preempted
        });
        preemptions.sum()
    });
}

#[test]
fn fuel_and_schedules_do_not_depend_on_how_checks_call() {
    for wat in dense_guests() {
        let ours = run(&mut Config::new(), Preemption::Fuel, &wat, 500);
        let mut upstreams = Config::new();
        upstreams.loop_checks_preserve_registers(false);
        assert_eq!(
            run(&mut upstreams, Preemption::Fuel, &wat, 500),
            ours,
            "{wat}"
        );
    }
}

#[test]
fn an_epochs_deadline_traps_and_yields_as_before() {
    for preserve in [false, true] {
        let mut config = checks(false, true);
        config.loop_checks_preserve_registers(preserve);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        store.set_epoch_deadline(1);
        engine.increment_epoch();
        // At the function's entry, and at the loop's header in each of ten turns and
        // in the one that finds nothing left.
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            Ok(UpdateDeadline::Continue(0))
        });
        assert_eq!(sum.call(&mut store, 10).unwrap(), 55);
        assert_eq!(*store.data(), 12, "preserve: {preserve}");
        store.epoch_deadline_trap();
        let error = sum.call(&mut store, 10).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    }
}

#[test]
fn fuel_that_is_used_up_in_a_loop_traps_with_a_backtrace() {
    for preserve in [false, true] {
        let mut config = checks(true, false);
        config.loop_checks_preserve_registers(preserve);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let trap = instance
            .get_typed_func::<i64, ()>(&mut store, "sum_then_trap")
            .unwrap();
        store.set_fuel(1_000).unwrap();
        let error = trap.call(&mut store, i64::MAX).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
        let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
        let names: Vec<_> = backtrace.frames().iter().map(|f| f.func_name()).collect();
        assert_eq!(names, [Some("sum"), None], "preserve: {preserve}");
    }
}

#[test]
fn code_with_the_other_checks_is_refused() {
    for fuel in [false, true] {
        let engine = |preserve| {
            let mut config = checks(fuel, !fuel);
            config.loop_checks_preserve_registers(preserve);
            Engine::new(&config).unwrap()
        };
        for preserve in [false, true] {
            let code = engine(preserve)
                .precompile_module(GUESTS.as_bytes())
                .unwrap();
            // SAFETY: an engine of the same configuration has made it, or the other.
            let same = unsafe { Module::deserialize(&engine(preserve), &code) };
            assert!(same.is_ok());
            // SAFETY: as above.
            let other = unsafe { Module::deserialize(&engine(!preserve), &code) };
            let error = format!("{:?}", other.err().unwrap());
            assert!(error.contains("register-preserving"), "{error}");
        }
    }
}
