//! How much of its frame an interrupted function has set up, judging by its instructions.
//!
//! See `stub.rs` for how this is used.

use super::stub::{stub, stub_half_frame, stub_no_frame};
use core::ops::Range;

/// The registers that the handler reads and changes.
pub(in crate::runtime::preempt) struct Interrupted<'a>(&'a mut libc::mcontext_t);

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
        self.get(libc::REG_RIP)
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
        let (pc, sp, fp) = (self.pc(), self.get(libc::REG_RSP), self.get(libc::REG_RBP));
        let stub: unsafe extern "C" fn();
        let top;
        // SAFETY: I6. The code is readable, and `pc` is inside of it. There is no
        // red zone, and there is room below `sp`.
        unsafe {
            match self.frame(pc, function) {
                Frame::Complete => {
                    stub = self::stub;
                    top = sp;
                }
                Frame::None => {
                    stub = stub_no_frame;
                    top = sp - size_of::<usize>();
                    pointer(top).write(fp);
                    self.set(libc::REG_RBP, top);
                }
                Frame::Half => {
                    stub = stub_half_frame;
                    top = sp;
                    self.set(libc::REG_RBP, top);
                }
                Frame::Moving => return false,
            }
            let top = top - size_of::<usize>();
            pointer(top).write(pc);
            self.set(libc::REG_RSP, top);
        }
        self.set(libc::REG_RIP, (stub as *const ()).expose_provenance());
        true
    }

    /// # Safety
    ///
    /// `pc` is at an instruction of `function`, which is readable.
    unsafe fn frame(&self, pc: usize, function: &Range<usize>) -> Frame {
        const PUSH_RBP: u8 = 0x55;

        let bytes = |at: usize| -> [u8; 8] {
            core::array::from_fn(|i| {
                let address = at.wrapping_add(i);
                if !function.contains(&address) {
                    return 0;
                }
                // SAFETY: it is in the function.
                unsafe { core::ptr::with_exposed_provenance::<u8>(address).read() }
            })
        };
        let from_start = pc - function.start;
        if from_start <= 1 && bytes(function.start)[0] == PUSH_RBP {
            return if from_start == 0 {
                Frame::None
            } else {
                Frame::Half
            };
        }
        if self.leaves(pc, bytes(pc), function) {
            return Frame::None;
        }
        // Copying a frame that was moved down, with `rbp` already set.
        if copy(bytes(pc)).is_some() && self.get(libc::REG_RBP) == self.get(libc::REG_RSP) {
            return Frame::Moving;
        }
        // Copying one that is moved up, with `rbp` already the caller's, up to the jump.
        let mut at = pc;
        while let Some(length) = copy(bytes(at)).or(addition_to_rsp(bytes(at))) {
            at = at.wrapping_add(length);
            if self.leaves(at, bytes(at), function) {
                return Frame::Moving;
            }
        }
        Frame::Complete
    }

    /// Whether `code`, at `pc`, returns from `function` or tail calls another.
    fn leaves(&self, pc: usize, code: [u8; 8], function: &Range<usize>) -> bool {
        // A tail call to itself jumps to the start, which no loop does.
        let outside = |target: usize| !function.contains(&target) || target == function.start;
        match code {
            // ret, ret imm16
            [0xc3 | 0xc2, ..] => true,
            // jmp rel32
            [0xe9, a, b, c, d, ..] => {
                let distance = i32::from_le_bytes([a, b, c, d]);
                outside(pc.wrapping_add(5).wrapping_add_signed(distance as isize))
            }
            // jmp reg
            [0xff, modrm @ 0xe0..=0xe7, ..] => outside(self.operand(modrm, false)),
            [0x41, 0xff, modrm @ 0xe0..=0xe7, ..] => outside(self.operand(modrm, true)),
            _ => false,
        }
    }

    /// The value of the register named by the low bits of `modrm`.
    fn operand(&self, modrm: u8, extended: bool) -> usize {
        use libc::*;
        const LOW: [c_int; 8] = [
            REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        ];
        const HIGH: [c_int; 8] = [
            REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
        ];
        let registers = if extended { HIGH } else { LOW };
        self.get(registers[usize::from(modrm & 7)])
    }

    fn get(&self, register: libc::c_int) -> usize {
        let value = usize::try_from(register).map_or(0, |i| self.0.gregs[i].cast_unsigned());
        usize::try_from(value).unwrap_or(0)
    }

    fn set(&mut self, register: libc::c_int, value: usize) {
        if let Ok(i) = usize::try_from(register) {
            self.0.gregs[i] = (value as u64).cast_signed();
        }
    }
}

fn pointer(address: usize) -> *mut usize {
    core::ptr::with_exposed_provenance_mut(address)
}

/// The length of `code` if it is `mov r11, [rsp + d]` or `mov [rsp + d], r11`, with which
/// tail calls move stack contents.
fn copy(code: [u8; 8]) -> Option<usize> {
    match code {
        [0x4c, 0x8b | 0x89, 0x1c, 0x24, ..] => Some(4),
        [0x4c, 0x8b | 0x89, 0x5c, 0x24, ..] => Some(5),
        [0x4c, 0x8b | 0x89, 0x9c, 0x24, ..] => Some(8),
        _ => None,
    }
}

/// The length of `code` if it is `add rsp, imm`.
fn addition_to_rsp(code: [u8; 8]) -> Option<usize> {
    match code {
        [0x48, 0x83, 0xc4, ..] => Some(4),
        [0x48, 0x81, 0xc4, ..] => Some(7),
        _ => None,
    }
}

/// How much of a function's frame exists.
enum Frame {
    Complete,
    None,
    Half,
    /// In transit: none that could be completed.
    Moving,
}
