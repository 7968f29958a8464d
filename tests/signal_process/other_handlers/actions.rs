//! A handler from before is called as the kernel would call it: with the signals blocked that it
//! has asked for, and once if it is to be reset.

use super::*;

/// Installs a handler of SIGURG during which `mask` is blocked too.
fn install_masked(handler: extern "C" fn(i32), flags: i32, mask: Option<i32>) {
    // SAFETY: zero is valid, and the handler is of the type that these flags ask for.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags | libc::SA_ONSTACK | libc::SA_RESTART;
        if let Some(signal) = mask {
            libc::sigaddset(&mut action.sa_mask, signal);
        }
        assert_eq!(libc::sigaction(libc::SIGURG, &action, ptr::null_mut()), 0);
    }
}

/// Whether SIGURG and SIGUSR1 are blocked.
fn blocked() -> (bool, bool) {
    // SAFETY: zero is valid, and the pointers are null or to a local.
    unsafe {
        let mut mask: libc::sigset_t = mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask);
        let is_in = |signal| libc::sigismember(&mask, signal) == 1;
        (is_in(libc::SIGURG), is_in(libc::SIGUSR1))
    }
}

static SAW_BLOCKED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn sees_blocked(_: i32) {
    let (urgent, user) = blocked();
    SAW_BLOCKED.store(usize::from(urgent) * 2 + usize::from(user), SeqCst);
    CALLS.fetch_add(1, SeqCst);
}

#[test]
fn a_handler_from_before_has_the_signals_blocked_that_it_has_asked_for() {
    let name = "a_handler_from_before_has_the_signals_blocked_that_it_has_asked_for";
    in_own_process(module_path!(), name, || {
        // Each is installed over ours, which the next run then installs over it.
        for (flags, mask, expected) in [
            (0, None, (true, false)),
            (0, Some(libc::SIGUSR1), (true, true)),
            (libc::SA_NODEFER, None, (false, false)),
            (libc::SA_NODEFER, Some(libc::SIGUSR1), (false, true)),
            (libc::SA_NODEFER, Some(libc::SIGURG), (true, false)),
        ] {
            install_masked(sees_blocked, flags, mask);
            let check = |caller| {
                assert_eq!(calls_by_sending(1, &CALLS), 1);
                let saw = SAW_BLOCKED.load(SeqCst);
                assert_eq!((saw & 2 != 0, saw & 1 != 0), expected, "called by {caller}");
                assert_eq!(blocked(), (false, false));
            };
            check("the kernel");
            preempt_some();
            check("our handler");
        }
    });
}

static DEPTH: AtomicUsize = AtomicUsize::new(0);

extern "C" fn sends_another(_: i32) {
    CALLS.fetch_add(1, SeqCst);
    if DEPTH.fetch_add(1, SeqCst) < 2 {
        Target::current().tgkill();
    }
    DEPTH.fetch_sub(1, SeqCst);
}

#[test]
fn a_handler_from_before_that_does_not_defer_is_called_within_itself() {
    let name = "a_handler_from_before_that_does_not_defer_is_called_within_itself";
    in_own_process(module_path!(), name, || {
        // Makes a signal stack that is large enough.
        preempt_some();
        install_masked(sends_another, libc::SA_NODEFER, None);
        assert_eq!(calls_by_sending(1, &CALLS), 3);
        preempt_some();
        assert_eq!(calls_by_sending(1, &CALLS), 3);
    });
}

#[test]
fn a_handler_from_before_that_is_reset_is_called_once() {
    let name = "a_handler_from_before_that_is_reset_is_called_once";
    in_own_process(module_path!(), name, || {
        for _ in 0..2 {
            install_masked(plain, libc::SA_RESETHAND, None);
            preempt_some();
            assert_eq!(calls_by_sending(10, &CALLS), 1);
            preempt_some();
            assert_eq!(calls_by_sending(10, &CALLS), 0);
        }
    });
}
