//! The trap flag: there is a SIGTRAP before each instruction that follows, also in the host.

use super::{Plan, Seen, frames, interrupt};
use crate::signal::support::*;
use std::arch::asm;
use std::cell::{Cell, RefCell};
use std::mem;
use std::ops::Range;
use std::ptr;
use std::sync::Once;

/// x86's trap flag.
const TF: i64 = 1 << 8;
const RET: u8 = 0xc3;
const RET_IMM16: u8 = 0xc2;
const PUSHFQ: u8 = 0x9c;

/// How many instructions of the host are stepped through under [`Plan::Each`]: twice as many as on
/// the way to the first function. Few libcalls take more.
const HOST_INSTRUCTIONS: u64 = 4_000;

struct Stepper {
    plan: Cell<Plan>,
    /// Where functions are, and which.
    functions: RefCell<Vec<(Range<usize>, u32)>>,
    /// The functions that were called and have not returned, oldest first.
    calls: RefCell<Vec<u32>>,
    /// Where the last instruction was, if in a function, and `rsp` then.
    last: Cell<Option<(usize, usize)>>,
    /// `rsp` at the first instruction in a function.
    first_sp: Cell<Option<usize>>,
    /// Where threads were preempted and have not been resumed, and `rsp` then.
    suspended: RefCell<Vec<(usize, usize)>>,
    seen: RefCell<Seen>,
    /// How many instructions of the host were stepped through.
    host: Cell<u64>,
    /// Where the last instruction of the host was, if not in a function.
    last_in_host: Cell<Option<usize>>,
    /// Whether the stub has saved the trap flag, and will restore it.
    flag_is_saved: Cell<bool>,
    /// Called before each preemption.
    before: Cell<fn()>,
}

std::thread_local! {
    static STEPPER: Stepper = const {
        Stepper {
            plan: Cell::new(Plan::Off),
            before: Cell::new(|| {}),
            functions: RefCell::new(Vec::new()),
            calls: RefCell::new(Vec::new()),
            last: Cell::new(None),
            first_sp: Cell::new(None),
            suspended: RefCell::new(Vec::new()),
            last_in_host: Cell::new(None),
            host: Cell::new(0),
            flag_is_saved: Cell::new(false),
            seen: RefCell::new(Seen {
                instructions: 0,
                preempted: 0,
                put_off: 0,
                mistake: None,
            }),
        }
    };
}

/// Makes `plan` what the next call of [`start`] on this OS thread begins.
/// `modules` are all whose functions will be stepped through, and `caller` is the
/// function that will call `start`. Without it frames are not looked at.
pub fn prepare(plan: Plan, modules: &[&Module], caller: Option<u32>) {
    install();
    STEPPER.with(|stepper| {
        let mut functions = stepper.functions.borrow_mut();
        functions.clear();
        for module in modules {
            let text = module.text().as_ptr() as usize;
            functions.extend(module.functions().map(|function| {
                let start = text + function.offset;
                (start..start + function.len, function.index.as_u32())
            }));
        }
        functions.sort_unstable_by_key(|(range, _)| range.start);
        let mut calls = stepper.calls.borrow_mut();
        calls.clear();
        calls.reserve(1_000);
        calls.extend(caller);
        stepper.last.set(None);
        stepper.first_sp.set(None);
        stepper.last_in_host.set(None);
        stepper.flag_is_saved.set(false);
        let mut suspended = stepper.suspended.borrow_mut();
        suspended.clear();
        suspended.reserve(1_000);
        stepper.seen.replace(Seen::default());
        stepper.host.set(0);
        stepper.plan.set(plan);
    });
}

/// Has `before` called before each preemption by this OS thread's handler.
pub fn before_each(before: fn()) {
    STEPPER.with(|stepper| stepper.before.set(before));
}

/// Whether anything was preempted since [`prepare`].
#[cfg(feature = "call-hook")]
pub fn has_preempted() -> bool {
    STEPPER.with(|stepper| stepper.seen.borrow().preempted > 0)
}

/// What was seen since [`prepare`].
pub fn seen() -> Seen {
    stop();
    STEPPER.with(|stepper| {
        stepper.plan.set(Plan::Off);
        stepper.seen.take()
    })
}

/// For a host function: stepping begins.
pub fn start() {
    let plan = STEPPER.with(|stepper| stepper.plan.get());
    if plan != Plan::Off {
        // SAFETY: it pushes and pops, which the compiler is told of by the absence
        // of `nostack`. The handler of SIGTRAP is installed.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 256", "popfq") };
    }
}

/// For a host function: stepping ends for the guest thread that called it.
pub fn stop() {
    // SAFETY: as above.
    unsafe { asm!("pushfq", "and qword ptr [rsp], -257", "popfq") };
}

/// For a scheduler that has picked a thread, under [`Plan::Each`]: `stepped` if that is the one
/// to step through.
pub fn pick(stepped: bool) {
    stop();
    if stepped && !STEPPER.with(|stepper| stepper.flag_is_saved.take()) {
        start();
    }
}

fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // SAFETY: a `sigaction` is plain data, for which zero is valid. The
        // handler is what `SA_SIGINFO` asks for.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action.sa_sigaction = on_trap as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
        }
    });
}

extern "C" fn on_trap(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: this is what the kernel gives to a handler.
    STEPPER.with(|stepper| unsafe { stepper.step(context) });
}

impl Stepper {
    /// # Safety
    ///
    /// `context` is what the kernel gave to the handler that calls this.
    unsafe fn step(&self, context: *mut libc::c_void) {
        // SAFETY: this function's own contract.
        let registers = unsafe { registers(context) };
        let pc = registers[libc::REG_RIP as usize] as usize;
        let sp = registers[libc::REG_RSP as usize] as usize;
        let plan = self.plan.get();
        let Some((function, id)) = self.function_at(pc) else {
            self.host.set(self.host.get() + 1);
            if let Some((last_pc, last_sp)) = self.last.take() {
                // SAFETY: the code is readable.
                let opcode = unsafe { (last_pc as *const u8).read() };
                let is_call = sp == last_sp - 8;
                let is_return = matches!(opcode, RET | RET_IMM16);
                // What is stepped through after a trap is the unwinder.
                let is_trap = !is_call && !is_return;
                let is_end = is_return && self.first_sp.get() < Some(sp);
                if is_trap || is_end && matches!(plan, Plan::Each(_)) {
                    // SAFETY: this function's own contract.
                    unsafe { self.step_no_more(context) };
                }
            }
            // SAFETY: this function's own contract.
            if plan == Plan::Always && unsafe { interrupt(context) } {
                self.complain(pc, "preempted in host code");
            }
            if let Plan::Each(_) = plan {
                // SAFETY: this function's own contract.
                unsafe { self.pass_through_host(context, pc) };
            }
            return;
        };
        self.last_in_host.set(None);
        if self.first_sp.get().is_none() {
            self.first_sp.set(Some(sp));
        }
        if self.is_resumed(pc, sp) {
            if let Plan::Each(_) = plan {
                self.last.set(Some((pc, sp)));
            }
            return;
        }
        // SAFETY: the code is readable, and so is what `rsp` points to.
        unsafe { self.follow(pc, sp, function.start, id) };
        self.last.set(Some((pc, sp)));
        let number = {
            let mut seen = self.seen.borrow_mut();
            seen.instructions += 1;
            seen.instructions - 1
        };
        if matches!(plan, Plan::Always | Plan::Each(_)) || plan == Plan::At(number) {
            // SAFETY: this function's own contract.
            unsafe { self.preempt(context, pc, sp) };
        }
        let is_last = match plan {
            Plan::Each(count) => number + 1 == count,
            _ => plan == Plan::At(number),
        };
        if is_last {
            // SAFETY: this function's own contract.
            unsafe { self.step_no_more(context) };
        }
    }

    /// # Safety
    ///
    /// As [`Stepper::step`].
    unsafe fn step_no_more(&self, context: *mut libc::c_void) {
        // SAFETY: this function's own contract.
        unsafe { registers_mut(context)[libc::REG_EFL as usize] &= !TF };
        self.plan.set(Plan::Off);
    }

    /// Stops stepping where the stub has saved the flag, and where it takes too long.
    ///
    /// # Safety
    ///
    /// As [`Stepper::step`].
    unsafe fn pass_through_host(&self, context: *mut libc::c_void, pc: usize) {
        let last = self.last_in_host.replace(Some(pc));
        let in_stub = !self.suspended.borrow().is_empty();
        // SAFETY: the code is readable.
        let opcode = last.map(|last| unsafe { (last as *const u8).read() });
        let is_saved = in_stub && opcode == Some(PUSHFQ);
        if is_saved {
            self.flag_is_saved.set(true);
        }
        if is_saved || self.host.get() > HOST_INSTRUCTIONS {
            // SAFETY: this function's own contract.
            unsafe { registers_mut(context)[libc::REG_EFL as usize] &= !TF };
        }
    }

    fn function_at(&self, pc: usize) -> Option<(Range<usize>, u32)> {
        let functions = self.functions.borrow();
        let next = functions.partition_point(|(range, _)| range.start <= pc);
        let (range, id) = functions.get(next.checked_sub(1)?)?;
        range.contains(&pc).then(|| (range.clone(), *id))
    }

    /// Whether the last instruction was the one that resumed a thread here, which
    /// has got no further yet.
    fn is_resumed(&self, pc: usize, sp: usize) -> bool {
        let mut suspended = self.suspended.borrow_mut();
        let here = suspended.iter().position(|place| *place == (pc, sp));
        match here {
            Some(here) if self.last.get().is_none() => {
                suspended.swap_remove(here);
                true
            }
            _ => false,
        }
    }

    /// Keeps `calls` up to date.
    ///
    /// # Safety
    ///
    /// The last instruction is readable.
    unsafe fn follow(&self, pc: usize, sp: usize, start: usize, id: u32) {
        let mut calls = self.calls.borrow_mut();
        if calls.is_empty() {
            return;
        }
        if let Some((last_pc, last_sp)) = self.last.get() {
            // SAFETY: this function's own contract.
            let last_opcode = unsafe { (last_pc as *const u8).read() };
            if pc == start && sp == last_sp - 8 {
                calls.push(id);
            } else if pc == start {
                // A tail call.
                calls.pop();
                calls.push(id);
            } else if matches!(last_opcode, RET | RET_IMM16) {
                calls.pop();
            }
        }
        if calls.last() != Some(&id) {
            drop(calls);
            self.complain(pc, "the test itself has lost track of the calls");
        }
    }

    /// # Safety
    ///
    /// As [`Stepper::step`], at an instruction of a function.
    unsafe fn preempt(&self, context: *mut libc::c_void, pc: usize, sp: usize) {
        self.before.get()();
        // SAFETY: this function's own contract.
        if !unsafe { interrupt(context) } {
            self.seen.borrow_mut().put_off += 1;
            return;
        }
        self.seen.borrow_mut().preempted += 1;
        self.last.set(None);
        self.suspended.borrow_mut().push((pc, sp));
        // SAFETY: as above.
        let registers = unsafe { registers(context) };
        let sp = registers[libc::REG_RSP as usize] as usize;
        let fp = registers[libc::REG_RBP as usize] as usize;
        let calls = self.calls.borrow();
        let function_at = |pc| self.function_at(pc).map(|(_, id)| id);
        // SAFETY: `sp` is on the stack of the guest, where the stub will return to, with its frames
        // above.
        let compared = unsafe {
            let pc = (sp as *const usize).read();
            frames::compare(&calls, function_at, pc, sp, fp, None)
        };
        drop(calls);
        if let Err(mistake) = compared {
            self.complain(pc, &mistake);
        }
    }

    fn complain(&self, pc: usize, what: &str) {
        let place = match self.function_at(pc) {
            Some((function, id)) => {
                // SAFETY: the code is readable.
                let code = unsafe {
                    std::slice::from_raw_parts(pc as *const u8, 16.min(function.end - pc))
                };
                format!("function {id} + {:#x} ({code:02x?})", pc - function.start)
            }
            None => format!("{pc:#x}"),
        };
        let mut seen = self.seen.borrow_mut();
        seen.mistake
            .get_or_insert_with(|| format!("at {place}: {what}"));
    }
}

/// # Safety
///
/// `context` is what the kernel gave to a handler that has not returned.
unsafe fn registers(context: *mut libc::c_void) -> [i64; 23] {
    // SAFETY: this function's own contract.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}

/// # Safety
///
/// As [`registers`], and the result is the only reference.
unsafe fn registers_mut<'a>(context: *mut libc::c_void) -> &'a mut [i64; 23] {
    // SAFETY: this function's own contract.
    unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}
