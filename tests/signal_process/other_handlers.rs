//! Other users of signals in the process, and what signals usually break, go on as
//! if there were no timers. What is the whole process's is tested in one of its own.

mod actions;
mod system_calls;

use super::flood::{Flood, Target};
use super::*;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

type InfoHandler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs a handler, and returns what was there.
fn install(signal: i32, handler: usize, flags: i32) -> libc::sigaction {
    // SAFETY: zero is valid for both, and the handler is of the type that `flags`
    // asks for.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags | libc::SA_ONSTACK | libc::SA_RESTART;
        let mut previous = mem::zeroed();
        assert_eq!(libc::sigaction(signal, &action, &mut previous), 0);
        previous
    }
}

/// The handler of SIGURG that there is.
fn installed() -> libc::sigaction {
    // SAFETY: zero is valid, and the pointers are null or to a local.
    unsafe {
        let mut action = mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGURG, ptr::null(), &mut action), 0);
        action
    }
}

/// An embedder's handler of SIGURG.
pub fn install_with_info(handler: InfoHandler) -> libc::sigaction {
    install(libc::SIGURG, handler as usize, libc::SA_SIGINFO)
}

fn install_plain(handler: extern "C" fn(i32)) -> libc::sigaction {
    install(libc::SIGURG, handler as usize, 0)
}

/// Two spinners, which are preempted often. Returns how often.
fn preempt_some() -> u64 {
    let engine = engine();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine, ());
    spawn_spinner(&mut store, &module);
    spawn_spinner(&mut store, &module);
    let mut preemptions = 0;
    while preemptions < 20 {
        preemptions += store.run_wasm_threads_for(ms(20)).unwrap().preemptions;
    }
    preemptions
}

static CALLS: AtomicU64 = AtomicU64::new(0);

static OLDER_CALLS: AtomicU64 = AtomicU64::new(0);

static TIMER_CALLS: AtomicU64 = AtomicU64::new(0);

extern "C" fn plain(signal: i32) {
    assert_eq!(signal, libc::SIGURG);
    CALLS.fetch_add(1, SeqCst);
}

extern "C" fn with_info(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: this is what the kernel gave to a handler with `SA_SIGINFO`.
    let info = unsafe { &*info };
    assert_eq!(
        (signal, info.si_signo, info.si_code),
        (libc::SIGURG, libc::SIGURG, libc::SI_TKILL)
    );
    assert!(!context.is_null());
    CALLS.fetch_add(1, SeqCst);
}

extern "C" fn older(_: i32) {
    OLDER_CALLS.fetch_add(1, SeqCst);
}

/// Sends this OS thread as many signals, which are received at once, and returns
/// how often `calls` was called by that.
fn calls_by_sending(signals: u64, calls: &AtomicU64) -> u64 {
    let before = calls.load(SeqCst);
    for _ in 0..signals {
        Target::current().tgkill();
    }
    calls.load(SeqCst) - before
}

/// That the handler which `install` installs gets all stray signals and no other.
fn gets_stray_signals_only<T>(install: impl FnOnce() -> T) {
    install();
    preempt_some();
    assert_eq!(CALLS.load(SeqCst), 0);
    assert_eq!(calls_by_sending(1_000, &CALLS), 1_000);
    preempt_some();
    assert_eq!(CALLS.load(SeqCst), 1_000);
}

#[test]
fn a_handler_with_info_from_before_gets_all_stray_signals_and_no_other() {
    let name = "a_handler_with_info_from_before_gets_all_stray_signals_and_no_other";
    in_own_process(module_path!(), name, || {
        gets_stray_signals_only(|| install_with_info(with_info));
    });
}

#[test]
fn a_plain_handler_from_before_gets_all_stray_signals_and_no_other() {
    let name = "a_plain_handler_from_before_gets_all_stray_signals_and_no_other";
    in_own_process(module_path!(), name, || {
        gets_stray_signals_only(|| install_plain(plain));
    });
}

#[test]
fn a_handler_that_replaces_ours_is_chained_from_the_next_run_on() {
    let name = "a_handler_that_replaces_ours_is_chained_from_the_next_run_on";
    in_own_process(module_path!(), name, || {
        preempt_some();
        // The timer is still set, and whoever has the handler gets its signal.
        thread::sleep(Duration::from_millis(100));
        let ours = install_plain(plain);
        assert_ne!(ours.sa_sigaction, libc::SIG_DFL);
        assert_eq!(calls_by_sending(10, &CALLS), 10);
        for _ in 0..3 {
            preempt_some();
            assert_eq!(calls_by_sending(10, &CALLS), 10);
        }
    });
}

#[test]
fn a_signal_that_another_handler_has_got_between_runs_is_not_waited_for() {
    let name = "a_signal_that_another_handler_has_got_between_runs_is_not_waited_for";
    in_own_process(module_path!(), name, || {
        for _ in 0..10 {
            // Most likely the timer is set when this is over.
            preempt_some();
            install_plain(plain);
            thread::sleep(Duration::from_millis(50));
            // Hangs if nobody sets it again.
            preempt_some();
        }
    });
}

/// The handler that `chaining` hands on to.
static CHAINED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn chaining(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: this is what the kernel gave to a handler with `SA_SIGINFO`.
    match unsafe { (*info).si_code } {
        libc::SI_TIMER => TIMER_CALLS.fetch_add(1, SeqCst),
        _ => CALLS.fetch_add(1, SeqCst),
    };
    // SAFETY: what was there before is a handler with `SA_SIGINFO`.
    let chained: InfoHandler = unsafe { mem::transmute(CHAINED.load(SeqCst)) };
    chained(signal, info, context);
}

fn install_chaining() {
    // The next signal may come as soon as the handler is there.
    let previous = installed();
    assert_ne!(previous.sa_flags & libc::SA_SIGINFO, 0);
    CHAINED.store(previous.sa_sigaction, SeqCst);
    install_with_info(chaining);
}

#[test]
fn handlers_that_chain_to_each_other_come_to_an_end() {
    let name = "handlers_that_chain_to_each_other_come_to_an_end";
    in_own_process(module_path!(), name, || {
        preempt_some();
        install_chaining();
        // Now ours chains to it, and it to ours.
        preempt_some();
        assert_eq!(calls_by_sending(1_000, &CALLS), 1_000);
        Flood::here(|_| preempt_some());
        assert_eq!(calls_by_sending(1_000, &CALLS), 1_000);
    });
}

#[test]
fn a_handler_from_before_is_still_chained_when_a_later_one_chains_to_ours() {
    let name = "a_handler_from_before_is_still_chained_when_a_later_one_chains_to_ours";
    in_own_process(module_path!(), name, || {
        install_plain(older);
        preempt_some();
        install_chaining();
        assert_eq!(calls_by_sending(100, &OLDER_CALLS), 100);
        preempt_some();
        assert_eq!(calls_by_sending(100, &CALLS), 100);
        assert_eq!(calls_by_sending(100, &OLDER_CALLS), 100);
    });
}

#[test]
fn a_handler_that_is_installed_during_a_run_and_chains_lets_slices_end() {
    let name = "a_handler_that_is_installed_during_a_run_and_chains_lets_slices_end";
    in_own_process(module_path!(), name, || {
        let engine = engine();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = store(&engine, ());
        let host = Func::wrap(&mut store, install_chaining);
        store.spawn_wasm_thread(host, &[]).unwrap();
        let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
        assert_slices_end(&mut store, us(50), &spinners);
        assert!(TIMER_CALLS.load(SeqCst) > 10);
    });
}

#[test]
fn no_signal_comes_when_no_run_is_on() {
    in_own_process(module_path!(), "no_signal_comes_when_no_run_is_on", || {
        let engine = engine();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut stores = [(); 2].map(|()| store(&engine, ()));
        // Makes this OS thread's timer, and our handler the chained one.
        for store in &mut stores {
            for _ in 0..20 {
                spawn_spinner(store, &module);
            }
            store.run_wasm_threads_for(ms(2)).unwrap();
        }
        install_chaining();
        let [mut first, second] = stores;
        busy_for(ms(2));
        assert_eq!(TIMER_CALLS.load(SeqCst), 0, "after a run");
        assert_eq!(first.shutdown_wasm_threads(), 20);
        busy_for(ms(2));
        assert_eq!(TIMER_CALLS.load(SeqCst), 0, "after a shutdown");
        drop(second);
        busy_for(ms(2));
        assert_eq!(TIMER_CALLS.load(SeqCst), 0, "after a store was dropped");
        // The handler would have told.
        let mut third = store(&engine, ());
        let host = Func::wrap(&mut third, install_chaining);
        third.spawn_wasm_thread(host, &[]).unwrap();
        spawn_spinner(&mut third, &module);
        third.run_wasm_threads_for(ms(2)).unwrap();
        assert!(TIMER_CALLS.load(SeqCst) > 0);
    });
}

/// Each ends in its own trap after so many turns of a loop.
const FAULTS: &str = r#"
(module
  (memory 1)
  (table 2 2 funcref)
  (type $other (func (param i64)))
  (elem (i32.const 0) $spin)
  (func $spin (param i32)
    (loop $again
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "load") (param i32)
    (call $spin (local.get 0))
    (drop (i64.load offset=4096 (i32.const 0x7fff0000))))
  (func (export "store") (param i32)
    (call $spin (local.get 0))
    (v128.store (i32.const -100) (v128.const i64x2 1 2)))
  (func (export "divide") (param i32)
    (call $spin (local.get 0))
    (drop (i32.div_s (i32.const 1) (i32.and (local.get 0) (i32.const 0)))))
  (func (export "divide_overflow") (param i32)
    (call $spin (local.get 0))
    (drop (i64.div_s (i64.const 0x8000000000000000) (i64.sub (i64.const 0) (i64.const 1)))))
  (func (export "convert") (param i32)
    (call $spin (local.get 0))
    (drop (i32.trunc_f64_s (f64.div (f64.const 0) (f64.convert_i32_u (i32.and (local.get 0) (i32.const 0)))))))
  (func (export "unreachable") (param i32)
    (call $spin (local.get 0))
    unreachable)
  (func (export "call_null") (param i32)
    (call $spin (local.get 0))
    (call_indirect (param i32) (i32.const 1) (i32.const 1)))
  (func (export "call_other") (param i32)
    (call $spin (local.get 0))
    (call_indirect (type $other) (i64.const 1) (i32.const 0)))
  (func $overflow (export "overflow") (param i32)
    (call $spin (i32.const 50))
    (call $overflow (local.get 0))))
"#;

const TRAPS: [(&str, Trap); 9] = [
    ("load", Trap::MemoryOutOfBounds),
    ("store", Trap::MemoryOutOfBounds),
    ("divide", Trap::IntegerDivisionByZero),
    ("divide_overflow", Trap::IntegerOverflow),
    ("convert", Trap::BadConversionToInteger),
    ("unreachable", Trap::UnreachableCodeReached),
    ("call_null", Trap::IndirectCallToNull),
    ("call_other", Trap::BadSignature),
    ("overflow", Trap::StackOverflow),
];

/// Guests that end in traps while slices of 50 us do. Returns the preemptions.
fn fault(rounds: usize) -> u64 {
    let engine = engine();
    let module = Module::new(&engine, FAULTS).unwrap();
    let mut random = Random::new(2);
    let mut preemptions = 0;
    for _ in 0..rounds {
        let mut store = store(&engine, ());
        let threads: Vec<_> = (0..54)
            .map(|i| {
                let (export, trap) = TRAPS[i % TRAPS.len()];
                let turns = 1 + random.below(60_000) as i32;
                (
                    spawn(&mut store, &module, export, &[Val::I32(turns)]),
                    export,
                    trap,
                )
            })
            .collect();
        preemptions += run_all(&mut store).preemptions;
        for (id, export, trap) in threads {
            assert_eq!(trap_of(&mut store, id), trap, "{export}");
        }
    }
    preemptions
}

#[test]
fn guests_that_fault_trap_as_ever() {
    let preemptions = fault(40);
    assert!(preemptions > 200, "{preemptions}");
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn guests_that_fault_50_000_times_trap_as_ever() {
    println!("- {} preemptions beside 54,000 traps", fault(1_000));
}

static SAMPLES: AtomicU64 = AtomicU64::new(0);

extern "C" fn sample(_: i32) {
    SAMPLES.fetch_add(1, SeqCst);
}

#[test]
fn a_profiler_samples_beside_slices_and_traps() {
    let name = "a_profiler_samples_beside_slices_and_traps";
    in_own_process(module_path!(), name, || {
        install(libc::SIGPROF, sample as extern "C" fn(i32) as usize, 0);
        let time = libc::timeval {
            tv_sec: 0,
            tv_usec: 1_000,
        };
        let timer = libc::itimerval {
            it_interval: time,
            it_value: time,
        };
        // SAFETY: the pointers are null or to a local.
        unsafe {
            assert_eq!(
                libc::setitimer(libc::ITIMER_PROF, &timer, ptr::null_mut()),
                0
            )
        };
        let engine = engine();
        let mut store = store(&engine, ());
        let jobs = jobs(&mut store);
        while SAMPLES.load(SeqCst) < 100 {
            run_until(&mut store, &jobs, 100);
            fault(1);
        }
    });
}
