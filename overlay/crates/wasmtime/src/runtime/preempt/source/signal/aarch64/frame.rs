//! How much of its frame an interrupted function has set up, judging by its instructions.
//!
//! See `stub.rs` for how this is used.
//!
//! ```text
//!   function:  bti c, paciaz        each only if the engine's settings say so
//!              stp x29, x30, [sp, #-16]!
//!              mov x29, sp
//!              stack limit, probes                       by way of x16, x17
//!              sub sp, sp, #N                          if a tail call of it
//!              ldr x29, [sp, #N]                       needs more room than
//!              stp x29, x30, [sp]                      its own arguments have
//!              mov x29, sp
//!              stp x27, x28, [sp, #-16]!  ...
//!              ...
//!              ldp x29, x30, [sp], #16
//!              add sp, sp, #N          if there is room of arguments to be freed
//!              autiaz
//!              ret, or b OTHER, or br xN
//! ```

use super::stub::{stub, stub_live_link, stub_no_frame};
use core::ops::Range;

/// The registers that the handler reads and changes.
pub(in crate::runtime::preempt) struct Interrupted<'a>(&'a mut libc::mcontext_t);

const FP: usize = 29;
const LINK: usize = 30;
/// Not live where the link register is, but in the checks and probes of a large frame.
const SCRATCH: usize = 17;

/// How an indirect branch came here, for the `bti` that is expected there.
const BTYPE: u64 = 0b11 << 10;

const INSTRUCTION: usize = 4;

/// How many instructions of a function are looked at: more than a prologue has.
const LONGEST_PROLOGUE: usize = 64;

impl Interrupted<'_> {
    /// # Safety
    ///
    /// `context` is what the kernel gave to a handler that was installed with `SA_SIGINFO`
    /// and has not returned yet.
    pub(in crate::runtime::preempt) unsafe fn new(context: *mut libc::c_void) -> Self {
        // SAFETY: I5. It is a `ucontext_t` then, and nobody else's.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        Interrupted(&mut context.uc_mcontext)
    }

    pub(in crate::runtime::preempt) fn pc(&self) -> usize {
        self.0.pc as usize
    }

    /// Makes the interrupted code call the stub. Returns whether that is possible at this
    /// instruction.
    ///
    /// # Safety
    ///
    /// I6. `pc` is at an instruction of the Wasm function at `function`, on a
    /// guest thread's stack, and that thread may be suspended.
    pub(in crate::runtime::preempt) unsafe fn call_stub(
        &mut self,
        function: &Range<usize>,
    ) -> bool {
        let pc = self.pc();
        // SAFETY: I6. The code is readable, and `pc` is inside of it.
        let Some(state) = (unsafe { self.state(pc, function) }) else {
            return false;
        };
        if state.frame == Frame::Half {
            self.set(FP, self.0.sp as usize);
        }
        let (register, stub): (usize, unsafe extern "C" fn()) = match state {
            State {
                frame: Frame::None, ..
            } => (SCRATCH, stub_no_frame),
            State {
                link_is_live: true, ..
            } => (SCRATCH, stub_live_link),
            _ => (LINK, stub),
        };
        self.set(register, state.resume_at);
        self.0.pc = (stub as *const ()).expose_provenance() as u64;
        // The stub does not begin with a `bti`.
        self.0.pstate &= !BTYPE;
        true
    }

    /// What there is at `pc`, if the stub can be called there.
    ///
    /// # Safety
    ///
    /// `pc` is at an instruction of `function`, which is readable.
    unsafe fn state(&self, pc: usize, function: &Range<usize>) -> Option<State> {
        // SAFETY: this function's own contract.
        let code = unsafe { Code::new(function) };
        // There is one, as Wasmtime's code keeps frame pointers.
        let stored = code.first_store()?;
        if pc <= stored || self.leaves(pc, &code) {
            return Some(State::no_frame(pc));
        }
        let sets_fp = stored + INSTRUCTION;
        match code.second_store(stored) {
            Some(moved) if pc < moved.stored => {
                let frame = match pc == sets_fp {
                    true => Frame::Half,
                    false => Frame::Complete,
                };
                let resume_at = if moved.scratch_is_used.is_none_or(|used| pc <= used) {
                    pc
                } else if pc <= moved.sp_is_changed {
                    // What is in the scratch register is lost, and made again.
                    sets_fp
                } else {
                    return None;
                };
                Some(State {
                    frame,
                    link_is_live: true,
                    resume_at,
                })
            }
            Some(moved) if pc == moved.stored => Some(State::no_frame(pc)),
            Some(moved) if pc == moved.stored + INSTRUCTION => Some(State::half(pc)),
            None if pc == sets_fp => Some(State::half(pc)),
            _ => Some(State::complete(pc)),
        }
    }

    /// Whether the function has freed its frame at `pc`: all that is left are instructions of an
    /// epilogue, up to where it returns or tail calls another.
    fn leaves(&self, pc: usize, code: &Code) -> bool {
        let mut at = pc;
        loop {
            match code.at(at) {
                Some(RET | RETAA | RETAB) => return true,
                Some(word) if frees_arguments(word) => at += INSTRUCTION,
                Some(word) => {
                    let target = jump(at, word).or_else(|| self.jump_through_register(word));
                    return target.is_some_and(|target| code.is_left_for(target));
                }
                None => return false,
            }
        }
    }

    /// The target of `br xN`. Tail calls have theirs in a register that is allocated.
    fn jump_through_register(&self, word: u32) -> Option<usize> {
        let register = (word >> 5 & 0x1f) as usize;
        let is_jump = word & 0xffff_fc1f == 0xd61f_0000;
        (is_jump && !matches!(register, 16 | 17 | 31)).then(|| self.0.regs[register] as usize)
    }

    fn set(&mut self, register: usize, value: usize) {
        self.0.regs[register] = value as u64;
    }
}

/// How much of a function's frame exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    Complete,
    None,
    /// It is where `sp` points, but the frame pointer does not.
    Half,
}

#[derive(Clone, Copy)]
struct State {
    frame: Frame,
    /// Whether the function will still use the address that it returns to from the register.
    link_is_live: bool,
    /// Where the stub returns to: `pc`, or an instruction from which on nothing was done that may
    /// not be done again.
    resume_at: usize,
}

impl State {
    fn complete(pc: usize) -> State {
        State {
            frame: Frame::Complete,
            link_is_live: false,
            resume_at: pc,
        }
    }

    fn half(pc: usize) -> State {
        State {
            frame: Frame::Half,
            ..State::complete(pc)
        }
    }

    fn no_frame(pc: usize) -> State {
        State {
            frame: Frame::None,
            link_is_live: true,
            resume_at: pc,
        }
    }
}

const STP_FRAME: u32 = 0xa9bf_7bfd; // stp x29, x30, [sp, #-16]!
const STP_MOVED: u32 = 0xa900_7bfd; // stp x29, x30, [sp]
const RET: u32 = 0xd65f_03c0;
const RETAA: u32 = 0xd65f_0bff;
const RETAB: u32 = 0xd65f_0fff;

/// `bti c`, and what signs a return address: `paciaz`, `paciasp`, `pacibz`, `pacibsp`.
fn is_landing(word: u32) -> bool {
    matches!(
        word,
        0xd503_245f | 0xd503_231f | 0xd503_233f | 0xd503_235f | 0xd503_237f
    )
}

/// What may be between the `ldp x29, x30, [sp], #16` and the end.
fn frees_arguments(word: u32) -> bool {
    // `autiaz`, `autiasp`, `autibz`, `autibsp`.
    let authenticates = matches!(word, 0xd503_239f | 0xd503_23bf | 0xd503_23df | 0xd503_23ff);
    let adds = matches!(word & IMM12, 0x9100_03ff) || word == 0x8b30_63ff;
    adds || sets_constant(word, 16) || authenticates
}

/// Whether it is one of the instructions that Cranelift makes between the first store of the frame
/// pointer and the second, if there is a second. None of them ends a block, so a walk over nothing
/// else comes to no data that follow the code.
fn precedes_second_store(word: u32) -> bool {
    let checks_limit = match word {
        // add x16, x16, x17  cmp sp, x16
        0x8b31_6210 | 0xeb30_63ff => true,
        // ldr x16, [xN, #N]  add x16, x16, #N
        _ => loads(word, 16) || word & IMM12 == 0x9100_0210 || is_conditional(word, LOWER),
    };
    let probes = match word {
        // str wzr, [sp]
        0xb800_03ff | 0xb900_03ff => true,
        // str wzr, [sp, x16] cmn x16, x17
        0xb830_6bff | 0xab11_021f => true,
        // sub x16, x16, #N
        _ => word & IMM12 == 0xd100_0210 || is_conditional(word, GREATER),
    };
    let reloads_fp = match word {
        // mov x29, sp        ldr x29, [sp, x16, sxtx]
        0x9100_03fd | 0xf870_ebfd => true,
        // ldr x29, [sp, #N]
        _ => loads(word, FP as u32) && word & BASE == BASE,
    };
    let constant = sets_constant(word, 16) || sets_constant(word, SCRATCH as u32);
    changes_sp(word) || checks_limit || probes || reloads_fp || constant
}

/// Whether it adds to `sp`, or subtracts.
fn changes_sp(word: u32) -> bool {
    match word & IMM12 {
        // add sp, sp, #N     sub sp, sp, #N
        0x9100_03ff | 0xd100_03ff => true,
        // add sp, sp, x16    sub sp, sp, x16
        _ => matches!(word, 0x8b30_63ff | 0xcb30_63ff),
    }
}

/// All of an addition but its immediate, of 12 bits and perhaps shifted by 12.
const IMM12: u32 = 0xff80_03ff;

/// The field of the register that an address is relative to. All ones are `sp`.
const BASE: u32 = 0x1f << 5;

const LOWER: u32 = 0b0011;
const GREATER: u32 = 0b1100;

/// Whether it is a part of what sets a register to a constant: `movn`, `movz` or `movk`, of 32 bits
/// or 64, or `orr` with zero.
fn sets_constant(word: u32, register: u32) -> bool {
    let moves = word & 0x1f80_001f == 0x1280_0000 | register && word >> 29 & 0b11 != 0b01;
    moves || word & 0xff80_03ff == 0xb200_03e0 | register
}

/// Whether it is `ldr` or `ldur` of 64 bits from a base and an immediate.
fn loads(word: u32, register: u32) -> bool {
    word & 0xffc0_001f == 0xf940_0000 | register || word & 0xffe0_0c1f == 0xf840_0000 | register
}

/// Whether it is `b` under this condition.
fn is_conditional(word: u32, condition: u32) -> bool {
    word & 0xff00_001f == 0x5400_0000 | condition
}

/// The target of `b`.
fn jump(at: usize, word: u32) -> Option<usize> {
    let is_jump = word & 0xfc00_0000 == 0x1400_0000;
    // The lower 26 bits, with their sign, count instructions.
    let distance = (word << 6).cast_signed() >> 4;
    is_jump.then(|| at.wrapping_add_signed(distance as isize))
}

/// The instructions of a function.
struct Code<'a>(&'a Range<usize>);

impl Code<'_> {
    /// # Safety
    ///
    /// `function` is readable, and stays so while this is used.
    unsafe fn new(function: &Range<usize>) -> Code<'_> {
        Code(function)
    }

    fn at(&self, address: usize) -> Option<u32> {
        if !self.0.contains(&address) {
            return None;
        }
        let pointer = core::ptr::with_exposed_provenance::<u32>(address);
        // SAFETY: I6. It is in the function, which consists of whole instructions.
        Some(unsafe { pointer.read() })
    }

    /// Whether a jump to `target` leaves the function. A tail call to itself jumps to the start,
    /// which no loop does.
    fn is_left_for(&self, target: usize) -> bool {
        !self.0.contains(&target) || target == self.0.start
    }

    /// Where the function stores the frame pointer and the link register.
    fn first_store(&self) -> Option<usize> {
        let mut at = self.0.start;
        while is_landing(self.at(at)?) {
            at += INSTRUCTION;
        }
        (self.at(at) == Some(STP_FRAME)).then_some(at)
    }

    /// Where the function stores both once more, in a frame further down, if it does.
    fn second_store(&self, stored: usize) -> Option<Moved> {
        let (mut scratch_is_used, mut sp_is_changed) = (None, None);
        for i in 1..LONGEST_PROLOGUE {
            let at = stored + i * INSTRUCTION;
            let word = self.at(at)?;
            if word == STP_MOVED {
                return Some(Moved {
                    stored: at,
                    scratch_is_used,
                    sp_is_changed: sp_is_changed.unwrap_or(at),
                });
            }
            if !precedes_second_store(word) {
                return None;
            }
            if sets_constant(word, SCRATCH as u32) {
                scratch_is_used.get_or_insert(at);
            }
            if changes_sp(word) {
                sp_is_changed.get_or_insert(at);
            }
        }
        None
    }
}

/// The frame of a function that has moved it.
struct Moved {
    /// The instruction that stores the frame pointer and the link register.
    stored: usize,
    /// The first one before that which writes the scratch register.
    scratch_is_used: Option<usize>,
    /// The first one that changes `sp` after the first store.
    sp_is_changed: usize,
}
