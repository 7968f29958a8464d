use super::cpu::{Cpu, Found};
use std::ops::Range;

const NOP: u8 = 0x90;

const REGISTERS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// A function in memory.
struct Function(Vec<u8>);

impl Function {
    /// With a prologue, `code`, and something after it.
    fn with(code: &[&[u8]]) -> Function {
        let mut bytes = vec![0x55, 0x48, 0x89, 0xe5];
        bytes.extend(code.concat());
        bytes.resize(bytes.len() + 16, NOP);
        Function(bytes)
    }

    /// Where `code` begins.
    const CODE: usize = 4;

    fn range(&self) -> Range<usize> {
        let start = self.0.as_ptr().expose_provenance();
        start..start + self.0.len()
    }

    fn at(&self, offset: usize, cpu: Cpu) -> Found {
        let range = self.range();
        cpu.interrupt(range.start + offset, &range)
    }
}

/// `mov r11, [rsp + distance]`, or with 0x89 as `opcode` the other way.
fn copy(opcode: u8, distance: i32) -> Vec<u8> {
    let mut code = vec![0x4c, opcode];
    match i8::try_from(distance) {
        Ok(0) => code.extend([0x1c, 0x24]),
        Ok(short) => code.extend([0x5c, 0x24, short.cast_unsigned()]),
        Err(_) => {
            code.extend([0x9c, 0x24]);
            code.extend(distance.to_le_bytes());
        }
    }
    code
}

/// `add rsp, distance`
fn add(distance: i32) -> Vec<u8> {
    match i8::try_from(distance) {
        Ok(short) => vec![0x48, 0x83, 0xc4, short.cast_unsigned()],
        Err(_) => [&[0x48, 0x81, 0xc4][..], &distance.to_le_bytes()].concat(),
    }
}

fn jump(distance: i32) -> Vec<u8> {
    [&[0xe9][..], &distance.to_le_bytes()].concat()
}

/// How far arguments are moved: multiples of the stack's alignment, in either encoding.
fn distances() -> impl Iterator<Item = i32> {
    let long = [0x7ff0, 0x1_0000, 0x7fff_fff0];
    (1..64).map(|n| 16 * n).chain(long)
}

fn with_frame_pointer_down() -> Cpu {
    let mut cpu = Cpu::new();
    let rsp = cpu.get(libc::REG_RSP);
    cpu.set(libc::REG_RBP, rsp);
    cpu
}

#[test]
fn a_prologue_makes_a_frame_in_two_steps() {
    let function = Function::with(&[]);
    assert_eq!(function.at(0, Cpu::new()), Found::None);
    assert_eq!(function.at(1, Cpu::new()), Found::Half);
    assert_eq!(function.at(4, Cpu::new()), Found::Complete);
}

#[test]
fn there_is_no_frame_at_a_return() {
    let function = Function::with(&[&[0xc3]]);
    assert_eq!(function.at(Function::CODE, Cpu::new()), Found::None);
    for bytes in (0..=u16::MAX).step_by(16) {
        let function = Function::with(&[&[0xc2], &bytes.to_le_bytes()]);
        assert_eq!(function.at(Function::CODE, Cpu::new()), Found::None);
    }
}

#[test]
fn there_is_no_frame_at_a_jump_out_of_the_function_or_to_its_start() {
    let (start, len) = (-9, 4 + 5 + 16);
    let found = |distance| Function::with(&[&jump(distance)]).at(Function::CODE, Cpu::new());
    for distance in [i32::MIN, start - 1, start, start + len, i32::MAX] {
        assert_eq!(found(distance), Found::None, "{distance}");
    }
    for distance in start + 1..start + len {
        assert_eq!(found(distance), Found::Complete, "{distance}");
    }
}

#[test]
fn the_target_of_a_jump_may_be_in_any_register() {
    for (number, register) in (0u8..).zip(REGISTERS) {
        if register == libc::REG_RSP || register == libc::REG_RBP {
            continue;
        }
        let modrm = 0xe0 | (number & 7);
        let code = match number {
            0..8 => vec![0xff, modrm],
            _ => vec![0x41, 0xff, modrm],
        };
        let function = Function::with(&[&code]);
        let Range { start, end } = function.range();
        for (target, expected) in [
            (start, Found::None),
            (end, Found::None),
            (0, Found::None),
            (start + 1, Found::Complete),
            (end - 1, Found::Complete),
        ] {
            let mut cpu = Cpu::new();
            cpu.set(register, target);
            assert_eq!(function.at(Function::CODE, cpu), expected, "r{number}");
        }
    }
}

#[test]
fn a_frame_that_moves_up_is_in_transit_until_the_jump() {
    for distance in distances() {
        for jump in [jump(0x1000), vec![0xff, 0xe0], vec![0x41, 0xff, 0xe3]] {
            let code = [copy(0x8b, 0), copy(0x89, distance), add(distance), jump];
            let parts: Vec<&[u8]> = code.iter().map(Vec::as_slice).collect();
            let function = Function::with(&parts);
            let mut offset = Function::CODE;
            for (i, part) in parts.iter().enumerate() {
                let expected = if i < 3 { Found::Moving } else { Found::None };
                assert_eq!(function.at(offset, Cpu::new()), expected, "{distance} {i}");
                offset += part.len();
            }
            // The same without a jump is the guest's own.
            let function = Function::with(&parts[..3]);
            assert_eq!(function.at(Function::CODE, Cpu::new()), Found::Complete);
        }
    }
}

#[test]
fn a_frame_that_moves_down_is_in_transit_until_it_is_copied() {
    for distance in distances() {
        let code = [
            copy(0x8b, distance),
            copy(0x89, 0),
            copy(0x8b, distance.saturating_add(8)),
            copy(0x89, 8),
        ];
        let parts: Vec<&[u8]> = code.iter().map(Vec::as_slice).collect();
        let function = Function::with(&parts);
        let mut offset = Function::CODE;
        for part in &parts {
            assert_eq!(
                function.at(offset, with_frame_pointer_down()),
                Found::Moving
            );
            assert_eq!(function.at(offset, Cpu::new()), Found::Complete);
            offset += part.len();
        }
        assert_eq!(
            function.at(offset, with_frame_pointer_down()),
            Found::Complete
        );
    }
}

#[test]
fn what_looks_like_it_at_the_end_of_a_function_is_not_read_beyond() {
    for code in [&[0x41, 0xff][..], &[0x4c, 0x8b, 0x1c], &[0x48, 0x83]] {
        let function = Function([&[0x55, 0x48, 0x89, 0xe5], code].concat());
        assert_eq!(function.at(Function::CODE, Cpu::new()), Found::Complete);
    }
}
