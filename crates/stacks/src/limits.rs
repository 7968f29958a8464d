//! Why the system refuses another stack.

use std::fs;
use std::io;
use wasmtime::{Error, format_err};

/// What cannot be done, to "map" a region or to "guard" stacks, with so many stacks in use that
/// are `stride` bytes apart.
pub(crate) fn refused(error: &io::Error, what: &str, in_use: usize, stride: usize) -> Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOMEM) => out_of_memory(),
        _ => "this is not a limit".to_string(),
    };
    format_err!(
        "cannot {what} one more stack besides the {in_use} of the slab that are in use, each with \
         {stride} bytes of address space: {error}; {why}"
    )
}

/// The limits that the system reports as "out of memory", the nearest first.
fn out_of_memory() -> String {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let address_space = address_space_limit();
    let mappings = number("/proc/sys/vm/max_map_count");
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let used = maps.lines().count() as u64;
    if let Some(mappings) = mappings.filter(|most| used + used / 16 >= *most) {
        return format!(
            "the process has {used} memory mappings of the {mappings} that it may have: raise \
             vm.max_map_count, or use a kernel with `Guards::Markers` (Linux 6.13)"
        );
    }
    if let Some(most) = address_space {
        return format!(
            "the process may have {most} bytes of address space (RLIMIT_AS): raise that with \
             `ulimit -v`, or use smaller stacks"
        );
    }
    if number("/proc/sys/vm/overcommit_memory") == Some(2) {
        return "the kernel counts all memory that is mapped, used or not \
                (vm.overcommit_memory=2): allow it more, or use smaller stacks"
            .to_string();
    }
    "the address space, the system's memory or that of the process's control group is used up: \
     use smaller stacks, or fewer threads"
        .to_string()
}

fn address_space_limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: it writes to `limit` only.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
    #[allow(
        clippy::unnecessary_cast,
        reason = "on other systems it is another type"
    )]
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur as u64)
}
