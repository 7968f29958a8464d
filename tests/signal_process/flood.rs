//! SIGURG where nobody has asked for it.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn pthread_sigqueue(
        thread: libc::pthread_t,
        signal: libc::c_int,
        value: libc::sigval,
    ) -> libc::c_int;
}

/// What a forged signal carries.
pub const FORGED: usize = 0x5afe;

/// An OS thread of this process.
#[derive(Clone, Copy)]
pub struct Target {
    tid: libc::pid_t,
    thread: libc::pthread_t,
}

impl Target {
    /// The calling OS thread.
    pub fn current() -> Target {
        // SAFETY: no preconditions.
        unsafe {
            Target {
                tid: libc::gettid(),
                thread: libc::pthread_self(),
            }
        }
    }

    /// Sends SIGURG in one of the ways that there are.
    ///
    /// # Safety
    ///
    /// The OS thread has not ended.
    pub unsafe fn send(self, way: u64) {
        match way % 4 {
            0 => self.tgkill(),
            // SAFETY: this function's own contract.
            1 => unsafe { assert_eq!(libc::pthread_kill(self.thread, libc::SIGURG), 0) },
            2 => {
                let value = libc::sigval {
                    sival_ptr: std::ptr::without_provenance_mut(FORGED),
                };
                // SAFETY: this function's own contract.
                let result = unsafe { pthread_sigqueue(self.thread, libc::SIGURG, value) };
                assert!(result == 0 || result == libc::EAGAIN, "{result}");
            }
            _ => self.forge(),
        }
    }

    pub fn tgkill(self) {
        // SAFETY: no preconditions.
        let result =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, libc::SIGURG) };
        assert_eq!(result, 0);
    }

    /// Sends what looks like the signal of a timer, but for the value.
    pub fn forge(self) {
        /// `siginfo_t` as a timer fills it in.
        #[repr(C)]
        struct Info {
            signal: i32,
            errno: i32,
            code: i32,
            padding: i32,
            timer: i32,
            overrun: i32,
            value: usize,
            rest: [u64; 12],
        }
        let info = Info {
            signal: libc::SIGURG,
            errno: 0,
            code: libc::SI_TIMER,
            padding: 0,
            timer: 1,
            overrun: 0,
            value: FORGED,
            rest: [0; 12],
        };
        assert_eq!(mem::size_of::<Info>(), mem::size_of::<libc::siginfo_t>());
        // SAFETY: the pointer is to as many bytes as the kernel reads.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_tgsigqueueinfo,
                libc::getpid(),
                self.tid,
                libc::SIGURG,
                &raw const info,
            )
        };
        assert!(result == 0 || last_errno() == libc::EAGAIN);
    }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sends SIGURG to OS threads as fast as it can, in every way, until it is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// # Safety
    ///
    /// The targets do not end before this is dropped.
    pub unsafe fn start(targets: &[Target]) -> Flood {
        // SAFETY: this function's own contract.
        unsafe { Flood::with_pauses(targets, Duration::ZERO) }
    }

    /// # Safety
    ///
    /// As [`Flood::start`].
    unsafe fn with_pauses(targets: &[Target], pause: Duration) -> Flood {
        let targets = targets.to_vec();
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, sent) = (stop.clone(), sent.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    let target = targets[n as usize % targets.len()];
                    // SAFETY: this function's own contract.
                    unsafe { target.send(n / targets.len() as u64) };
                    let sent = Instant::now();
                    while sent.elapsed() < pause {
                        std::hint::spin_loop();
                    }
                }
            }
        });
        Flood {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// Floods the calling OS thread while `body` runs.
    pub fn here<R>(body: impl FnOnce(&Flood) -> R) -> R {
        // SAFETY: the OS thread goes on after the flood is over.
        let flood = unsafe { Flood::start(&[Target::current()]) };
        body(&flood)
    }

    /// As [`Flood::here`], but leaves the OS thread time to do something else than to
    /// receive signals.
    pub fn here_with_pauses<R>(body: impl FnOnce() -> R) -> R {
        let target = Target::current();
        // SAFETY: the OS thread goes on after the flood is over.
        let _flood = unsafe { Flood::with_pauses(&[target], Duration::from_micros(20)) };
        body()
    }

    /// How many it has sent. The kernel merges those that nobody has received yet.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            joined.unwrap().unwrap();
        }
    }
}
