//! Threads of a threadgroup as coroutines, and what a kernel calls to wait for others.

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, c_char, c_uint, c_ulong, c_void},
    ptr,
};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::{
    abi::{Host, Invocation, Meeting},
    kernel::Entry,
    races::{Finding, Place, Races, Who},
    stack::ThreadStack,
    trap::{self, Exit, Trapped},
};

/// The callbacks of every kernel.
pub static HOST: Host = Host { meet, undefined, access };

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
    Trap(Box<Trapped>),
    /// An access that another one is not ordered with.
    Found(Box<(Place, Finding)>),
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
    Found(Box<(Place, Finding)>),
}

/// One thread. It must stay where it is while it runs.
pub struct Thread {
    /// Who it is.
    pub invocation: Invocation,
    /// Where it is.
    pub state: State,
    /// The line of the text where it last waited.
    pub last_line: u32,
    coroutine: Option<Coroutine<(), Word, Exit, ThreadStack>>,
}

thread_local! {
    static WHO: Cell<Option<Who>> = const { Cell::new(None) };
    static RACES: RefCell<Option<Races>> = const { RefCell::new(None) };
    static YIELDER: Cell<*const Yielder<(), Word>> = const { Cell::new(ptr::null()) };
}

impl Thread {
    /// A thread that has not begun.
    pub fn new(invocation: Invocation) -> Self {
        Self { invocation, state: State::Ready, last_line: 0, coroutine: None }
    }

    /// Lets it run until it waits for others or returns.
    pub fn resume(&mut self, entry: Entry) -> Result<(), Stop> {
        let invocation = &raw const self.invocation;
        let coroutine = self.coroutine.get_or_insert_with(|| {
            Coroutine::with_stack(ThreadStack::take(), move |yielder, ()| {
                YIELDER.set(yielder);
                trap::set_in_kernel(true);
                // SAFETY: the trampoline takes an invocation, which outlives this coroutine.
                unsafe { entry(invocation) };
                trap::set_in_kernel(false);
                Exit::Returned
            })
        });
        let Invocation { index_in_threadgroup: thread, simdgroup_index: simdgroup, .. } = self.invocation;
        WHO.set(Some(Who { thread, simdgroup, last_line: self.last_line }));
        let word = trap::catching(coroutine.trap_handler(), || coroutine.resume(()));
        WHO.set(None);
        match word {
            CoroutineResult::Yield(Word::Meets(meeting)) => {
                self.state = State::Waits(meeting);
                // SAFETY: the meeting lies on the stack of the thread, which waits.
                self.last_line = unsafe { (*meeting).line };
            }
            CoroutineResult::Yield(Word::Undefined(what, line)) => {
                // SAFETY: the text is a literal of the kernel's library.
                let what = unsafe { CStr::from_ptr(what) }.to_string_lossy().into_owned();
                return Err(Stop::Undefined { what, line });
            }
            CoroutineResult::Yield(Word::Found(found)) => return Err(Stop::Found(found)),
            CoroutineResult::Return(exit) => {
                let trapped = trap::trapped().filter(|_| exit == Exit::Trapped);
                if let Some(trapped) = trapped {
                    return Err(Stop::Trap(Box::new(trapped)));
                }
                self.state = State::Done;
                self.retire();
            }
        }
        Ok(())
    }

    /// Gives its stack back, wherever it stopped.
    fn retire(&mut self) {
        if let Some(mut coroutine) = self.coroutine.take() {
            // SAFETY: what lies on the stack is a kernel's frames, which own nothing.
            unsafe { coroutine.force_reset() };
            coroutine.into_stack().keep();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.retire();
    }
}

unsafe extern "C" fn meet(meeting: *const Meeting) {
    pause(Word::Meets(meeting));
}

unsafe extern "C" fn undefined(what: *const c_char, line: c_uint) {
    pause(Word::Undefined(what, line));
}

unsafe extern "C" fn access(at: *const c_void, bytes: c_ulong, kind: c_uint, site: *const c_void) {
    let Some(who) = WHO.get() else { return };
    trap::set_in_kernel(false);
    let found = with_races(|races| races.note(who, at as usize, bytes as usize, kind, site as usize));
    if let Some(found) = found.flatten() {
        pause(Word::Found(Box::new(found)));
    }
    trap::set_in_kernel(true);
}

/// Gives accesses of this host thread's kernels to a record, or to none.
pub fn record(races: Option<Races>) {
    RACES.set(races);
}

/// Calls `f` with the record, where there is one.
pub fn with_races<T>(f: impl FnOnce(&mut Races) -> T) -> Option<T> {
    RACES.with_borrow_mut(|races| races.as_mut().map(f))
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
