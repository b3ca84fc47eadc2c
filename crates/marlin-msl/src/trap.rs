//! Signals of a running kernel become values: accesses of guarded memory, traps of the checked build, and the
//! watchdog's knock.

use std::{
    cell::Cell,
    ffi::c_int,
    mem, ptr,
    sync::{Mutex, Once, PoisonError},
};

use corosensei::trap::CoroutineTrapHandler;

use crate::machine;

/// Why a thread of a kernel stopped.
#[derive(Clone, Copy, Debug)]
pub enum Trap {
    /// It touched memory that it may not.
    Access {
        /// Where.
        address: usize,
    },
    /// It executed a trap of the compiler, of such a kind.
    Compiler {
        /// The sanitizer's number of it.
        kind: Option<u8>,
    },
    /// Its arithmetic has no result: the signal's code says why.
    Arithmetic {
        /// `FPE_INTDIV` and its like.
        code: c_int,
    },
    /// It ran for too long.
    TooLong,
}

/// Words of the stack that are kept, to find who called a function of the system's libraries.
const KEPT: usize = 32;

/// No guard of a stack is larger.
const GUARD: usize = 64 * 1024;

/// A trap and where it was.
#[derive(Clone, Copy, Debug)]
pub struct Trapped {
    /// Why.
    pub trap: Trap,
    /// The instruction.
    pub pc: usize,
    /// What lay on top of the stack, return addresses among it.
    pub stack: [usize; KEPT],
}

/// How a thread ends. Small, since it passes between stacks: a [`Trapped`] waits where [`trapped`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It has returned.
    Returned,
    /// A signal ended it.
    Trapped,
}

/// The signal that the watchdog sends: ignored by default, so a late one does no harm.
pub const KNOCK: c_int = libc::SIGURG;
const CAUGHT: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// What a signal must know of the host thread that it hits, and what it found.
struct Caught {
    handler: Cell<Option<CoroutineTrapHandler<Exit>>>,
    in_kernel: Cell<bool>,
    trapped: Cell<Option<Trapped>>,
}

thread_local! {
    static HERE: Caught =
        const { Caught { handler: Cell::new(None), in_kernel: Cell::new(false), trapped: Cell::new(None) } };
}

static PREVIOUS: Mutex<Vec<(c_int, libc::sigaction)>> = Mutex::new(Vec::new());

/// Runs `f`, in which signals that hit the coroutine of `handler` end it with a [`Trap`].
pub fn catching<T>(handler: CoroutineTrapHandler<Exit>, f: impl FnOnce() -> T) -> T {
    HERE.with(|here| here.handler.set(Some(handler)));
    let out = f();
    HERE.with(|here| {
        here.handler.set(None);
        here.in_kernel.set(false);
    });
    out
}

/// What ended the thread that exited last, if a signal did.
pub fn trapped() -> Option<Trapped> {
    HERE.with(|here| here.trapped.take())
}

/// Says whether the thread's next instructions are a kernel's own, which may be cut off anywhere.
#[inline]
pub fn set_in_kernel(now: bool) {
    HERE.with(|here| here.in_kernel.set(now));
}

/// Takes the signals over, once for the process.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut previous = PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in CAUGHT.into_iter().chain([KNOCK]) {
            // SAFETY: an all-zero action is valid, and is filled in below.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            // SAFETY: as above.
            let mut old: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: both records are whole; the handler touches only what signals may touch.
            unsafe { libc::sigaction(signal, &action, &mut old) };
            previous.push((signal, old));
        }
    });
}

unsafe extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the interrupted context of this thread.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let (pc, sp) = machine::place(context);
    let (handler, in_kernel) = HERE.with(|here| (here.handler.get(), here.in_kernel.get()));
    let Some(handler) = handler.filter(|handler| handler.stack_ptr_in_bounds(sp)) else {
        if signal != KNOCK {
            give_back(signal);
        }
        return;
    };
    let trap = match signal {
        // Only kernel code holds nothing that must be put back; elsewhere the watchdog knocks again.
        KNOCK if !in_kernel => return,
        KNOCK => Trap::TooLong,
        // SAFETY: for this signal as for all, the record holds a code.
        libc::SIGFPE => Trap::Arithmetic { code: unsafe { (*info).si_code } },
        // SAFETY: the instruction at the interrupted place can be read: it was just executed.
        libc::SIGILL | libc::SIGTRAP => Trap::Compiler { kind: unsafe { machine::trap_kind(pc) } },
        // SAFETY: for these signals the record holds an address.
        _ => Trap::Access { address: unsafe { (*info).si_addr() } as usize },
    };
    let mut stack = [0; KEPT];
    for (at, word) in stack.iter_mut().enumerate() {
        let address = sp + at * size_of::<usize>();
        if handler.stack_ptr_in_bounds(address) && handler.stack_ptr_in_bounds(address - GUARD) {
            // SAFETY: the address is on the interrupted stack and above its guard.
            *word = unsafe { (address as *const usize).read() };
        }
    }
    HERE.with(|here| here.trapped.set(Some(Trapped { trap, pc, stack })));
    // SAFETY: the interrupted stack is this coroutine's, as was asked above; what it ran is a kernel,
    // whose frames own nothing, and its registers are replaced before it goes on.
    let regs = unsafe { handler.setup_trap_handler(|| Exit::Trapped) };
    machine::go_on(context, &regs);
}

/// Lets the signal have the effect it had before this crate came: the instruction is executed again under it.
fn give_back(signal: c_int) {
    if let Ok(previous) = PREVIOUS.try_lock() {
        for (of, action) in previous.iter().filter(|(of, _)| *of == signal) {
            // SAFETY: this is the action that the process had for this signal.
            unsafe { libc::sigaction(*of, action, ptr::null_mut()) };
        }
    }
}
