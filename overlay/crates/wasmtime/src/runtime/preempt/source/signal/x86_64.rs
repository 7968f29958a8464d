//! The x86-64 parts.

pub(in crate::runtime::preempt) mod frame;
mod stub;

use core::arch::asm;

/// How a process of the C library is started without a shadow stack.
pub(super) const WITHOUT_SHADOW_STACK: &str = "GLIBC_TUNABLES=glibc.cpu.x86_shstk=off";

/// Asks the kernel (Linux 6.6). A kernel without the call has no shadow stacks.
pub(super) fn shadow_stacks_are_on() -> bool {
    const ARCH_SHSTK_STATUS: libc::c_int = 0x5005;
    let mut status: u64 = 0;
    // SAFETY: `arch_prctl` writes to the local, or fails.
    let result = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SHSTK_STATUS, &raw mut status) };
    result == 0 && status & 1 != 0
}

/// Where this OS thread's thread-local variables are: no two that run have the same. Unlike a
/// thread-local variable, it costs no call, and the compiler does not keep it while a fiber goes to
/// another OS thread.
#[inline(always)]
pub(in crate::runtime::preempt) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: the ABI of x86-64 Linux has it there.
    unsafe {
        asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    pointer
}
