//! Who touched what: finds two accesses of which one writes and that nothing orders, however they
//! happened to fall.
//!
//! Threads of a threadgroup are ordered by its barriers, each for the memory that its flags name, and
//! lanes of a simdgroup by those of the simdgroup; operations of a simdgroup order no memory.
//! Threadgroups are not ordered. Atomic accesses do not race with one another, but for a store of another
//! value in the same threadgroup: chance would decide whether it or the other access comes first.

use std::ffi::c_uint;

use crate::{
    Memory,
    abi::{ATOMICALLY, COPIES, MEM_DEVICE, MEM_THREADGROUP, REPLACES, STORES, WRITES},
};

/// Bytes of a cell: the smallest element of a kernel's arrays.
const CELL: usize = 2;
/// Cells of a page, which is made when it is first touched.
const PAGE: usize = 4096;

/// One access, and when it was.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The threadgroup, counted through the grid.
    pub group: u32,
    /// The thread's index in it.
    pub thread: u32,
    /// The instruction after it.
    pub site: usize,
    /// The line where the thread had last waited.
    pub last_line: u32,
    simdgroup: u32,
    kind: c_uint,
    barriers: u32,
    simdgroup_barriers: u32,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug)]
pub enum Finding {
    /// Nothing orders it and another one.
    Race {
        /// The access that was just made.
        one: Access,
        /// The one before.
        other: Access,
    },
    /// It reads what nobody wrote.
    Unwritten {
        /// The access.
        one: Access,
    },
}

/// The last write, and two others that nothing orders, of two simdgroups if there are any: whoever conflicts
/// with more races with one of them.
#[derive(Clone, Default)]
struct Cell {
    written: Option<Access>,
    others: [Option<Access>; 2],
}

struct Region {
    name: String,
    start: usize,
    len: usize,
    is_shared: bool,
    pages: Vec<Option<Box<[Cell]>>>,
}

/// The record of one dispatch.
pub struct Races {
    regions: Vec<Region>,
    group: u32,
    /// Barriers that this threadgroup has passed, by what they order: device memory, threadgroup memory.
    barriers: [u32; 2],
    simdgroup_barriers: Vec<[u32; 2]>,
}

/// Where an access was, for a fault.
#[derive(Debug)]
pub struct Place {
    /// The memory's name.
    pub of: String,
    /// Bytes from its start.
    pub byte: i64,
}

impl Races {
    /// Watches these memories.
    pub fn new<'a>(
        shared: impl Iterator<Item = (&'a String, &'a Memory)>,
        buffers: impl Iterator<Item = (&'a String, &'a Memory)>,
    ) -> Self {
        let region = |is_shared| {
            move |(name, memory): (&'a String, &'a Memory)| Region {
                name: name.clone(),
                start: memory.address() as usize,
                len: memory.len(),
                is_shared,
                pages: vec![None; memory.len().div_ceil(CELL * PAGE)],
            }
        };
        let regions = shared.map(region(true)).chain(buffers.map(region(false))).collect();
        Self { regions, group: 0, barriers: [0; 2], simdgroup_barriers: Vec::new() }
    }

    /// A threadgroup begins.
    pub fn begin(&mut self, group: u32, simdgroups: u32) {
        self.group = group;
        self.barriers = [0; 2];
        self.simdgroup_barriers = vec![[0; 2]; simdgroups as usize];
    }

    /// All threads of the threadgroup have met at a barrier.
    pub fn barrier(&mut self, flags: c_uint) {
        count(&mut self.barriers, flags);
    }

    /// All lanes of a simdgroup have met at a barrier of their own.
    pub fn simdgroup_barrier(&mut self, simdgroup: usize, flags: c_uint) {
        count(&mut self.simdgroup_barriers[simdgroup], flags);
    }

    /// Notes an access, and says what is wrong with it.
    pub fn note(
        &mut self,
        who: Who,
        at: usize,
        bytes: usize,
        kind: c_uint,
        site: usize,
    ) -> Option<(Place, Finding)> {
        let group = self.group;
        let region =
            self.regions.iter_mut().find(|region| (region.start..region.start + region.len).contains(&at))?;
        let space = usize::from(region.is_shared);
        let one = Access {
            group,
            thread: who.thread,
            site,
            last_line: who.last_line,
            simdgroup: who.simdgroup,
            kind,
            barriers: self.barriers[space],
            simdgroup_barriers: self.simdgroup_barriers[who.simdgroup as usize][space],
        };
        let first = at - region.start;
        let last = (first + bytes - 1).min(region.len - 1);
        let is_shared = region.is_shared;
        let mut any_written = false;
        for index in first / CELL..=last / CELL {
            let page = region.pages[index / PAGE].get_or_insert_with(|| vec![Cell::default(); PAGE].into());
            let cell = &mut page[index % PAGE];
            if is_shared && cell.all().any(|other| other.group != group) {
                *cell = Cell::default();
            }
            any_written |= cell.written.is_some();
            if let Some(other) = cell.note(one) {
                let place = Place { of: region.name.clone(), byte: (index * CELL) as i64 };
                return Some((place, Finding::Race { one, other }));
            }
            let padding = kind & COPIES != 0;
            if is_shared && kind & WRITES == 0 && !any_written && !(padding && index < last / CELL) {
                let place = Place { of: region.name.clone(), byte: first as i64 };
                return Some((place, Finding::Unwritten { one }));
            }
        }
        None
    }
}

/// The thread that makes an access.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Its index in the threadgroup.
    pub thread: u32,
    /// Its simdgroup's index.
    pub simdgroup: u32,
    /// The line where it last waited.
    pub last_line: u32,
}

impl Cell {
    /// Enters an access, or gives the one that races with it.
    fn note(&mut self, one: Access) -> Option<Access> {
        let races = |other: &Access| {
            (one.kind | other.kind) & WRITES != 0
                && (one.kind & other.kind & ATOMICALLY == 0 || other.decides_by_chance(&one))
                && !other.comes_before(&one)
        };
        if let Some(other) = self.all().find(races) {
            return Some(other);
        }
        if one.kind & WRITES != 0 {
            let mut unordered = self.all().filter(|other| !other.comes_before(&one));
            let others = [unordered.next(), unordered.next()];
            *self = Self { written: Some(one), others };
        } else {
            self.keep(one);
        }
        None
    }

    /// Enters a read: in the place of one that comes before it, or of one of two of another simdgroup, which
    /// a barrier of its own may order with a write.
    fn keep(&mut self, one: Access) {
        let free = self.others.iter().position(|place| place.is_none_or(|other| other.comes_before(&one)));
        let both = self.others[0].zip(self.others[1]);
        let beside = both.filter(|(first, second)| first.is_beside(second) && !first.is_beside(&one));
        if let Some(at) = free.or(beside.map(|_| 1)) {
            self.others[at] = Some(one);
        }
    }

    fn all(&self) -> impl Iterator<Item = Access> + use<> {
        [self.written, self.others[0], self.others[1]].into_iter().flatten()
    }
}

impl Access {
    fn comes_before(&self, later: &Self) -> bool {
        self.group == later.group
            && (self.thread == later.thread
                || self.barriers < later.barriers
                || (self.simdgroup == later.simdgroup && self.simdgroup_barriers < later.simdgroup_barriers))
    }

    /// Whether of this and a later atomic access, which nothing orders, one is a store that the other would
    /// see, or undo. Between threadgroups that is how they speak to each other.
    fn decides_by_chance(&self, later: &Self) -> bool {
        let replaces = |it: &Self| it.kind & REPLACES != 0;
        self.group == later.group && (replaces(later) || replaces(self) && later.kind & STORES == 0)
    }

    fn is_beside(&self, other: &Self) -> bool {
        (self.group, self.simdgroup) == (other.group, other.simdgroup)
    }

    /// What it does, as `writes` or `reads`.
    pub fn verb(&self) -> &'static str {
        match (self.kind & WRITES != 0, self.kind & ATOMICALLY != 0) {
            (true, true) => "changes atomically",
            (false, true) => "reads atomically",
            (true, false) => "writes",
            (false, false) => "reads",
        }
    }
}

fn count(barriers: &mut [u32; 2], flags: c_uint) {
    for (count, flag) in barriers.iter_mut().zip([MEM_DEVICE, MEM_THREADGROUP]) {
        *count += u32::from(flags & flag != 0);
    }
}
