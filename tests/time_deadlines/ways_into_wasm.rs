//! A deadline in time is not missed, whichever instruction of the host's the timer's signal comes
//! before on the way back to Wasm: the CPU traps after each, and at one of them the signal, which
//! was blocked and is pending, is let through.

use super::support::*;
use std::arch::asm;
use std::cell::Cell;
use std::{mem, ptr};
use wasmtime_preempt::wasmtime::preempt::TimeDeadlineReached;
use wasmtime_preempt::wasmtime::{Caller, Engine, EpochDelivery, Func, Instance, Module, Store};

/// x86's trap flag.
const TF: i64 = 1 << 8;

/// How many instructions of the guest are stepped through after those of the host.
const IN_GUEST: usize = 4;

/// Calls the host, and computes for as long as a hung test may take, but for a deadline.
const GUEST: &str = r#"(module
    (import "" "call" (func $call))
    (func (export "call_and_compute") (local $n i64)
        (call $call)
        (loop $again
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $n) (i64.const 2000000000))))))"#;

std::thread_local! {
    static STEPS: Cell<Steps> = const {
        Cell::new(Steps { at: 0, done: 0, in_guest: 0, guest: (0, 0) })
    };
}

#[derive(Clone, Copy)]
struct Steps {
    /// Before which instruction the signal comes.
    at: usize,
    done: usize,
    in_guest: usize,
    /// Where the guest's code is.
    guest: (usize, usize),
}

extern "C" fn on_trap(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: this is what the kernel gives to a handler.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let pc = registers[libc::REG_RIP as usize] as usize;
    let mut steps = STEPS.get();
    steps.in_guest += usize::from((steps.guest.0..steps.guest.1).contains(&pc));
    if steps.done == steps.at || steps.in_guest == IN_GUEST {
        registers[libc::REG_EFL as usize] &= !TF;
        // SAFETY: the mask is plain data. It is that of what was interrupted.
        unsafe { libc::sigdelset(&raw mut context.uc_sigmask, libc::SIGURG) };
    }
    steps.done += 1;
    STEPS.set(steps);
}

fn install() {
    // SAFETY: a `sigaction` is plain data, for which zero is valid. The handler is what `SA_SIGINFO`
    // asks for.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = on_trap as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
    }
}

/// Waits until the timer's signal is pending, and has the CPU trap after each instruction.
fn begin() {
    // SAFETY: the sets are plain data, and `popfq` is told of by the absence of `nostack`.
    unsafe {
        let mut urgent: libc::sigset_t = mem::zeroed();
        libc::sigaddset(&mut urgent, libc::SIGURG);
        libc::pthread_sigmask(libc::SIG_BLOCK, &urgent, ptr::null_mut());
        loop {
            let mut pending: libc::sigset_t = mem::zeroed();
            libc::sigpending(&mut pending);
            if libc::sigismember(&pending, libc::SIGURG) == 1 {
                break;
            }
        }
        asm!("pushfq", "or qword ptr [rsp], 256", "popfq");
    }
}

#[test]
fn a_signal_before_any_instruction_of_the_hosts_is_not_missed() {
    install();
    let engine = Engine::new(&config(EpochDelivery::Signal)).unwrap();
    let module = Module::new(&engine, GUEST).unwrap();
    let code = module.text().as_ptr_range();
    for at in 0.. {
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let call = Func::wrap(&mut store, |_: Caller<'_, ()>| begin());
        let instance = Instance::new(&mut store, &module, &[call.into()]).unwrap();
        let compute = export::<(), ()>(&mut store, &instance, "call_and_compute");
        STEPS.set(Steps {
            at,
            done: 0,
            in_guest: 0,
            guest: (code.start.addr(), code.end.addr()),
        });
        store.set_time_deadline(wall(1)).unwrap();
        let Err(error) = compute.call(&mut store, ()) else {
            panic!("the deadline was missed before instruction {at}");
        };
        assert!(error.is::<TimeDeadlineReached>(), "{error:?}");
        if STEPS.get().in_guest == IN_GUEST {
            // The last ones were let through in the guest, where any may be interrupted.
            assert!(at > 100, "{at}");
            return;
        }
    }
}
