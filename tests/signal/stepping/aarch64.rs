//! Breakpoints: a process cannot have its own CPU trap after each instruction, so a `brk` is put
//! in the place of those that may be next.
//!
//! ```text
//!   start         a breakpoint at the entry of every function, and after every call
//!   SIGTRAP       all instructions are back in their places: look at them, and perhaps preempt
//!                 a breakpoint at whatever may come after this one, and at all earlier places
//!                   but this one, which is executed next
//! ```
//!
//! So the code that the signal handler under test looks at is the compiler's. The host is not
//! stepped through.

use super::{Plan, Seen, frames, interrupt};
use crate::signal::support::*;
use std::arch::asm;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::mem;
use std::ops::Range;
use std::ptr;
use std::sync::Once;

const BRK: u32 = 0xd420_0000;
const RET: u32 = 0xd65f_03c0;
const INSTRUCTION: usize = 4;

/// No guest is this deep, and no two stacks are this close.
const STACK: usize = 512 << 10;

struct Stepper {
    plan: Cell<Plan>,
    /// Where functions are, and which.
    functions: RefCell<Vec<(Range<usize>, u32)>>,
    /// Their entries, and where they are returned to from calls.
    arrivals: RefCell<Vec<usize>>,
    /// The functions that were called and have not returned, oldest first.
    calls: RefCell<Vec<u32>>,
    /// Where the last instruction was.
    last: Cell<Option<usize>>,
    /// `sp` at the first one.
    first_sp: Cell<Option<usize>>,
    /// Where threads were preempted and have not been resumed, and `sp` then.
    suspended: RefCell<Vec<(usize, usize)>>,
    /// Where breakpoints are, or were, and what belongs there.
    breakpoints: RefCell<Vec<(usize, u32)>>,
    /// How many threads are stepped through.
    started: Cell<usize>,
    seen: RefCell<Seen>,
    /// Called before each preemption.
    before: Cell<fn()>,
    /// The entry of the stub that makes the frame of a function that has none, as at its start.
    makes_frame: Cell<Option<u64>>,
}

std::thread_local! {
    static STEPPER: Stepper = const {
        Stepper {
            plan: Cell::new(Plan::Off),
            functions: RefCell::new(Vec::new()),
            arrivals: RefCell::new(Vec::new()),
            calls: RefCell::new(Vec::new()),
            last: Cell::new(None),
            first_sp: Cell::new(None),
            suspended: RefCell::new(Vec::new()),
            breakpoints: RefCell::new(Vec::new()),
            started: Cell::new(0),
            seen: RefCell::new(Seen {
                instructions: 0,
                preempted: 0,
                put_off: 0,
                mistake: None,
            }),
            before: Cell::new(|| {}),
            makes_frame: Cell::new(None),
        }
    };
}

/// Makes `plan` what the next call of [`start`] on this OS thread begins.
/// `modules` are all whose functions will be stepped through, and `caller` is the
/// function that will call `start`. Without it frames are not looked at.
pub fn prepare(plan: Plan, modules: &[&Module], caller: Option<u32>) {
    install();
    STEPPER.with(|stepper| {
        stepper.remove_breakpoints();
        let mut functions = stepper.functions.borrow_mut();
        functions.clear();
        for module in modules {
            make_writable(module.text());
            let text = module.text().as_ptr() as usize;
            functions.extend(module.functions().map(|function| {
                let start = text + function.offset;
                (start..start + function.len, function.index.as_u32())
            }));
        }
        functions.sort_unstable_by_key(|(range, _)| range.start);
        let mut arrivals = stepper.arrivals.borrow_mut();
        arrivals.clear();
        for (function, _) in functions.iter() {
            add_arrivals(function, &mut arrivals);
        }
        let mut calls = stepper.calls.borrow_mut();
        calls.clear();
        calls.reserve(1_000);
        calls.extend(caller);
        stepper.last.set(None);
        stepper.first_sp.set(None);
        let mut suspended = stepper.suspended.borrow_mut();
        suspended.clear();
        suspended.reserve(1_000);
        let mut breakpoints = stepper.breakpoints.borrow_mut();
        breakpoints.clear();
        breakpoints.reserve(100_000);
        stepper.started.set(0);
        stepper.seen.replace(Seen::default());
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
    STEPPER.with(|stepper| {
        stepper.step_no_more();
        stepper.seen.take()
    })
}

/// For a host function: stepping begins.
pub fn start() {
    STEPPER.with(|stepper| {
        if stepper.plan.get() == Plan::Off {
            return;
        }
        stepper.started.set(stepper.started.get() + 1);
        for arrival in stepper.arrivals.borrow().iter() {
            stepper.add_breakpoint(*arrival);
        }
        stepper.set_breakpoints(None);
    });
}

/// For a host function: stepping ends for the guest thread that called it.
pub fn stop() {
    STEPPER.with(|stepper| {
        stepper.started.set(stepper.started.get().saturating_sub(1));
        if stepper.started.get() == 0 {
            stepper.remove_breakpoints();
        }
    });
}

/// For a scheduler that has picked a thread, under [`Plan::Each`]: `stepped` if that is the one
/// to step through.
pub fn pick(stepped: bool) {
    if stepped {
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

/// Lets the compiled code in `text` be changed.
fn make_writable(text: &[u8]) {
    // Of a module without functions. It is nowhere.
    if text.is_empty() {
        return;
    }
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let start = text.as_ptr() as usize / page * page;
    let end = text.as_ptr() as usize + text.len();
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: these pages are of the module's code, or of its file in memory.
    let changed = unsafe { libc::mprotect(start as *mut libc::c_void, end - start, all) };
    assert_eq!(changed, 0);
}

/// Replaces the instruction at `address`.
///
/// # Safety
///
/// It is in code that was made writable, and that only this OS thread executes.
unsafe fn write(address: usize, instruction: u32) {
    // SAFETY: this function's own contract.
    unsafe {
        (address as *mut u32).write_volatile(instruction);
        asm!(
            "dc cvau, {0}",
            "dsb ish",
            "ic ivau, {0}",
            "dsb ish",
            "isb",
            in(reg) address,
            options(nostack),
        );
    }
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
        self.remove_breakpoints();
        // SAFETY: this function's own contract.
        let registers = unsafe { registers(context) };
        let pc = registers.pc as usize;
        let sp = registers.sp as usize;
        let plan = self.plan.get();
        let Some((function, id)) = self.function_at(pc) else {
            self.complain(pc, "trapped in host code");
            return;
        };
        let first_sp = self.first_sp.get().unwrap_or(sp);
        self.first_sp.set(Some(first_sp));
        if matches!(plan, Plan::At(_)) && sp.abs_diff(first_sp) > STACK {
            // The thread that is stepped through has trapped, and another runs.
            self.step_no_more();
            return;
        }
        if self.is_resumed(pc, sp) {
            self.last.set(Some(pc));
            self.go_on(pc, registers);
            return;
        }
        // SAFETY: the code is readable.
        unsafe { self.follow(pc, registers.regs[30] as usize, function.start, id) };
        self.last.set(Some(pc));
        let number = {
            let mut seen = self.seen.borrow_mut();
            seen.instructions += 1;
            seen.instructions - 1
        };
        let mut preempted = false;
        if matches!(plan, Plan::Always | Plan::Each(_)) || plan == Plan::At(number) {
            // SAFETY: this function's own contract.
            preempted = unsafe { self.preempt(context, pc, sp) };
        }
        let is_last = match plan {
            Plan::Each(count) => number + 1 == count,
            _ => plan == Plan::At(number),
        };
        if is_last {
            self.step_no_more();
        } else if preempted {
            // It comes by here once more.
            self.add_breakpoint(pc);
            self.set_breakpoints(None);
        } else {
            self.go_on(pc, registers);
        }
    }

    fn step_no_more(&self) {
        self.remove_breakpoints();
        self.breakpoints.borrow_mut().clear();
        self.plan.set(Plan::Off);
    }

    /// Goes on with the instruction at `pc`, up to the next one.
    fn go_on(&self, pc: usize, registers: &libc::mcontext_t) {
        self.add_breakpoint(pc);
        // SAFETY: the code is readable.
        let word = unsafe { (pc as *const u32).read() };
        for next in successors(pc, word, registers).into_iter().flatten() {
            if self.function_at(next).is_some() {
                self.add_breakpoint(next);
            }
        }
        self.set_breakpoints(Some(pc));
    }

    fn add_breakpoint(&self, address: usize) {
        let mut breakpoints = self.breakpoints.borrow_mut();
        if breakpoints.iter().all(|(place, _)| *place != address) {
            assert!(breakpoints.len() < breakpoints.capacity());
            // SAFETY: the code is readable.
            breakpoints.push((address, unsafe { (address as *const u32).read() }));
        }
    }

    fn set_breakpoints(&self, except: Option<usize>) {
        for (address, _) in self.breakpoints.borrow().iter() {
            if Some(*address) != except {
                // SAFETY: `prepare` has made the code writable, and it is this OS thread's.
                unsafe { write(*address, BRK) };
            }
        }
    }

    fn remove_breakpoints(&self) {
        for (address, word) in self.breakpoints.borrow().iter() {
            // SAFETY: as above.
            unsafe { write(*address, *word) };
        }
    }

    fn function_at(&self, pc: usize) -> Option<(Range<usize>, u32)> {
        let functions = self.functions.borrow();
        let next = functions.partition_point(|(range, _)| range.start <= pc);
        let (range, id) = functions.get(next.checked_sub(1)?)?;
        range.contains(&pc).then(|| (range.clone(), *id))
    }

    /// Whether a thread was preempted here and has just been resumed.
    fn is_resumed(&self, pc: usize, sp: usize) -> bool {
        let mut suspended = self.suspended.borrow_mut();
        let here = suspended.iter().position(|place| *place == (pc, sp));
        here.map(|here| suspended.swap_remove(here)).is_some()
    }

    /// Keeps `calls` up to date.
    ///
    /// # Safety
    ///
    /// The last instruction is readable.
    unsafe fn follow(&self, pc: usize, link: usize, start: usize, id: u32) {
        let mut calls = self.calls.borrow_mut();
        if calls.is_empty() {
            return;
        }
        let last = self.last.get();
        // SAFETY: this function's own contract.
        let last_word = last.map(|last| unsafe { (last as *const u32).read() });
        let is_call = last.is_none_or(|last| link == last + INSTRUCTION);
        if pc == start && is_call {
            calls.push(id);
        } else if pc == start {
            // A tail call.
            calls.pop();
            calls.push(id);
        } else if last_word == Some(RET) {
            calls.pop();
        }
        if calls.last() != Some(&id) {
            drop(calls);
            self.complain(pc, "the test itself has lost track of the calls");
        }
    }

    /// # Safety
    ///
    /// As [`Stepper::step`], at an instruction of a function.
    unsafe fn preempt(&self, context: *mut libc::c_void, pc: usize, sp: usize) -> bool {
        self.before.get()();
        // SAFETY: this function's own contract.
        if !unsafe { interrupt(context) } {
            self.seen.borrow_mut().put_off += 1;
            return false;
        }
        self.seen.borrow_mut().preempted += 1;
        self.suspended.borrow_mut().push((pc, sp));
        // SAFETY: as above.
        let registers = unsafe { registers(context) };
        let [fp, link] = [29, 30].map(|register| registers.regs[register] as usize);
        if self
            .function_at(pc)
            .is_some_and(|(range, _)| range.start == pc)
        {
            self.makes_frame.set(Some(registers.pc));
        }
        let has_none = self.makes_frame.get() == Some(registers.pc);
        let unlinked = has_none.then_some([fp, link]);
        if has_none {
            assert_eq!(registers.regs[17] as usize, pc);
        }
        let calls = self.calls.borrow();
        let function_at = |pc| self.function_at(pc).map(|(_, id)| id);
        // SAFETY: `sp` is on the stack of the guest, with its frames above.
        let compared = unsafe { frames::compare(&calls, function_at, pc, sp, fp, unlinked) };
        drop(calls);
        if let Err(mistake) = compared {
            self.complain(pc, &mistake);
        }
        true
    }

    fn complain(&self, pc: usize, what: &str) {
        let place = match self.function_at(pc) {
            Some((function, id)) => {
                // SAFETY: the code is readable.
                let code = unsafe { (pc as *const u32).read() };
                format!("function {id} + {:#x} ({code:08x})", pc - function.start)
            }
            None => format!("{pc:#x}"),
        };
        let mut seen = self.seen.borrow_mut();
        seen.mistake
            .get_or_insert_with(|| format!("at {place}: {what}"));
    }
}

/// Follows the code of `function` from its start, but through no jump table: there are constants in
/// between that look like instructions.
fn add_arrivals(function: &Range<usize>, arrivals: &mut Vec<usize>) {
    // SAFETY: it is plain data, for which zero is valid.
    let registers: libc::mcontext_t = unsafe { mem::zeroed() };
    let mut seen = HashSet::new();
    let mut to_follow = vec![function.start];
    arrivals.push(function.start);
    while let Some(pc) = to_follow.pop() {
        if !function.contains(&pc) || !seen.insert(pc) {
            continue;
        }
        // SAFETY: the code is readable.
        let word = unsafe { (pc as *const u32).read() };
        if is_call(word) {
            arrivals.push(pc + INSTRUCTION);
        }
        to_follow.extend(successors(pc, word, &registers).into_iter().flatten());
    }
}

fn is_call(word: u32) -> bool {
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
}

/// Where the instruction `word` at `pc` may lead, and where it is returned to if it is a call.
fn successors(pc: usize, word: u32, registers: &libc::mcontext_t) -> [Option<usize>; 2] {
    let next = pc + INSTRUCTION;
    // A distance of so many bits, at `from`, counts instructions.
    let target = |from: u32, bits: u32| {
        let distance = (word << (32 - bits - from)).cast_signed() >> (32 - bits);
        pc.wrapping_add_signed(distance as isize * 4)
    };
    let register = registers.regs.get((word >> 5 & 0x1f) as usize);
    let register = register.map(|value| *value as usize);
    match word {
        _ if word & 0xfc00_0000 == 0x1400_0000 => [Some(target(0, 26)), None],
        _ if word & 0xfc00_0000 == 0x9400_0000 => [Some(target(0, 26)), Some(next)],
        // On a condition, or if a register is zero or not.
        _ if word & 0xff00_0010 == 0x5400_0000 => [Some(target(5, 19)), Some(next)],
        _ if word & 0x7e00_0000 == 0x3400_0000 => [Some(target(5, 19)), Some(next)],
        // If a bit is.
        _ if word & 0x7e00_0000 == 0x3600_0000 => [Some(target(5, 14)), Some(next)],
        // It traps.
        _ if word & 0xffff_0000 == 0 => [None, None],
        // To a register, with and without a link, and returns.
        _ if word & 0xffff_fc1f == 0xd61f_0000 => [register, None],
        _ if word & 0xffff_fc1f == 0xd63f_0000 => [register, Some(next)],
        _ if word & 0xffff_fc1f == 0xd65f_0000 => [register, None],
        _ => [Some(next), None],
    }
}

/// # Safety
///
/// `context` is what the kernel gave to a handler that has not returned.
unsafe fn registers<'a>(context: *mut libc::c_void) -> &'a libc::mcontext_t {
    // SAFETY: this function's own contract.
    unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext }
}
