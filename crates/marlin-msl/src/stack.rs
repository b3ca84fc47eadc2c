//! Stacks of threads, kept for the next thread, none beginning at the same place of a page as its neighbours.

use std::cell::{Cell, RefCell};

use corosensei::stack::{DefaultStack, Stack, StackPointer};

/// A GPU's registers hold a few hundred bytes of a thread's variables.
const BYTES: usize = 256 * 1024;
/// Hundreds of stacks that begin at the same place of a page would share a few lines of the first cache.
const STEP: usize = 5 * 64;
const PLACES: usize = 61;

thread_local! {
    static KEPT: RefCell<Vec<ThreadStack>> = const { RefCell::new(Vec::new()) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// A stack with its beginning moved.
pub struct ThreadStack {
    whole: DefaultStack,
    unused: usize,
}

impl ThreadStack {
    /// One that was kept, or a new one.
    pub fn take() -> Self {
        KEPT.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
            let made = MADE.replace(MADE.get() + 1);
            let whole = DefaultStack::new(BYTES).expect("address space for the stack of a thread");
            Self { whole, unused: made % PLACES * STEP }
        })
    }

    /// Keeps it for another thread.
    pub fn keep(self) {
        KEPT.with_borrow_mut(|kept| kept.push(self));
    }
}

// SAFETY: a stack that begins later than the whole one, by a multiple of the alignment and by less than
// its size, is a stack with the same guard.
unsafe impl Stack for ThreadStack {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.whole.base().get() - self.unused).unwrap_or(self.whole.base())
    }

    fn limit(&self) -> StackPointer {
        self.whole.limit()
    }
}
