//! The registers of an interrupted guest.

use super::frame::Interrupted;
use super::stub::{stub, stub_live_link, stub_no_frame};
use std::ops::Range;

/// What the decoder found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Complete,
    None,
    Half,
    /// The link register is live.
    Linked,
    HalfLinked,
    /// The same, and the stub returns to the beginning of the checks.
    Again,
    /// The stub cannot be called.
    Unknown,
}

pub struct Cpu {
    context: Box<libc::ucontext_t>,
}

const SP: u64 = 0x1000;
const FP: u64 = 0x2000;
const LINK: u64 = 0x3000;
const SCRATCH: u64 = 0x4000;

/// Set by an indirect branch.
const BTYPE: u64 = 0b01 << 10;
const FLAGS: u64 = 0b1010 << 28;

impl Cpu {
    pub fn new() -> Cpu {
        // SAFETY: a `ucontext_t` is plain data, for which zero is valid.
        let mut context: Box<libc::ucontext_t> = Box::new(unsafe { std::mem::zeroed() });
        let registers = &mut context.uc_mcontext;
        registers.sp = SP;
        registers.regs[29] = FP;
        registers.regs[30] = LINK;
        registers.regs[17] = SCRATCH;
        registers.pstate = FLAGS | BTYPE;
        Cpu { context }
    }

    pub fn set(&mut self, register: usize, value: usize) {
        self.context.uc_mcontext.regs[register] = value as u64;
    }

    /// What the decoder finds at `pc` in `function`, and whether it does what that entails.
    pub fn interrupt(mut self, pc: usize, function: &Range<usize>) -> Found {
        self.context.uc_mcontext.pc = pc as u64;
        let before = self.context.uc_mcontext.regs;
        // SAFETY: the context is all there, and so is the code.
        let called = unsafe {
            let context = std::ptr::from_mut(&mut *self.context);
            Interrupted::new(context.cast()).call_stub(function)
        };
        let registers = &self.context.uc_mcontext;
        let is = |stub: unsafe extern "C" fn()| registers.pc == (stub as *const ()).addr() as u64;
        let mut expected = before;
        let is_half = registers.regs[29] == SP;
        if is_half {
            expected[29] = SP;
        }
        let found = match () {
            () if !called => {
                assert_eq!(registers.pc, pc as u64);
                Found::Unknown
            }
            () if is(stub_no_frame) => {
                assert!(!is_half);
                expected[17] = pc as u64;
                Found::None
            }
            () if is(stub_live_link) => {
                let again = registers.regs[17] != pc as u64;
                expected[17] = match again {
                    // Behind the first instruction.
                    true => function.start as u64 + 4,
                    false => pc as u64,
                };
                match (is_half, again) {
                    (true, _) => Found::HalfLinked,
                    (false, true) => Found::Again,
                    (false, false) => Found::Linked,
                }
            }
            () if is(stub) => {
                expected[30] = pc as u64;
                match is_half {
                    true => Found::Half,
                    false => Found::Complete,
                }
            }
            () => panic!("continues at {:#x}", registers.pc),
        };
        assert_eq!(registers.regs, expected, "{found:?}");
        assert_eq!(registers.sp, SP);
        let pstate = if called { FLAGS } else { FLAGS | BTYPE };
        assert_eq!(registers.pstate, pstate, "{found:?}");
        found
    }
}
