//! Knocks at threads of the host whose kernel runs for too long.

use std::{
    sync::{Condvar, Mutex, MutexGuard, Once, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::trap;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

struct Watched {
    thread: libc::pthread_t,
    until: Instant,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// While it lives, the thread that made it is knocked at from the deadline on.
pub struct Watch(libc::pthread_t);

impl Watch {
    /// Watches the current thread.
    pub fn new(patience: Duration) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            thread::spawn(look);
        });
        // SAFETY: asks for the name of the current thread.
        let thread = unsafe { libc::pthread_self() };
        watched().push(Watched { thread, until: Instant::now() + patience });
        CHANGED.notify_one();
        Self(thread)
    }

    /// Begins a new stretch of time.
    pub fn again(&self, patience: Duration) {
        let until = Instant::now() + patience;
        watched().iter_mut().filter(|each| each.thread == self.0).for_each(|each| each.until = until);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        watched().retain(|each| each.thread != self.0);
    }
}

fn watched() -> MutexGuard<'static, Vec<Watched>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look() {
    loop {
        let list = watched();
        let list = CHANGED.wait_while(list, |list| list.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for each in list.iter().filter(|each| each.until < now) {
            // SAFETY: a thread leaves the list before it ends, and the list is locked.
            unsafe { libc::pthread_kill(each.thread, trap::KNOCK) };
        }
        drop(list);
        thread::sleep(LOOK);
    }
}
