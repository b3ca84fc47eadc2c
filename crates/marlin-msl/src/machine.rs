//! What differs between instruction sets: registers in a signal's context, and the traps of compilers.

use std::ffi::c_int;

use corosensei::trap::TrapHandlerRegs;
use libc::ucontext_t;

use crate::FaultKind;

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

/// Which floating-point operations trap.
#[cfg(target_arch = "x86_64")]
mod exceptions {
    use std::arch::asm;

    /// Flags of MXCSR: invalid, division by zero, overflow; each has its mask seven bits above.
    const FLAGS: u32 = 0b1101;
    const MASKS: u32 = FLAGS << 7;

    /// Lets operations that make an infinity or a NaN of numbers trap, or not, and forgets those that were.
    pub fn trap_at_infinities(now: bool) {
        let set = if now { status() & !MASKS } else { status() | MASKS } & !FLAGS;
        // SAFETY: these bits may have any value; nothing but a running kernel computes while they are set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &set, options(nostack, readonly)) };
    }

    /// Whether an operation made an infinity or a NaN since they were last forgotten.
    pub fn met_infinities() -> bool {
        status() & FLAGS != 0
    }

    fn status() -> u32 {
        let mut status = 0u32;
        // SAFETY: writes the register to this variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut status, options(nostack)) };
        status
    }
}

#[cfg(target_arch = "aarch64")]
mod exceptions {
    /// This machine has no such traps.
    pub fn trap_at_infinities(_: bool) {}

    /// So nobody knows.
    pub fn met_infinities() -> bool {
        false
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

pub use exceptions::{met_infinities, trap_at_infinities};
pub use registers::{go_on, place, trap_kind};

/// Codes of the signal for arithmetic.
const DIVIDES_BY_ZERO: c_int = 3;
const OVERFLOWS: c_int = 4;
const IS_INVALID: c_int = 7;

/// What a signal for arithmetic means.
pub fn arithmetic(code: c_int) -> FaultKind {
    let what = match code {
        DIVIDES_BY_ZERO => "a division by zero",
        OVERFLOWS => "an overflow",
        IS_INVALID => "an operation without a result",
        _ => return FaultKind::Undefined { what: "integer division overflows or is by zero".into() },
    };
    FaultKind::NotFinite { what }
}

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
