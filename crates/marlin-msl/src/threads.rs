//! Threads of a threadgroup as coroutines, and what a kernel calls to wait for others.

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, c_char, c_uint},
    ptr,
};

use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};

use crate::{
    abi::{Host, Invocation, Meeting},
    kernel::Entry,
    trap::{self, Exit, Trap},
};

/// Stack of a thread. Registers of a GPU hold at most a few hundred bytes of a thread's variables.
const STACK: usize = 256 * 1024;

/// The callbacks of every kernel.
pub static HOST: Host = Host { meet, undefined };

/// Where a thread is.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// It can go on.
    Ready,
    /// It waits for others.
    Waits(*const Meeting),
    /// It has returned.
    Done,
}

/// Why a thread cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// A signal.
    Trap(Trap),
    /// The library calls something undefined.
    Undefined {
        /// What.
        what: String,
        /// The line of the text.
        line: u32,
    },
}

/// What a thread says as it yields.
enum Word {
    Meets(*const Meeting),
    Undefined(*const c_char, c_uint),
}

/// One thread. It must stay where it is while it runs.
pub struct Thread {
    /// Who it is.
    pub invocation: Invocation,
    /// Where it is.
    pub state: State,
    coroutine: Option<Coroutine<(), Word, Exit, DefaultStack>>,
}

thread_local! {
    static YIELDER: Cell<*const Yielder<(), Word>> = const { Cell::new(ptr::null()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

impl Thread {
    /// A thread that has not begun.
    pub fn new(invocation: Invocation) -> Self {
        Self { invocation, state: State::Ready, coroutine: None }
    }

    /// Lets it run until it waits for others or returns.
    pub fn resume(&mut self, entry: Entry) -> Result<(), Stop> {
        let invocation = &raw const self.invocation;
        let coroutine = self.coroutine.get_or_insert_with(|| {
            Coroutine::with_stack(stack(), move |yielder, ()| {
                YIELDER.set(yielder);
                trap::set_in_kernel(true);
                // SAFETY: the trampoline takes an invocation, which outlives this coroutine.
                unsafe { entry(invocation) };
                trap::set_in_kernel(false);
                Ok(())
            })
        });
        match trap::catching(coroutine.trap_handler(), || coroutine.resume(())) {
            CoroutineResult::Yield(Word::Meets(meeting)) => self.state = State::Waits(meeting),
            CoroutineResult::Yield(Word::Undefined(what, line)) => {
                // SAFETY: the text is a literal of the kernel's library.
                let what = unsafe { CStr::from_ptr(what) }.to_string_lossy().into_owned();
                return Err(Stop::Undefined { what, line });
            }
            CoroutineResult::Return(Ok(())) => {
                self.state = State::Done;
                self.retire();
            }
            CoroutineResult::Return(Err(trap)) => return Err(Stop::Trap(trap)),
        }
        Ok(())
    }

    /// Gives its stack back, wherever it stopped.
    fn retire(&mut self) {
        if let Some(mut coroutine) = self.coroutine.take() {
            // SAFETY: what lies on the stack is a kernel's frames, which own nothing.
            unsafe { coroutine.force_reset() };
            STACKS.with_borrow_mut(|stacks| stacks.push(coroutine.into_stack()));
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.retire();
    }
}

fn stack() -> DefaultStack {
    STACKS
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| DefaultStack::new(STACK).expect("address space for the stack of a thread"))
}

unsafe extern "C" fn meet(meeting: *const Meeting) {
    pause(Word::Meets(meeting));
}

unsafe extern "C" fn undefined(what: *const c_char, line: c_uint) {
    pause(Word::Undefined(what, line));
}

/// Back to the scheduler, until it resumes this thread.
fn pause(word: Word) {
    trap::set_in_kernel(false);
    let yielder = YIELDER.get();
    // SAFETY: set by the coroutine that runs, whose stack holds it.
    unsafe { (*yielder).suspend(word) };
    YIELDER.set(yielder);
    trap::set_in_kernel(true);
}
