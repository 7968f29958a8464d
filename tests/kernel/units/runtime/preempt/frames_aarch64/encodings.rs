use super::cpu::{Cpu, Found};
use std::arch::global_asm;
use std::ops::Range;

/// A function, as its instructions and what is to be found at each, and the test of that.
macro_rules! function {
    ($(#[$doc:meta])* $name:ident: $($instruction:literal => $found:ident,)*) => {
        global_asm!(
            ".balign 16",
            concat!(stringify!($name), ":"),
            $($instruction,)*
            "udf #0",
            "udf #0",
        );

        $(#[$doc])*
        #[test]
        fn $name() {
            unsafe extern "C" {
                safe static $name: u32;
            }
            let start = (&raw const $name).expose_provenance();
            let expected = [$(($instruction, Found::$found)),*];
            let function = start..start + 4 * expected.len();
            for (i, (instruction, expected)) in expected.into_iter().enumerate() {
                let found = Cpu::new().interrupt(start + 4 * i, &function);
                assert_eq!(found, expected, "at {i}: {instruction}");
            }
        }
    };
}

function! {
    a_function_has_a_frame_between_its_store_and_its_load:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => Half,
    "ldr x16, [x0, #8]" => Complete,
    "ldr x16, [x16, #24]" => Complete,
    "cmp sp, x16" => Complete,
    "b.lo . + 32" => Complete,
    "stp x27, x28, [sp, #-16]!" => Complete,
    "sub sp, sp, #64" => Complete,
    "bl . + 0x1000" => Complete,
    "add sp, sp, #64" => Complete,
    "ldp x27, x28, [sp], #16" => Complete,
    "ldp x29, x30, [sp], #16" => Complete,
    "ret" => None,
    "udf #0" => Complete,
}

function! {
    a_return_address_may_be_signed:
    "paciasp" => None,
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
    "ldp x29, x30, [sp], #16" => Complete,
    "autiasp" => None,
    "ret" => None,
    "nop" => Complete,
    "ldp x29, x30, [sp], #16" => Complete,
    "autiaz" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "autibsp" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "autibz" => None,
    "b . + 0x1000" => None,
    ".inst 0xd65f0bff // retaa" => None,
    ".inst 0xd65f0fff // retab" => None,
}

function! {
    a_function_may_begin_with_a_landing_pad:
    "bti c" => None,
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => Half,
    "ret" => None,
}

function! {
    every_key_and_modifier_is_known_at_entry:
    "paciaz" => None,
    "pacibz" => None,
    "pacibsp" => None,
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
}

function! {
    arguments_are_freed_without_a_frame:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
    "add sp, sp, #32" => Complete,
    "ldp x29, x30, [sp], #16" => Complete,
    "add sp, sp, #32" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "add sp, sp, #8, lsl #12" => None,
    "b . + 0x1000" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "movz w16, #0x1230" => None,
    "movk w16, #1, lsl #16" => None,
    "add sp, sp, x16, uxtx" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "movn w16, #0x1230" => None,
    "add sp, sp, x16, uxtx" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "movz x16, #0x1, lsl #16" => None,
    "add sp, sp, x16, uxtx" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "movn x16, #0" => None,
    "add sp, sp, x16, uxtx" => None,
    "ret" => None,
    "ldp x29, x30, [sp], #16" => Complete,
    "orr x16, xzr, #0xff00" => None,
    "add sp, sp, x16, uxtx" => None,
    "ret" => None,
}

function! {
    the_link_register_is_live_until_a_moved_frame_is_stored:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => HalfLinked,
    "ldur x16, [x2, #8]" => Linked,
    "ldur x16, [x16, #24]" => Linked,
    "add x16, x16, #128" => Linked,
    "cmp sp, x16" => Linked,
    "b.lo . + 64" => Linked,
    "sub sp, sp, #1, lsl #12" => Linked,
    "stur wzr, [sp]" => Linked,
    "add sp, sp, #1, lsl #12" => Linked,
    "sub sp, sp, #80" => Linked,
    "ldur x29, [sp, #80]" => Linked,
    "stp x29, x30, [sp]" => None,
    "mov x29, sp" => Half,
    "stp x27, x28, [sp, #-16]!" => Complete,
    "nop" => Complete,
}

function! {
    a_check_of_a_large_frame_is_done_again:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => HalfLinked,
    "ldr x16, [x2, #32760]" => Linked,
    "ldr x16, [x16, #256]" => Linked,
    "cmp sp, x16" => Linked,
    "b.lo . + 64" => Linked,
    "movz w17, #0x8230" => Linked,
    "movk w17, #1, lsl #16" => Again,
    "add x16, x16, x17, uxtx" => Again,
    "cmp sp, x16" => Again,
    "b.lo . + 64" => Again,
    "movz x16, #0x2000" => Again,
    "sub sp, sp, x16, uxtx" => Again,
    "ldr x29, [sp, #0x2000]" => Unknown,
    "stp x29, x30, [sp]" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
}

function! {
    a_check_is_not_done_again_once_a_page_is_probed:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => HalfLinked,
    "ldur x16, [x2, #8]" => Linked,
    "ldur x16, [x16, #24]" => Linked,
    "movz x17, #0x1030" => Linked,
    "add x16, x16, x17, uxtx" => Again,
    "cmp sp, x16" => Again,
    "b.lo . + 64" => Again,
    "sub sp, sp, #1, lsl #12" => Again,
    "stur wzr, [sp]" => Unknown,
    "add sp, sp, #1, lsl #12" => Unknown,
    "sub sp, sp, #80" => Unknown,
    "ldur x29, [sp, #80]" => Unknown,
    "stp x29, x30, [sp]" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
}

function! {
    a_frame_is_moved_by_more_than_an_immediate:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => HalfLinked,
    "movz w16, #0x1230" => Linked,
    "movk w16, #1, lsl #16" => Linked,
    "sub sp, sp, x16, uxtx" => Linked,
    "orr x16, xzr, #0xff00" => Linked,
    "ldr x29, [sp, x16, sxtx]" => Linked,
    "stp x29, x30, [sp]" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
}

function! {
    a_loop_of_probes_is_done_again:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => HalfLinked,
    "ldur x16, [x2, #8]" => Linked,
    "ldur x16, [x16, #24]" => Linked,
    "cmp sp, x16" => Linked,
    "b.lo . + 64" => Linked,
    "movz w17, #0x8230" => Linked,
    "movk w17, #1, lsl #16" => Again,
    "add x16, x16, x17, uxtx" => Again,
    "cmp sp, x16" => Again,
    "b.lo . + 64" => Again,
    "movz x16, #0" => Again,
    "movz w17, #0x8000" => Again,
    "movk w17, #1, lsl #16" => Again,
    "sub x16, x16, #1, lsl #12" => Again,
    "str wzr, [sp, x16]" => Again,
    "cmn x16, x17" => Again,
    "b.gt . - 12" => Again,
    "sub sp, sp, #80" => Again,
    "ldur x29, [sp, #80]" => Unknown,
    "stp x29, x30, [sp]" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
}

/// A function, and data after it that look like the second store.
macro_rules! function_before_data {
    ($($(#[$doc:meta])* $name:ident: $instruction:literal,)*) => {
        $(function! {
            $(#[$doc])*
            $name:
            "stp x29, x30, [sp, #-16]!" => None,
            "mov x29, sp" => Half,
            $instruction => Complete,
            ".inst 0x12345671" => Complete,
            ".inst 0xa9007bfd" => Complete,
        })*
    };
}

function_before_data! {
    a_trap_ends_a_prologue: "udf #0xc11f",
    a_jump_ends_a_prologue: "b . + 8",
    a_jump_to_itself_ends_a_prologue: "b .",
    a_call_ends_a_prologue: "bl . + 8",
    a_call_by_register_ends_a_prologue: "blr x3",
    a_branch_if_zero_ends_a_prologue: "cbz x16, . + 8",
    a_branch_by_a_bit_ends_a_prologue: "tbz x16, #3, . + 8",
    a_branch_that_no_check_has_ends_a_prologue: "b.eq . + 8",
    a_load_of_the_frame_ends_a_prologue: "ldp x29, x30, [sp], #16",
    a_store_of_zero_elsewhere_ends_a_prologue: "str wzr, [x2]",
    a_comparison_of_other_registers_ends_a_prologue: "cmp x2, x16",
    a_constant_in_another_register_ends_a_prologue: "movz x15, #1",
    an_addition_to_the_frame_pointer_ends_a_prologue: "add x29, sp, #16",
    a_load_of_a_vector_ends_a_prologue: "ldr q16, [x0]",
    /// Its lower bits are those of a move to x16.
    a_datum_ends_a_prologue: ".inst 0xb2800010",
}

function! {
    a_function_without_a_frame_is_not_stopped:
    "add x0, x0, #1" => Unknown,
    "ret" => Unknown,
}

function! {
    jumps_within_a_function_do_not_leave_it:
    "stp x29, x30, [sp, #-16]!" => None,
    "mov x29, sp" => Half,
    "nop" => Complete,
    "b . - 4" => Complete,
    "b . + 4" => Complete,
    "b . - 20" => None,
    "b . - 28" => None,
    "b . + 12" => None,
    "b . + 4" => Complete,
    "nop" => Complete,
}

/// `br` to a register leads where that points, unless that is one which is not allocated.
#[test]
fn the_target_of_a_jump_may_be_in_any_register() {
    const STORE: u32 = 0xa9bf_7bfd;
    const MOVE: u32 = 0x9100_03fd;
    for register in 0..31_u32 {
        let code = [STORE, MOVE, 0xd61f_0000 | register << 5, 0];
        let start = code.as_ptr().expose_provenance();
        let function: Range<usize> = start..start + size_of_val(&code);
        for (target, leaves) in [
            (function.start, true),
            (function.end, true),
            (0, true),
            (function.start + 4, false),
            (function.end - 4, false),
        ] {
            let mut cpu = Cpu::new();
            cpu.set(register as usize, target);
            let found = cpu.interrupt(start + 8, &function);
            let expected = match leaves && !matches!(register, 16 | 17) {
                true => Found::None,
                false => Found::Complete,
            };
            assert_eq!(found, expected, "x{register} at {target:#x}");
        }
    }
}

#[test]
fn nothing_is_read_beyond_the_end_of_a_function() {
    let code: [u32; 4] = [0xa9bf_7bfd, 0x9100_03fd, 0x9100_83ff, 0xd65f_03c0];
    let start = code.as_ptr().expose_provenance();
    for len in 1..=3 {
        let function = start..start + 4 * len;
        for i in 0..len {
            let found = Cpu::new().interrupt(start + 4 * i, &function);
            let expected = [Found::None, Found::Half, Found::Complete][i];
            assert_eq!(found, expected, "{i} of {len}");
        }
    }
}
