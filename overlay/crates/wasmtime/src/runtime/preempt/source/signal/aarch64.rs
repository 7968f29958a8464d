//! The aarch64 parts.

pub(in crate::runtime::preempt) mod frame;
mod stub;

use core::arch::asm;

/// How a process of the C library is started without a shadow stack.
pub(super) const WITHOUT_SHADOW_STACK: &str = "GLIBC_TUNABLES=glibc.cpu.aarch64_gcs=0";

/// Asks the kernel (Linux 6.13) for a guarded control stack. A kernel without the call has none.
pub(super) fn shadow_stacks_are_on() -> bool {
    const PR_GET_SHADOW_STACK_STATUS: libc::c_int = 74;
    const PR_SHADOW_STACK_ENABLE: u64 = 1;
    let (mut status, none): (u64, u64) = (0, 0);
    // SAFETY: `prctl` writes to the local, or fails.
    let result = unsafe {
        libc::prctl(
            PR_GET_SHADOW_STACK_STATUS,
            &raw mut status,
            none,
            none,
            none,
        )
    };
    result == 0 && status & PR_SHADOW_STACK_ENABLE != 0
}

/// Where this OS thread's thread-local variables are: no two that run have the same. Unlike a
/// thread-local variable, it costs no call, and the compiler does not keep it while a fiber goes to
/// another OS thread.
#[inline(always)]
pub(in crate::runtime::preempt) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: the ABI of aarch64 Linux has it there.
    unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    pointer
}
