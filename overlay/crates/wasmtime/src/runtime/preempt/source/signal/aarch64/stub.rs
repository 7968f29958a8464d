//! The stub that interrupted code "calls" (I6), for aarch64.
//!
//! A signal stops the guest between two instructions, with live values in any register but one:
//! the link register. A function saves it in its frame when it is entered, and loads it from there
//! before it returns. In between it is for its calls, and Cranelift allocates it to nothing else.
//! So the handler makes it look as if the guest had called the stub right there, by the registers
//! alone. It writes nothing to the guest's stack:
//!
//! ```text
//!   x30 := pc, pc := stub
//!
//!   higher addresses
//!     |  the guest's frame                     |
//!     |                                        | <- sp when the signal came
//!     +----------------------------------------+
//!     |  x30: pc when the signal came          |
//!     |  x29 when the signal came              |
//!     +----------------------------------------+ <- x29 of the stub: a frame
//!     |  q31 ... q0                            |    like any other, to walk
//!     |  fpsr, and 8 bytes                     |
//!     |  fpcr                                  |
//!     |  nzcv                                  |
//!     |  x17 ... x0                            |
//!     +----------------------------------------+ <- sp when `preempted` is called
//!     |  frames of Wasmtime, down to the       |
//!     |  switch of stacks                      |
//!   lower addresses
//! ```
//!
//! Cranelift's code has no red zone: nothing below `sp` is live. `preempted` preserves x19 to x28,
//! and of v8 to v15 the lower halves only, which is why all vector registers are saved. x18 belongs
//! to the platform, and compiled code does not touch it. Nor does it use more than 128 bits of a
//! vector register, or a predicate. `config.rs` ensures that there is room.
//!
//! Where the link register is live, there is no frame: before the `stp x29, x30, [sp, #-16]!` of
//! the prologue, and after the `ldp x29, x30, [sp], #16` of the epilogue. There x17 is dead. It is
//! for the linker, where a function is entered, and for sequences of instructions in the body; the
//! sequence that frees a frame uses x16 only. So there the handler passes the address in x17, and a
//! second entry to the stub makes the function's frame first, and removes it in the end:
//!
//! ```text
//!   x17 := pc, pc := stub_no_frame                 x29 := sp, x30 := pc, pc := stub
//!
//!     at entry, at ret                               after stp, at mov x29, sp
//!     |  caller's frame  | <- sp                     |  caller's frame  |
//!     +------------------+                           +------------------+
//!     |  x30             |                           |  x30             |
//!     |  x29             | <- x29 while in the stub  |  x29             | <- sp, new x29
//!     +------------------+                           +------------------+
//!     |  x17             |                           |  pc              |
//!     |  ...             |                           |  ...             |
//! ```
//!
//! Between the `stp` and the `mov x29, sp` there is a frame that x29 does not point to yet. The
//! handler has it point there, as the `mov` does in any case, and the link register is dead.
//!
//! All entries leave by a `ret`, whose target needs no `bti`. A signed return address is not
//! looked at here: a walk of the frames strips the signature.
//!
//! A function that tail calls one with more arguments than it has itself moves its frame down when
//! it is entered:
//!
//! ```text
//!     stp x29, x30, [sp, #-16]!      no frame
//!     mov x29, sp                    a frame, but x29 does not point to it
//!     ...                            a frame, but the link register is live
//!     sub sp, sp, #N                 the same
//!     ldr x29, [sp, #N]              the same
//!     stp x29, x30, [sp]             no frame, where it will be
//!     mov x29, sp                    a frame, but x29 does not point to it
//! ```
//!
//! In the first half there is a third entry to the stub, which keeps the link register above its own
//! frame. x17 is dead there as well, until it is used by the check of a frame of more than 4,095
//! bytes, or by the loop that probes a large one. As long as `sp` has not changed, these can be done
//! again: the stub returns to the first `mov x29, sp` then. From the first change of `sp` to the
//! second `stp`, a dozen instructions, the guest is not preempted if x17 was used, and the signal
//! comes again. A frame that such a call moves up is gone before, which is the case of
//! `stub_no_frame`.
//!
//! A load and a store of an exclusive pair must not become one access if the stub ran between them:
//! another guest thread may have changed the word. Linux clears the monitor when a signal's handler
//! returns, but that is before the stub. What runs here may leave it set, for this very address. So
//! each way out clears it, the store fails, and compiled code goes back to the load.
//!
//! If the guest thread is killed, `preempted` does not return. It unwinds to the entry
//! trampoline, over the stub, as libcalls do.

use super::super::preempted::preempted;
use core::arch::naked_asm;

/// One entry to the stub. `$enter` makes x30 the address to continue at, and has x29 point to the
/// frame of the interrupted function. `$leave` undoes it, with all other registers restored.
macro_rules! stub {
    ($(#[$doc:meta])* $name:ident: [$($enter:literal),*], [$($leave:literal),*]) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Only for the handler to return to, with the registers as drawn above.
        #[unsafe(naked)]
        pub(in crate::runtime::preempt) unsafe extern "C" fn $name() {
            naked_asm!(
                $($enter,)*
                "stp x29, x30, [sp, #-16]!",
                "mov x29, sp",
                "sub sp, sp, #688",
                "stp x0, x1, [sp]",
                "stp x2, x3, [sp, #16]",
                "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]",
                "stp x8, x9, [sp, #64]",
                "stp x10, x11, [sp, #80]",
                "stp x12, x13, [sp, #96]",
                "stp x14, x15, [sp, #112]",
                "stp x16, x17, [sp, #128]",
                "mrs x0, nzcv",
                "mrs x1, fpcr",
                "mrs x2, fpsr",
                "stp x0, x1, [sp, #144]",
                "str x2, [sp, #160]",
                "stp q0, q1, [sp, #176]",
                "stp q2, q3, [sp, #208]",
                "stp q4, q5, [sp, #240]",
                "stp q6, q7, [sp, #272]",
                "stp q8, q9, [sp, #304]",
                "stp q10, q11, [sp, #336]",
                "stp q12, q13, [sp, #368]",
                "stp q14, q15, [sp, #400]",
                "stp q16, q17, [sp, #432]",
                "stp q18, q19, [sp, #464]",
                "stp q20, q21, [sp, #496]",
                "stp q22, q23, [sp, #528]",
                "stp q24, q25, [sp, #560]",
                "stp q26, q27, [sp, #592]",
                "stp q28, q29, [sp, #624]",
                "stp q30, q31, [sp, #656]",
                "mov x0, x29",
                "bl {preempted}",
                "ldp q0, q1, [sp, #176]",
                "ldp q2, q3, [sp, #208]",
                "ldp q4, q5, [sp, #240]",
                "ldp q6, q7, [sp, #272]",
                "ldp q8, q9, [sp, #304]",
                "ldp q10, q11, [sp, #336]",
                "ldp q12, q13, [sp, #368]",
                "ldp q14, q15, [sp, #400]",
                "ldp q16, q17, [sp, #432]",
                "ldp q18, q19, [sp, #464]",
                "ldp q20, q21, [sp, #496]",
                "ldp q22, q23, [sp, #528]",
                "ldp q24, q25, [sp, #560]",
                "ldp q26, q27, [sp, #592]",
                "ldp q28, q29, [sp, #624]",
                "ldp q30, q31, [sp, #656]",
                "ldr x2, [sp, #160]",
                "ldp x0, x1, [sp, #144]",
                "msr fpsr, x2",
                "msr fpcr, x1",
                "msr nzcv, x0",
                "ldp x0, x1, [sp]",
                "ldp x2, x3, [sp, #16]",
                "ldp x4, x5, [sp, #32]",
                "ldp x6, x7, [sp, #48]",
                "ldp x8, x9, [sp, #64]",
                "ldp x10, x11, [sp, #80]",
                "ldp x12, x13, [sp, #96]",
                "ldp x14, x15, [sp, #112]",
                "ldp x16, x17, [sp, #128]",
                "add sp, sp, #688",
                "ldp x29, x30, [sp], #16",
                $($leave,)*
                preempted = sym preempted,
            )
        }
    };
}

stub! {
    /// For instructions where the function's frame is complete.
    stub: [], ["clrex", "ret"]
}

stub! {
    /// For instructions where the link register is the return address.
    stub_no_frame:
        ["stp x29, x30, [sp, #-16]!", "mov x29, sp", "mov x30, x17"],
        ["mov x17, x30", "ldp x29, x30, [sp], #16", "clrex", "ret x17"]
}

stub! {
    /// For instructions where the function's frame is complete and the link register is live.
    stub_live_link:
        ["stp x30, xzr, [sp, #-16]!", "mov x30, x17"],
        ["mov x17, x30", "ldr x30, [sp], #16", "clrex", "ret x17"]
}
