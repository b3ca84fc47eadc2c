//! A player without a model: logits are a hash of the sequence's tokens, read back from a paged cache
//! that refuses every batch a real player could not play correctly.
//!
//! Each cache slot keeps a token, its position and the hash of the history up to it. A row is only
//! played when the slots before it hold exactly its history, so a page that was never written, was
//! given to another sequence, or lies at the wrong place in the table is an error.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex},
};

use marlin_kernel::{
    Batch, Chooser, Error, Player, SequenceRows,
    plan::{BufferId, Plan, Rows, Word},
    sample::{NO_TOKEN, reference},
};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    position: u32,
    token: u32,
    history: u64,
}

/// What a test wants to know or change while the engine owns the player.
#[derive(Debug, Default)]
pub struct Control {
    /// Batches begun, refused ones left out.
    pub batches: usize,
    /// Rows of the largest batch.
    pub largest: usize,
    /// Rows of all batches.
    pub rows: usize,
    /// Batches submitted while the one before was not collected.
    pub ahead: usize,
    /// Lose what this many coming collected batches chose.
    pub losses: usize,
    /// Fail this many coming batches after their cache was written.
    pub failures: usize,
    /// Logits after exactly this history start with a NaN.
    pub poison: Option<Vec<u32>>,
    /// Multiplied into all logits; 0 reads as 1.
    pub sharpness: f32,
    /// Added to every logit as a hash of its own, times this.
    pub noise: f32,
}

pub struct FakePlayer {
    plan: Plan,
    page_size: usize,
    cache: Vec<Option<Slot>>,
    outputs: Vec<u64>,
    chooses: bool,
    /// Batches submitted and not collected, with what was chosen.
    submitted: VecDeque<(Batch, Vec<u32>)>,
    /// What the batch chose that was submitted last.
    chosen: Vec<u32>,
    pub control: Arc<Mutex<Control>>,
}

impl FakePlayer {
    pub fn new(vocab_size: usize, pages: usize, page_size: usize) -> FakePlayer {
        let mut plan = Plan::default();
        plan.logits = Some(plan.add_buffer("logits", Rows::Outputs, vocab_size, Word::F32).buffer);
        let cache = vec![None; pages * page_size];
        FakePlayer {
            plan,
            page_size,
            cache,
            outputs: Vec::new(),
            chooses: false,
            submitted: VecDeque::new(),
            chosen: Vec::new(),
            control: Arc::default(),
        }
    }

    /// The same player, able to choose tokens itself or not.
    pub fn choosing(self, chooses: bool) -> FakePlayer {
        FakePlayer { chooses, ..self }
    }

    fn slot(&self, pages: &[u32], position: usize) -> usize {
        pages[position / self.page_size] as usize * self.page_size + position % self.page_size
    }

    /// The hash of the history before `position`, checked token by token.
    fn history(&self, pages: &[u32], position: usize) -> Result<u64, Error> {
        let mut history = START;
        for before in 0..position {
            let found = self.cache[self.slot(pages, before)];
            let token = found.map_or(0, |slot| slot.token);
            history = extend(history, token);
            let expected = Some(Slot { position: before as u32, token, history });
            if found != expected {
                return refuse("cache slot", format!("{found:?}"), format!("{expected:?}"));
            }
        }
        Ok(history)
    }

    fn check(&self, batch: &Batch) -> Result<(), Error> {
        if batch.tokens.is_empty() || batch.tokens.len() != batch.positions.len() {
            return refuse("rows", batch.tokens.len().to_string(), batch.positions.len().to_string());
        }
        let mut used: Vec<u32> =
            batch.sequences.iter().flat_map(|sequence| &sequence.pages).copied().collect();
        used.sort_unstable();
        if let Some(pair) = used.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse("page", format!("{} twice", pair[0]), "pages of one sequence only".to_owned());
        }
        if used.last().is_some_and(|&page| page as usize * self.page_size >= self.cache.len()) {
            return refuse(
                "page",
                format!("{used:?}"),
                format!("below {}", self.cache.len() / self.page_size),
            );
        }
        let mut next = 0;
        for sequence in &batch.sequences {
            if sequence.rows.start != next || sequence.rows.is_empty() {
                return refuse("rows", format!("{:?}", sequence.rows), format!("start at {next}"));
            }
            next = sequence.rows.end;
            let positions = &batch.positions[sequence.rows.clone()];
            if positions.windows(2).any(|pair| pair[1] != pair[0] + 1) {
                return refuse("positions", format!("{positions:?}"), "consecutive".to_owned());
            }
            let reach = sequence.pages.len() * self.page_size;
            if positions.last().is_some_and(|&last| last as usize >= reach) {
                return refuse("positions", format!("{positions:?}"), format!("below {reach}"));
            }
        }
        if next != batch.tokens.len() || batch.outputs.iter().any(|&row| row as usize >= next) {
            return refuse("rows", batch.tokens.len().to_string(), next.to_string());
        }
        Ok(())
    }
}

impl Player for FakePlayer {
    fn describe(&self) -> String {
        "fake".to_owned()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn page_size(&self) -> usize {
        self.page_size
    }

    fn pages(&self) -> usize {
        self.cache.len() / self.page_size
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut batch = batch.clone();
        batch.resolve(&self.chosen, self.plan.vocab_size())?;
        self.check(&batch)?;
        let mut histories = Vec::new();
        for sequence in &batch.sequences {
            let first = batch.positions[sequence.rows.start] as usize;
            let mut history = self.history(&sequence.pages, first)?;
            for row in sequence.rows.clone() {
                let (token, position) = (batch.tokens[row], batch.positions[row]);
                history = extend(history, token);
                let slot = self.slot(&sequence.pages, position as usize);
                self.cache[slot] = Some(Slot { position, token, history });
                histories.push(history);
            }
        }
        self.outputs = batch.outputs.iter().map(|&row| histories[row as usize]).collect();
        let mut control = self.control.lock().unwrap();
        if control.failures > 0 {
            control.failures -= 1;
            return Err(Error::Device { device: "fake".to_owned(), reason: "told to fail".to_owned() });
        }
        control.batches += 1;
        control.largest = control.largest.max(batch.tokens.len());
        control.rows += batch.tokens.len();
        Ok(())
    }

    fn run(&mut self, _: Range<usize>) -> Result<(), Error> {
        Ok(())
    }

    fn read(&mut self, _: BufferId) -> Result<Vec<f32>, Error> {
        let control = self.control.lock().unwrap();
        let poison = control.poison.as_ref().map(|tokens| tokens.iter().copied().fold(START, extend));
        let sharpness = if control.sharpness == 0.0 { 1.0 } else { control.sharpness };
        let mut logits = Vec::new();
        for &history in &self.outputs {
            let row = logits.len();
            logits.extend(row_after(history, self.plan.vocab_size()).iter().map(|logit| logit * sharpness));
            if control.noise != 0.0 {
                let noise = row_after(history ^ 0x5eed, self.plan.vocab_size());
                logits[row..]
                    .iter_mut()
                    .zip(noise)
                    .for_each(|(logit, value)| *logit += value * control.noise);
            }
            if poison == Some(history) {
                logits[row] = f32::NAN;
            }
        }
        Ok(logits)
    }

    fn write(&mut self, _: BufferId, values: &[f32]) -> Result<(), Error> {
        refuse("values", values.len().to_string(), "the fake has no buffer to write".to_owned())
    }

    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        if self.chooses { Some(self) } else { None }
    }
}

impl Chooser for FakePlayer {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        assert!(self.submitted.len() < 2, "two batches are in flight already");
        batch.check_submission()?;
        for (before, _) in &self.submitted {
            pages_in_use(before, batch)?;
        }
        let mut known = batch.clone();
        known.resolve(&self.chosen, self.plan.vocab_size())?;
        self.begin(batch)?;
        let logits = self.read(BufferId(0))?;
        let rows = logits.chunks_exact(self.plan.vocab_size()).zip(batch.choices.iter().zip(&batch.outputs));
        self.chosen = rows
            .map(|(row, (choice, &output))| {
                choice.check(row.len()).unwrap();
                let own = known.tokens[output as usize];
                reference::choose(row, choice, own, &mut reference::Scratch::default()).unwrap_or(NO_TOKEN)
            })
            .collect();
        self.control.lock().unwrap().ahead += self.submitted.len();
        self.submitted.push_back((batch.clone(), self.chosen.clone()));
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<u32>, Error> {
        let (_, chosen) = self.submitted.pop_front().ok_or_else(Error::nothing_submitted)?;
        let mut control = self.control.lock().unwrap();
        if control.losses > 0 {
            control.losses -= 1;
            return Err(Error::Device { device: "fake".to_owned(), reason: "told to lose".to_owned() });
        }
        Ok(chosen)
    }
}

/// Refuses a batch that uses a page of one that is still in flight, but for a sequence that goes on.
fn pages_in_use(before: &Batch, batch: &Batch) -> Result<(), Error> {
    let next = |sequence: &SequenceRows| before.positions[sequence.rows.end - 1] + 1;
    for old in &before.sequences {
        for new in &batch.sequences {
            let goes_on = batch.positions[new.rows.start] == next(old) && new.pages.starts_with(&old.pages);
            if !goes_on && new.pages.iter().any(|page| old.pages.contains(page)) {
                return refuse("pages", format!("{:?}", new.pages), format!("none of {:?}", old.pages));
            }
        }
    }
    Ok(())
}

/// The logits after `tokens`: what any engine must sample from.
pub fn logits_after(tokens: &[u32], vocab_size: usize) -> Vec<f32> {
    row_after(tokens.iter().copied().fold(START, extend), vocab_size)
}

const START: u64 = 0x9e37_79b9_7f4a_7c15;

fn extend(history: u64, token: u32) -> u64 {
    mix(history ^ mix(u64::from(token) + 1))
}

/// Roughly normal, spread about 2: the sum of four uniform bytes.
fn row_after(history: u64, vocab_size: usize) -> Vec<f32> {
    let logit = |token: u64| {
        let bytes = mix(history.wrapping_add(token.wrapping_mul(START))).to_le_bytes();
        let sum: u32 = bytes[..4].iter().map(|&byte| u32::from(byte)).sum();
        (sum as f32 - 510.0) / 74.0 + f32::from(bytes[4]) / 1e4
    };
    (0..vocab_size as u64).map(logit).collect()
}

/// SplitMix64's finalizer (Steele, Lea, Flood, OOPSLA 2014).
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn refuse<T>(what: &'static str, found: String, expected: String) -> Result<T, Error> {
    Err(Error::Batch { what, found, expected })
}
