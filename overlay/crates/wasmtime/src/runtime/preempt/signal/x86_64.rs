//! The stub that interrupted code "calls" (I6), for x86-64.
//!
//! A signal stops the guest between two instructions, with live values in any
//! register. The handler makes it look as if the guest had called the stub right
//! there, which costs the guest nothing and needs no check:
//!
//! ```text
//!   higher addresses
//!     |  the guest's frame                     |
//!     |                                        | <- rsp when the signal came
//!     +----------------------------------------+
//!     |  rip when the signal came              |    pushed by the handler
//!     +----------------------------------------+ <- rsp on entry to the stub
//!     |  rbp when the signal came              |
//!     +----------------------------------------+ <- rbp of the stub: a frame as
//!     |  rflags                                |    any other, to be walked
//!     |  rax rcx rdx rbx rsi rdi r8 ... r15    |
//!     +----------------------------------------+ <- rbx of the stub
//!     |  up to 15 bytes, to align              |
//!     |  mxcsr, and 12 bytes                   |
//!     |  xmm15 ... xmm0                        |
//!     +----------------------------------------+ <- rsp when `preempted` is called
//!     |  frames of Wasmtime, down to the       |
//!     |  switch of stacks                      |
//!   lower addresses
//! ```
//!
//! Cranelift's code has no red zone: nothing below `rsp` is live. It uses no
//! vector registers but xmm0 to xmm15, 128 bits of them, and neither x87 nor mask
//! registers. There is room: `host.rs` asks for it.
//!
//! A frame can only be walked once it is there, and a function has none before
//! the `mov rbp, rsp` of its prologue and after the `pop rbp` of its epilogue. So
//! where the signal comes at such an instruction the handler completes the frame
//! first, and there is an entry to the stub for each case, which takes it down
//! again in the end:
//!
//! ```text
//!                      at entry, at ret             after push rbp
//!                      `stub_no_frame`              `stub_half_frame`
//!     |  return address  | <- rsp           |  return address  |
//!     +------------------+                  +------------------+
//!     |  rbp             | <- new rbp       |  rbp             | <- rsp, new rbp
//!     +------------------+                  +------------------+
//!     |  rip             |                  |  rip             |
//! ```
//!
//! A tail call takes its own frame down before it jumps, which is the first case
//! again. And a function that was tail called with more arguments than its caller
//! had moves its frame down, and copies it after that: until that is done `rbp`
//! does not point to a frame. One that has fewer moves what is on the stack up
//! after it has taken its frame down. The guest is not preempted there: the
//! signal comes again.
//!
//! If the guest thread is killed, `preempted` does not return. It unwinds to the
//! entry trampoline, over the stub, as libcalls do.

use core::arch::naked_asm;
use core::ops::Range;

/// One entry to the stub. `$leave` undoes what the handler pushed, with `rbp` and
/// all other registers restored to what they were on entry, and `rsp` at `rip`.
macro_rules! stub {
    ($(#[$doc:meta])* $name:ident: $($leave:literal),*) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Only for the handler to return to, with the stack as drawn above.
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "pushfq",
                // What Rust code relies on.
                "cld",
                "push rax",
                "push rcx",
                "push rdx",
                "push rbx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                // `preempted` keeps rbx.
                "mov rbx, rsp",
                "sub rsp, 272",
                "and rsp, -16",
                "movaps [rsp], xmm0",
                "movaps [rsp + 16], xmm1",
                "movaps [rsp + 32], xmm2",
                "movaps [rsp + 48], xmm3",
                "movaps [rsp + 64], xmm4",
                "movaps [rsp + 80], xmm5",
                "movaps [rsp + 96], xmm6",
                "movaps [rsp + 112], xmm7",
                "movaps [rsp + 128], xmm8",
                "movaps [rsp + 144], xmm9",
                "movaps [rsp + 160], xmm10",
                "movaps [rsp + 176], xmm11",
                "movaps [rsp + 192], xmm12",
                "movaps [rsp + 208], xmm13",
                "movaps [rsp + 224], xmm14",
                "movaps [rsp + 240], xmm15",
                "stmxcsr [rsp + 256]",
                "mov rdi, rbp",
                "call {preempted}",
                "ldmxcsr [rsp + 256]",
                "movaps xmm0, [rsp]",
                "movaps xmm1, [rsp + 16]",
                "movaps xmm2, [rsp + 32]",
                "movaps xmm3, [rsp + 48]",
                "movaps xmm4, [rsp + 64]",
                "movaps xmm5, [rsp + 80]",
                "movaps xmm6, [rsp + 96]",
                "movaps xmm7, [rsp + 112]",
                "movaps xmm8, [rsp + 128]",
                "movaps xmm9, [rsp + 144]",
                "movaps xmm10, [rsp + 160]",
                "movaps xmm11, [rsp + 176]",
                "movaps xmm12, [rsp + 192]",
                "movaps xmm13, [rsp + 208]",
                "movaps xmm14, [rsp + 224]",
                "movaps xmm15, [rsp + 240]",
                "mov rsp, rbx",
                "pop r15",
                "pop r14",
                "pop r13",
                "pop r12",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rbx",
                "pop rdx",
                "pop rcx",
                "pop rax",
                "popfq",
                "pop rbp",
                $($leave,)*
                preempted = sym super::preempted,
            )
        }
    };
}

stub! {
    /// For an instruction where the function's frame is complete.
    stub: "ret"
}

stub! {
    /// For an instruction where `rsp` is at the return address.
    stub_no_frame: "mov rbp, [rsp + 8]", "ret 8"
}

stub! {
    /// For the instruction after `push rbp`.
    stub_half_frame: "mov rbp, [rbp]", "ret"
}

/// What `preempted` is given: the frame of the stub.
#[repr(C)]
pub(super) struct StubFrame {
    /// The frame of the interrupted function.
    pub(super) fp: usize,
    /// The instruction before which it was interrupted.
    pub(super) pc: usize,
}

/// The registers that the handler looks at and changes.
pub(super) struct Interrupted<'a>(&'a mut libc::mcontext_t);

impl Interrupted<'_> {
    /// # Safety
    ///
    /// `context` is what the kernel gave to a handler that was installed with
    /// `SA_SIGINFO` and has not returned yet.
    pub(super) unsafe fn new(context: *mut libc::c_void) -> Self {
        // SAFETY: I5. It is a `ucontext_t` then, and nobody else's.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        Interrupted(&mut context.uc_mcontext)
    }

    pub(super) fn pc(&self) -> usize {
        self.get(libc::REG_RIP)
    }

    /// Makes the interrupted code call the stub. Returns whether it could, at this
    /// instruction.
    ///
    /// # Safety
    ///
    /// I6. `pc` is at an instruction of the Wasm function at `function`, on a
    /// guest thread's stack, and that thread may be suspended.
    pub(super) unsafe fn call_stub(&mut self, function: &Range<usize>) -> bool {
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
        // The copy of a frame that was moved down, with `rbp` set already.
        if copy(bytes(pc)).is_some() && self.get(libc::REG_RBP) == self.get(libc::REG_RSP) {
            return Frame::Moving;
        }
        // The copy of one that is moved up, with `rbp` the caller's already, up to
        // the jump.
        let mut at = pc;
        while let Some(length) = copy(bytes(at)).or(addition_to_rsp(bytes(at))) {
            at = at.wrapping_add(length);
            if self.leaves(at, bytes(at), function) {
                return Frame::Moving;
            }
        }
        Frame::Complete
    }

    /// Whether `code`, which is at `pc`, returns from `function` or tail calls another.
    fn leaves(&self, pc: usize, code: [u8; 8], function: &Range<usize>) -> bool {
        // A tail call of itself is to the start, which no loop goes back to.
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

    /// The register that the low bits of `modrm` name.
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

/// The length of `code` if it is `mov r11, [rsp + d]` or `mov [rsp + d], r11`, by
/// which tail calls move what is on the stack.
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

/// How much of a function's frame there is.
enum Frame {
    Complete,
    None,
    Half,
    /// None that could be completed.
    Moving,
}
