//! The stub that interrupted code "calls" (I6), for x86-64.
//!
//! A signal stops the guest between two instructions, with live values in any register. The
//! handler makes it look as if the guest had called the stub right there. That costs the
//! guest nothing and needs no check:
//!
//! ```text
//!   higher addresses
//!     |  the guest's frame                     |
//!     |                                        | <- rsp when the signal came
//!     +----------------------------------------+
//!     |  rip when the signal came              |    pushed by the handler
//!     +----------------------------------------+ <- rsp on entry to the stub
//!     |  rbp when the signal came              |
//!     +----------------------------------------+ <- rbp of the stub: a frame
//!     |  rflags                                |    like any other, to walk
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
//! Cranelift's code has no red zone: nothing below `rsp` is live. The only vector registers
//! it uses are xmm0 to xmm15, 128 bits of each, and it uses neither x87 nor mask registers.
//! `config.rs` ensures that there is room.
//!
//! A frame can only be walked once it exists, and a function has none before the `mov rbp,
//! rsp` of its prologue and after the `pop rbp` of its epilogue. At such an instruction the
//! handler completes the frame first. Each case has its own entry to the stub, which removes
//! that frame in the end:
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
//! A tail call removes its own frame before it jumps, which is the first case again. A
//! function tail called with more arguments than its caller had moves its frame down, and
//! copies it afterwards: until that is done `rbp` does not point to a frame. One with fewer
//! arguments moves stack contents up after removing its frame. The guest is not preempted
//! there: the signal comes again.
//!
//! If the guest thread is killed, `preempted` does not return. It unwinds to the
//! entry trampoline, over the stub, as libcalls do.

use super::super::preempted::preempted;
use core::arch::naked_asm;

/// One entry to the stub. `$leave` undoes the handler's pushes, with `rsp` at `rip` and all
/// other registers, including `rbp`, restored to their values on entry.
macro_rules! stub {
    ($(#[$doc:meta])* $name:ident: $($leave:literal),*) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Only for the handler to return to, with the stack as drawn above.
        #[unsafe(naked)]
        pub(in crate::runtime::preempt) unsafe extern "C" fn $name() {
            naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "pushfq",
                // Rust code relies on this.
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
                // `preempted` preserves rbx.
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
                preempted = sym preempted,
            )
        }
    };
}

stub! {
    /// For instructions where the function's frame is complete.
    stub: "ret"
}

stub! {
    /// For instructions where `rsp` points to the return address.
    stub_no_frame: "mov rbp, [rsp + 8]", "ret 8"
}

stub! {
    /// For the instruction after `push rbp`.
    stub_half_frame: "mov rbp, [rbp]", "ret"
}
