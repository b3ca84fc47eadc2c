//! The order of things: which threadgroup, simdgroup and thread goes on next, as a seed decides, and
//! what is wrong where they meet.
//!
//! A threadgroup runs until its threads have returned, then the next one, in a shuffled order. Between
//! two meetings a thread runs undisturbed; a simdgroup goes on in a newly shuffled order of lanes each
//! time, and either waits for the others to catch up or runs ahead to its next barrier.

use std::{
    ffi::{CStr, c_void},
    ptr,
};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};

use crate::{
    Fault, FaultKind, Launch, Memory,
    abi::{Invocation, Meeting},
    kernel::Code,
    machine,
    races::Races,
    threads::{self, State, Thread},
    trap,
    trouble::Trouble,
    watchdog::Watch,
};

/// Patterns of unwritten threadgroup memory, as `f32` and as pairs of `f16`: not a number, huge, and their
/// negatives; as integers, far from any index. The low bits of both halves are random.
const POISON: [u32; 4] = [0x7fa0_7da0, 0x7b40_7b40, 0xffa0_fda0, 0xfb40_fb40];

/// What a step of a simdgroup needs room for, kept from step to step.
#[derive(Default)]
struct Room {
    /// Lanes that go on, in their order.
    order: Vec<usize>,
    /// What each lane brings to a meeting; null if it has returned.
    records: Vec<*mut c_void>,
}

/// One dispatch with everything bound.
pub struct Grid<'a> {
    /// The kernel's name.
    pub kernel: &'a str,
    /// Its machine code.
    pub code: &'a Code,
    /// What was asked for.
    pub launch: &'a Launch<'a>,
    /// Addresses by slot.
    pub table: Vec<*mut c_void>,
    /// What the kernel was given, by name.
    pub buffers: Vec<(String, &'a Memory)>,
    /// Whether to trap where an infinity or a NaN is made.
    pub finite: bool,
    /// Whether to record accesses of threadgroup memory and of these buffers.
    pub recorded: Option<Vec<usize>>,
    /// Variables of the threadgroup, by name.
    pub shared: Vec<(String, Memory)>,
}

impl Grid<'_> {
    /// Runs all threadgroups.
    pub fn run(mut self) -> Result<(), Box<Fault>> {
        trap::install();
        threads::record(self.recorded.as_ref().map(|which| {
            let buffers = which.iter().map(|at| (&self.buffers[*at].0, self.buffers[*at].1));
            Races::new(self.shared.iter().map(|(name, memory)| (name, memory)), buffers)
        }));
        machine::trap_at_infinities(self.finite);
        let result = self.run_threadgroups();
        machine::trap_at_infinities(false);
        threads::record(None);
        result
    }

    fn run_threadgroups(&mut self) -> Result<(), Box<Fault>> {
        let watch = Watch::new(self.launch.patience);
        let mut order: Vec<u64> = (0..self.launch.grid.iter().map(|n| u64::from(*n)).product()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.launch.seed));
        for at in order {
            let position = self.position(at);
            let mut rng = ChaCha8Rng::seed_from_u64(self.launch.seed);
            rng.set_stream(at + 1);
            watch.again(self.launch.patience);
            threads::with_races(|races| races.begin(at as u32, self.simdgroups()));
            self.run_threadgroup(position, &mut rng).map_err(|trouble| {
                let Trouble { thread, line, kind } = trouble;
                Box::new(Fault {
                    kernel: self.kernel.into(),
                    threadgroup: Some(position),
                    thread,
                    line,
                    kind,
                })
            })?;
        }
        Ok(())
    }

    /// Where the threadgroup of a number is.
    pub fn position(&self, number: u64) -> [u32; 3] {
        let [width, height, _] = self.launch.grid.map(u64::from);
        [number % width, number / width % height, number / width / height].map(|n| n as u32)
    }

    fn run_threadgroup(&mut self, position: [u32; 3], rng: &mut ChaCha8Rng) -> Result<(), Trouble> {
        let poison = POISON[rng.random_range(0..POISON.len())] | rng.random::<u32>() & 0x001f_001f;
        self.shared.iter_mut().for_each(|(_, memory)| memory.fill(poison));
        let shared: Vec<_> = self.shared.iter().map(|(_, memory)| memory.address()).collect();
        let mut threads = self.threads(position, &shared);
        let width = self.launch.simdgroup as usize;
        let mut simdgroups: Vec<&mut [Thread]> = threads.chunks_mut(width).collect();
        let runs_ahead = rng.random_range(0..=4);
        let (mut current, mut ready, mut room) = (None, Vec::new(), Room::default());
        loop {
            ready.clear();
            ready.extend((0..simdgroups.len()).filter(|at| is_ready(simdgroups[*at])));
            if ready.is_empty() {
                let Some(flags) = release(&mut simdgroups)? else { return Ok(()) };
                threads::with_races(|races| races.barrier(flags));
                continue;
            }
            let stays = current.filter(|at| ready.contains(at) && rng.random_range(0..4) < runs_ahead);
            let at = stays.unwrap_or_else(|| ready[rng.random_range(0..ready.len())]);
            current = Some(at);
            self.run_simdgroup(simdgroups[at], rng, &mut room)?;
        }
    }

    fn simdgroups(&self) -> u32 {
        self.launch.threads.iter().product::<u32>().div_ceil(self.launch.simdgroup)
    }

    fn threads(&self, [x, y, z]: [u32; 3], shared: &[*mut c_void]) -> Vec<Thread> {
        let Launch { grid, threads: [width, height, depth], simdgroup, .. } = *self.launch;
        let count = width * height * depth;
        let thread = |index: u32| {
            let own = [index % width, index / width % height, index / width / height];
            let invocation = Invocation {
                position_in_grid: [x * width + own[0], y * height + own[1], z * depth + own[2]],
                position_in_threadgroup: own,
                threadgroup_position: [x, y, z],
                threadgroups: grid,
                threads_per_threadgroup: [width, height, depth],
                threads_per_grid: [grid[0] * width, grid[1] * height, grid[2] * depth],
                index_in_threadgroup: index,
                simdgroup_index: index / simdgroup,
                lane: index % simdgroup,
                simdgroups: self.simdgroups(),
                simdgroup_size: simdgroup,
                buffers: self.table.as_ptr(),
                shared: shared.as_ptr(),
            };
            Thread::new(invocation)
        };
        (0..count).map(thread).collect()
    }

    /// Lets every ready lane go on once, and completes what they meet for.
    fn run_simdgroup(
        &self,
        lanes: &mut [Thread],
        rng: &mut ChaCha8Rng,
        Room { order, records }: &mut Room,
    ) -> Result<(), Trouble> {
        order.clear();
        order.extend((0..lanes.len()).filter(|at| matches!(lanes[*at].state, State::Ready)));
        order.shuffle(rng);
        for at in order {
            let lane = &mut lanes[*at];
            lane.resume(self.code.entry).map_err(|stop| self.explain(lane, stop))?;
        }
        let Some(meeting) = agree(lanes.iter(), |_| false)? else { return Ok(()) };
        if meeting.of_simdgroup == 0 {
            return Ok(());
        }
        records.clear();
        records.resize(self.launch.simdgroup as usize, ptr::null_mut());
        for (lane, record) in lanes.iter().zip(records.iter_mut()) {
            if let State::Waits(own) = lane.state {
                // SAFETY: the meeting lies on the stack of a thread that waits.
                *record = unsafe { (*own).record };
            }
        }
        let simdgroup = lanes[0].invocation.simdgroup_index as usize;
        threads::with_races(|races| races.simdgroup_barrier(simdgroup, meeting.flags));
        if let Some(complete) = meeting.complete {
            // On this stack a signal would find no thread of the kernel.
            machine::trap_at_infinities(false);
            // SAFETY: the records are of the type that the function takes: all lanes are at one call.
            let wrong = unsafe { complete(records.as_ptr(), records.len() as u32) };
            if self.finite {
                let met = machine::met_infinities();
                machine::trap_at_infinities(true);
                if met {
                    let kind = FaultKind::NotFinite { what: "an operation of the simdgroup" };
                    return Err(Trouble { thread: None, line: Some(meeting.line), kind });
                }
            }
            if !wrong.is_null() {
                // SAFETY: the text is a literal of the kernel's library.
                let wrong = unsafe { CStr::from_ptr(wrong) }.to_string_lossy();
                let kind = FaultKind::Undefined { what: format!("{}: {wrong}", name(meeting)) };
                return Err(Trouble { thread: None, line: Some(meeting.line), kind });
            }
        }
        go_on(lanes);
        Ok(())
    }
}

fn is_ready(lanes: &[Thread]) -> bool {
    lanes.iter().any(|lane| matches!(lane.state, State::Ready))
}

fn go_on<'a>(threads: impl IntoIterator<Item = &'a mut Thread>) {
    for thread in threads {
        if let State::Waits(_) = thread.state {
            thread.state = State::Ready;
        }
    }
}

/// Opens the barrier at which all threads wait and gives its flags; nothing where all have returned.
fn release(simdgroups: &mut [&mut [Thread]]) -> Result<Option<u32>, Trouble> {
    let threads = simdgroups.iter().flat_map(|lanes| lanes.iter());
    let flags = agree(threads, |meeting| meeting.of_simdgroup == 0)?.map(|meeting| meeting.flags);
    go_on(simdgroups.iter_mut().flat_map(|lanes| lanes.iter_mut()));
    Ok(flags)
}

/// The one meeting that all threads wait for, if any waits; those that have returned are missed where
/// `wants_all` says so.
fn agree<'a>(
    threads: impl Iterator<Item = &'a Thread> + Clone,
    wants_all: impl Fn(&Meeting) -> bool,
) -> Result<Option<&'a Meeting>, Trouble> {
    let meeting = |thread: &'a Thread| match thread.state {
        // SAFETY: the meeting lies on the stack of a thread that waits.
        State::Waits(meeting) => Some(unsafe { &*meeting }),
        State::Ready | State::Done => None,
    };
    let Some((first, one)) = threads.clone().find_map(|thread| Some((thread, meeting(thread)?))) else {
        return Ok(None);
    };
    for thread in threads {
        let other = match meeting(thread) {
            Some(other) if (other.site, other.line, other.name) == (one.site, one.line, one.name) => continue,
            Some(other) => format!("waits at {}", describe(other)),
            None if wants_all(one) => "has returned".to_owned(),
            None => continue,
        };
        let kind = FaultKind::Divergence {
            one: format!("waits at {}", describe(one)),
            other,
            other_thread: thread.invocation.index_in_threadgroup,
        };
        let thread = Some(first.invocation.index_in_threadgroup);
        return Err(Trouble { thread, line: Some(one.line), kind });
    }
    Ok(Some(one))
}

fn describe(meeting: &Meeting) -> String {
    format!("{} in line {}", name(meeting), meeting.line)
}

fn name(meeting: &Meeting) -> String {
    // SAFETY: the name is a literal of the kernel's library.
    unsafe { CStr::from_ptr(meeting.name) }.to_string_lossy().into_owned()
}
