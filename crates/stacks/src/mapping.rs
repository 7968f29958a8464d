//! System calls.
//!
//! Guards: a page of a mapping that faults. `mprotect` makes one by dividing the mapping in
//! three, and a process may have 65,530 mappings. Since version 6.13, Linux marks pages in the
//! page table instead (`MADV_GUARD_INSTALL`). The mapping stays one, and the marks stay when
//! memory is given back and in forks.
//!
//! Rejected, by measurement (docs/design.md):
//! - To have the kernel fill in the first page of many stacks by one call
//!   (`MADV_POPULATE_WRITE`): what takes the time is clearing the page, not the fault.
//! - `MADV_FREE` for memory that is given back: the pages count as resident until the system is
//!   short of memory, and warm stacks are what saves faults already.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use wasmtime::{Result, bail};

/// How a stack is guarded against growing into the one below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guards {
    /// By a mark in the page table: `MADV_GUARD_INSTALL`, Linux 6.13 and newer. There may be
    /// as many stacks as there is memory for.
    Markers,
    /// By `mprotect`, on every system. Each stack takes two memory mappings. By default, Linux
    /// allows a process 65,530 of them (`vm.max_map_count`).
    Protection,
}

impl Guards {
    /// The wanted ones, or the best that there are.
    pub(crate) fn supported(wanted: Option<Guards>) -> Result<Guards> {
        static MARKERS: OnceLock<bool> = OnceLock::new();
        let markers = || *MARKERS.get_or_init(has_markers);
        match wanted {
            Some(Guards::Markers) if !markers() => bail!(
                "this system has no `Guards::Markers`, which are in Linux from version 6.13 on: \
                 `Guards::Protection` works everywhere"
            ),
            Some(wanted) => Ok(wanted),
            None if markers() => Ok(Guards::Markers),
            None => Ok(Guards::Protection),
        }
    }
}

fn has_markers() -> bool {
    let page = page_size();
    Mapping::new(2 * page).is_ok_and(|mapping| {
        let guard = mapping.start()..mapping.start() + page;
        mapping.guard(Guards::Markers, &[guard]).is_ok()
    })
}

pub(crate) fn page_size() -> usize {
    static PAGE_SIZE: OnceLock<usize> = OnceLock::new();
    *PAGE_SIZE.get_or_init(|| {
        // SAFETY: no preconditions.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(4096)
    })
}

/// Private memory, unmapped when this is dropped.
pub(crate) struct Mapping {
    start: usize,
    len: usize,
}

impl Mapping {
    /// `len` bytes of zeros, which take memory once they are written to, a page at a time.
    pub(crate) fn new(len: usize) -> io::Result<Mapping> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // Most of it will never be written to: only `vm.overcommit_memory=2` counts it.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, where the system likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A huge page would make 32 stacks resident as a whole. Kernels without them refuse.
        #[cfg(target_os = "linux")]
        // SAFETY: it changes how the mapping is backed, not what is in it.
        unsafe {
            libc::madvise(start, len, libc::MADV_NOHUGEPAGE);
        }
        Ok(Mapping {
            start: start as usize,
            len,
        })
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes these parts of it, which hold nothing, inaccessible. If that fails, some may be.
    pub(crate) fn guard(&self, guards: Guards, parts: &[Range<usize>]) -> io::Result<()> {
        let end = self.start + self.len;
        assert!(
            parts
                .iter()
                .all(|part| self.start <= part.start && part.end <= end)
        );
        match guards {
            Guards::Markers => advise(parts, Advice::Guard),
            Guards::Protection => parts.iter().try_for_each(|part| {
                let start = part.start as *mut libc::c_void;
                // SAFETY: I27. It is of this mapping, and nobody uses it.
                match unsafe { libc::mprotect(start, part.len(), libc::PROT_NONE) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            }),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: I27. Nobody uses a part of it any more. If it fails, the memory is lost.
        unsafe {
            libc::munmap(self.start as *mut libc::c_void, self.len);
        }
    }
}

/// Gives the memory of `stacks`, which nobody uses, back to the system. They are then zeros.
/// Without their guards, which stay.
///
/// If the system refuses, they keep it.
pub(crate) fn give_back(stacks: &[Range<usize>]) {
    let _ = advise(stacks, Advice::DontNeed);
}

/// Fills `stack`, which nobody uses, with zeros.
pub(crate) fn zero(stack: Range<usize>) {
    // Elsewhere the advice may leave the contents as they are.
    if cfg!(target_os = "linux") && advise(std::slice::from_ref(&stack), Advice::DontNeed).is_ok() {
        return;
    }
    // SAFETY: I27. It is of a mapping, and nobody uses it.
    unsafe { ptr::write_bytes(stack.start as *mut u8, 0, stack.len()) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Advice {
    DontNeed,
    Guard,
}

#[cfg(target_os = "linux")]
fn advise(parts: &[Range<usize>], advice: Advice) -> io::Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Whether the kernel takes many ranges of the calling process in one call, and knows [`SELF`].
    static MANY: AtomicBool = AtomicBool::new(true);
    /// `PIDFD_SELF`. A file descriptor would mean the parent after a fork.
    const SELF: libc::c_int = -10000;
    /// `UIO_MAXIOV`.
    const MOST: usize = 1024;

    let mut done = 0;
    if parts.len() > 1 && MANY.load(Ordering::Relaxed) {
        for parts in parts.chunks(MOST) {
            let vector = parts.iter().map(|part| libc::iovec {
                iov_base: part.start as *mut libc::c_void,
                iov_len: part.len(),
            });
            let vector: Vec<_> = vector.collect();
            let all: usize = parts.iter().map(ExactSizeIterator::len).sum();
            // SAFETY: I27. As for `one` below, and `vector` has that many entries.
            let advised = unsafe {
                libc::syscall(
                    libc::SYS_process_madvise,
                    SELF,
                    vector.as_ptr(),
                    vector.len(),
                    advice.number(),
                    0,
                )
            };
            if usize::try_from(advised) == Ok(all) {
                done += parts.len();
                continue;
            }
            // Too old, or it has done some. Doing them again does no harm.
            let error = io::Error::last_os_error();
            let cannot = [libc::EINVAL, libc::ENOSYS, libc::EPERM, libc::EBADF];
            if advised < 0 && error.raw_os_error().is_some_and(|e| cannot.contains(&e)) {
                MANY.store(false, Ordering::Relaxed);
            }
            break;
        }
    }
    parts[done..].iter().try_for_each(|part| one(part, advice))
}

#[cfg(not(target_os = "linux"))]
fn advise(parts: &[Range<usize>], advice: Advice) -> io::Result<()> {
    match advice {
        Advice::Guard => Err(io::ErrorKind::Unsupported.into()),
        Advice::DontNeed => parts.iter().try_for_each(|part| one(part, advice)),
    }
}

fn one(part: &Range<usize>, advice: Advice) -> io::Result<()> {
    let start = part.start as *mut libc::c_void;
    loop {
        // SAFETY: I27. It is of a mapping of this crate, and nobody uses it.
        if unsafe { libc::madvise(start, part.len(), advice.number()) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // A guard was not made because somebody else changed the page table meanwhile.
        let again = [Some(libc::EINTR), Some(libc::EAGAIN)].contains(&error.raw_os_error());
        if !(again && advice == Advice::Guard) {
            return Err(error);
        }
    }
}

impl Advice {
    fn number(self) -> libc::c_int {
        match self {
            Advice::DontNeed => libc::MADV_DONTNEED,
            // `MADV_GUARD_INSTALL`.
            Advice::Guard => 102,
        }
    }
}
