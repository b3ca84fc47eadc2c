//! The threads of a player and the memory each of them keeps.
//!
//! One thread means the caller's: no pool is made. Work handed to [`Threads`] must not hand out work
//! itself: a thread lends its scratch memory to one task at a time.

use std::{
    hint,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use marlin_kernel::{Error, attention, simd};
use rayon::prelude::*;

/// Values a thread should at least touch for being woken.
const WORTH_A_THREAD: usize = 1 << 14;

/// What a thread keeps from task to task.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// For products.
    pub weights: simd::Scratch,
    /// For attention.
    pub attention: attention::simd::Scratch,
}

/// Idle looks for work after which a thread lets others run.
const PATIENCE: u32 = 256;

/// Time without work after which a thread stops waiting for it: the pool wakes it when there is some.
const REST: Duration = Duration::from_millis(1);

/// Takes work handed out by other threads until `finished`, or until there has been none for [`REST`]. It
/// must not wait for `finished` alone: a thread can come here while it waits for a part of that very work,
/// which then goes on only when this returns.
fn serve(finished: &AtomicBool) {
    let (mut idle, mut since) = (0, Instant::now());
    while !finished.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => (idle, since) = (0, Instant::now()),
            _ if idle < PATIENCE => {
                idle += 1;
                hint::spin_loop();
            }
            _ if since.elapsed() < REST => thread::yield_now(),
            _ => return,
        }
    }
}

/// Sets its flag when dropped.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A pool of threads, or only the caller's.
#[derive(Debug)]
pub(crate) struct Threads {
    pool: Option<rayon::ThreadPool>,
    scratch: Vec<Mutex<Scratch>>,
}

impl Threads {
    /// `count` threads; 0 for one per physical core this process may use.
    pub(crate) fn new(count: usize) -> Result<Threads, Error> {
        let count = if count == 0 { num_cpus::get_physical().min(num_cpus::get()) } else { count };
        let pool = match count {
            1 => None,
            _ => {
                let name = |at| format!("marlin-cpu-{at}");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build();
                let failed = |error: rayon::ThreadPoolBuildError| Error::Device {
                    device: "cpu".to_owned(),
                    reason: format!("{count} threads: {error}"),
                };
                Some(pool.map_err(failed)?)
            }
        };
        let scratch = (0..count).map(|_| Mutex::default()).collect();
        Ok(Threads { pool, scratch })
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `work` on a thread of the pool while the others stay awake and take what it hands out:
    /// waking a thread takes longer than most of the steps that it is woken for.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let Some(pool) = &self.pool else { return work() };
        let finished = AtomicBool::new(false);
        pool.scope(|scope| {
            // Set even if `work` panics: the scope waits for the other threads.
            let _finish = Finish(&finished);
            let (caller, finished) = (pool.current_thread_index(), &finished);
            scope.spawn_broadcast(move |_, context| {
                if Some(context.index()) != caller {
                    serve(finished);
                }
            });
            work()
        })
    }

    /// Runs `work` on every task, tasks in any order.
    pub(crate) fn each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T, &mut Scratch) + Sync) {
        let run = |task| {
            let at = self.pool.as_ref().and_then(|pool| pool.current_thread_index()).unwrap_or(0);
            work(task, &mut self.scratch[at].lock().unwrap_or_else(PoisonError::into_inner));
        };
        if self.pool.is_none() || tasks.len() == 1 {
            tasks.into_iter().for_each(run);
        } else {
            tasks.into_par_iter().with_max_len(1).for_each(run);
        }
    }

    /// Runs `work` on every item with its index; `size` says how many values an item is worth.
    pub(crate) fn each_item<T: Send>(
        &self,
        items: &mut [T],
        size: usize,
        work: impl Fn(usize, &mut T) + Sync,
    ) {
        let together = (WORTH_A_THREAD / size.max(1)).max(1);
        if self.pool.is_none() || items.len() < 2 * together {
            items.iter_mut().enumerate().for_each(|(at, item)| work(at, item));
        } else {
            items.par_iter_mut().enumerate().with_min_len(together).for_each(|(at, item)| work(at, item));
        }
    }

    /// Runs `work` on every row of `width` values with its index.
    pub(crate) fn each_row(&self, values: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
        let together = (WORTH_A_THREAD / width.max(1)).max(1);
        let rows = values.len().checked_div(width).unwrap_or(0);
        if self.pool.is_none() || rows < 2 * together {
            values.chunks_exact_mut(width.max(1)).enumerate().for_each(|(at, row)| work(at, row));
        } else {
            let rows = values.par_chunks_exact_mut(width).enumerate();
            rows.with_min_len(together).for_each(|(at, row)| work(at, row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_does_not_wait_for_work_that_waits_for_it() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.broadcast(|_| serve(&AtomicBool::new(false)));
    }
}
