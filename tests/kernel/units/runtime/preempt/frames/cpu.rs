//! The registers and the stack of an interrupted guest.

use super::frame::Interrupted;
use super::stub::{stub, stub_half_frame, stub_no_frame};
use std::ops::Range;

/// What the decoder found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Complete,
    None,
    Half,
    Moving,
}

pub struct Cpu {
    context: Box<libc::ucontext_t>,
    stack: Box<[usize; 16]>,
}

impl Cpu {
    /// In the middle of a function with a frame.
    pub fn new() -> Cpu {
        // SAFETY: a `ucontext_t` is plain data, for which zero is valid.
        let context = Box::new(unsafe { std::mem::zeroed() });
        let mut cpu = Cpu {
            context,
            stack: Box::new([0; 16]),
        };
        let rsp = cpu.stack.as_mut_ptr().expose_provenance() + size_of::<[usize; 8]>();
        cpu.set(libc::REG_RSP, rsp);
        cpu.set(libc::REG_RBP, rsp + 4 * size_of::<usize>());
        cpu
    }

    pub fn get(&self, register: libc::c_int) -> usize {
        self.context.uc_mcontext.gregs[register as usize] as usize
    }

    pub fn set(&mut self, register: libc::c_int, value: usize) {
        self.context.uc_mcontext.gregs[register as usize] = value as i64;
    }

    fn stacked(&self, address: usize) -> usize {
        self.stack[(address - self.stack.as_ptr().addr()) / size_of::<usize>()]
    }

    /// What the decoder finds at `pc` in `function`, and whether it does what that entails.
    pub fn interrupt(mut self, pc: usize, function: &Range<usize>) -> Found {
        const WORD: usize = size_of::<usize>();
        self.set(libc::REG_RIP, pc);
        let (rsp, rbp) = (self.get(libc::REG_RSP), self.get(libc::REG_RBP));
        // SAFETY: the context is all there, and so are the code and the stack.
        let called = unsafe {
            let context = std::ptr::from_mut(&mut *self.context);
            Interrupted::new(context.cast()).call_stub(function)
        };
        let rip = self.get(libc::REG_RIP);
        let is = |stub: unsafe extern "C" fn()| rip == (stub as *const ()).addr();
        let (found, top, frame) = match () {
            () if !called => {
                assert_eq!(rip, pc);
                (Found::Moving, rsp, rbp)
            }
            () if is(stub) => (Found::Complete, rsp - WORD, rbp),
            () if is(stub_half_frame) => (Found::Half, rsp - WORD, rsp),
            () if is(stub_no_frame) => {
                assert_eq!(self.stacked(rsp - WORD), rbp);
                (Found::None, rsp - 2 * WORD, rsp - WORD)
            }
            () => panic!("continues at {rip:#x}"),
        };
        assert_eq!(self.get(libc::REG_RSP), top, "{found:?}");
        assert_eq!(self.get(libc::REG_RBP), frame, "{found:?}");
        if called {
            assert_eq!(self.stacked(top), pc, "{found:?}");
        }
        found
    }
}
