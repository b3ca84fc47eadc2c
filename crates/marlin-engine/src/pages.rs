//! The pool of cache pages and the handles that hold them.
//!
//! A [`Page`] is a counted reference: cloning shares the page, and the page returns to its pool when
//! the last clone is dropped. So a page cannot be freed twice, and free pages plus held pages are
//! always all pages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type FreeList = Arc<Mutex<Vec<u32>>>;

/// All pages of a player's caches.
#[derive(Debug)]
pub struct PagePool {
    free: FreeList,
    total: usize,
}

/// A page that is held; clones are the same page.
#[derive(Clone, Debug)]
pub struct Page(Arc<Held>);

#[derive(Debug)]
struct Held {
    index: u32,
    free: FreeList,
}

impl PagePool {
    /// A pool of pages `0..total`, all free.
    pub fn new(total: u32) -> PagePool {
        PagePool { free: Arc::new(Mutex::new((0..total).rev().collect())), total: total as usize }
    }

    /// Takes `count` pages, or none at all when fewer are free.
    pub fn take(&self, count: usize) -> Option<Vec<Page>> {
        let mut free = lock(&self.free);
        let rest = free.len().checked_sub(count)?;
        let held = |index| Page(Arc::new(Held { index, free: Arc::clone(&self.free) }));
        Some(free.drain(rest..).rev().map(held).collect())
    }

    /// Pages nobody holds.
    pub fn free(&self) -> usize {
        lock(&self.free).len()
    }

    /// Pages of the pool, free or held.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Page {
    /// The page's number in the player's caches.
    pub fn index(&self) -> u32 {
        self.0.index
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.free).push(self.index);
    }
}

fn lock(free: &FreeList) -> MutexGuard<'_, Vec<u32>> {
    // A push or a drain leaves the list whole even if its thread panics afterwards.
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_all_or_nothing() {
        let pool = PagePool::new(3);
        assert!(pool.take(4).is_none());
        assert_eq!(pool.free(), 3);
        let pages = pool.take(3).unwrap();
        assert_eq!(pages.iter().map(Page::index).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(pool.take(1).is_none());
        assert_eq!(pool.take(0).unwrap().len(), 0);
    }

    #[test]
    fn a_shared_page_is_free_when_its_last_holder_lets_go() {
        let pool = PagePool::new(1);
        let first = pool.take(1).unwrap();
        let second = first.clone();
        drop(first);
        assert_eq!(pool.free(), 0);
        drop(second);
        assert_eq!(pool.free(), 1);
    }

    proptest! {
        #[test]
        fn free_and_held_are_all(
            total in 0u32..20,
            ops in prop::collection::vec((any::<bool>(), 0usize..6), 0..60),
        ) {
            let pool = PagePool::new(total);
            let mut held: Vec<Page> = Vec::new();
            for (take, count) in ops {
                if take {
                    held.extend(pool.take(count).into_iter().flatten());
                } else {
                    held.truncate(held.len().saturating_sub(count));
                }
                prop_assert_eq!(pool.free() + held.len(), pool.total());
                let mut indices: Vec<u32> = held.iter().map(Page::index).collect();
                indices.sort_unstable();
                indices.dedup();
                prop_assert_eq!(indices.len(), held.len(), "a page is held twice");
                prop_assert!(indices.iter().all(|&index| index < total));
            }
        }
    }
}
