//! What differs between instruction sets: registers in a signal's context, and the traps of compilers.

use corosensei::trap::TrapHandlerRegs;
use libc::ucontext_t;

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::*;

    /// Instruction and stack pointer.
    pub fn place(context: &ucontext_t) -> (usize, usize) {
        let registers = &context.uc_mcontext.gregs;
        (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RSP as usize] as usize)
    }

    /// The sanitizer's number in `ud1 number(%eax), %eax`, which is what traps.
    ///
    /// # Safety
    /// The five bytes at `pc` can be read.
    pub unsafe fn trap_kind(pc: usize) -> Option<u8> {
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(pc as *const u8, 5) };
        match bytes {
            [0x67, 0x0f, 0xb9, 0x00, _] => Some(0),
            [0x67, 0x0f, 0xb9, 0x40, kind] => Some(*kind),
            _ => None,
        }
    }

    /// Lets the thread go on at a trap handler.
    pub fn go_on(context: &mut ucontext_t, regs: &TrapHandlerRegs) {
        let TrapHandlerRegs { rip, rsp, rbp, rdi, rsi } = *regs;
        let places = [libc::REG_RIP, libc::REG_RSP, libc::REG_RBP, libc::REG_RDI, libc::REG_RSI];
        for (place, value) in places.into_iter().zip([rip, rsp, rbp, rdi, rsi]) {
            context.uc_mcontext.gregs[place as usize] = value as i64;
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use super::*;

    /// Instruction and stack pointer.
    pub fn place(context: &ucontext_t) -> (usize, usize) {
        (context.uc_mcontext.pc as usize, context.uc_mcontext.sp as usize)
    }

    /// The sanitizer's number in `brk 0x5500 + number`, which is what traps.
    ///
    /// # Safety
    /// The four bytes at `pc` can be read.
    pub unsafe fn trap_kind(pc: usize) -> Option<u8> {
        // SAFETY: the caller's promise.
        let instruction = unsafe { (pc as *const u32).read_unaligned() };
        let number = (instruction >> 5) & 0xffff;
        (instruction >> 21 == 0b110_1010_0001 && number >> 8 == 0x55).then_some(number as u8)
    }

    /// Lets the thread go on at a trap handler.
    pub fn go_on(context: &mut ucontext_t, regs: &TrapHandlerRegs) {
        let TrapHandlerRegs { pc, sp, x0, x1, x29, lr } = *regs;
        context.uc_mcontext.pc = pc;
        context.uc_mcontext.sp = sp;
        for (register, value) in [(0, x0), (1, x1), (29, x29), (30, lr)] {
            context.uc_mcontext.regs[register] = value;
        }
    }
}

pub use registers::{go_on, place, trap_kind};

/// Names of clang's `SanitizerHandler`s, by number.
const KINDS: &[(u8, &str)] = &[
    (0, "signed addition overflows"),
    (1, "reaches what cannot be reached"),
    (3, "integer division overflows or is by zero"),
    (5, "a floating-point number has no value in the integer type"),
    (10, "a value that its type does not have"),
    (11, "a function ends without its result"),
    (12, "signed multiplication overflows"),
    (13, "signed negation overflows"),
    (18, "index past the end of a fixed array or vector"),
    (20, "shift by more than the width, or of a negative number"),
    (21, "signed subtraction overflows"),
    (22, "misaligned or null access"),
];

/// What a trap of the checked build means.
pub fn trap_name(kind: Option<u8>) -> String {
    match kind {
        Some(kind) => match KINDS.iter().find(|(number, _)| *number == kind) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("clang's sanitizer trap {kind}"),
        },
        None => "a trap".to_owned(),
    }
}
