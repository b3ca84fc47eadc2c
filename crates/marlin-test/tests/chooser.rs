//! A model gives the same texts whether its player chooses the tokens or the host does.

use std::{collections::HashMap, ops::Range};

use marlin_engine::{Engine, Finish, Limits, Request, Sampling, SequenceId};
use marlin_kernel::{
    Batch, Error, Player, Random, ReferencePlayer,
    plan::{BufferId, Plan},
};
use marlin_test::tiny_model;

const VOCABULARY: usize = 29;

/// The reference player, which leaves the choice to the host.
struct Plain(ReferencePlayer);

impl Player for Plain {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn plan(&self) -> &Plan {
        self.0.plan()
    }

    fn page_size(&self) -> usize {
        self.0.page_size()
    }

    fn pages(&self) -> usize {
        self.0.pages()
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Error> {
        self.0.begin(batch)
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), Error> {
        self.0.run(range)
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, Error> {
        self.0.read(buffer)
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), Error> {
        self.0.write(buffer, values)
    }
}

/// A request, the step it arrives in, and how many steps later it is cancelled.
struct Visit {
    request: Request,
    arrival: usize,
    cancel: Option<usize>,
}

fn visit(random: &mut Random) -> Visit {
    let prompt = (0..1 + random.below(12)).map(|_| random.below(VOCABULARY) as u32).collect();
    let sampling = Sampling {
        temperature: [0.0, 0.8, 1.2][random.below(3)],
        top_k: [0, 8][random.below(2)],
        top_p: [1.0, 0.9][random.below(2)],
        min_p: [0.0, 0.05][random.below(2)],
        repetition_penalty: [1.0, 1.3][random.below(2)],
        presence_penalty: [0.0, 0.5][random.below(2)],
        frequency_penalty: [0.0, 0.4][random.below(2)],
        logit_bias: if random.below(8) == 0 { vec![(3, 2.0)] } else { Vec::new() },
        seed: Some(random.bits()),
    };
    let request = Request {
        prompt,
        max_tokens: Some(1 + random.below(24)),
        stop_tokens: (0..random.below(3)).map(|_| random.below(VOCABULARY) as u32).collect(),
        sampling,
        logprobs: (random.below(8) == 0).then_some(2),
    };
    let cancel = (random.below(5) == 0).then(|| random.below(20));
    Visit { request, arrival: random.below(15), cancel }
}

type Text = (Vec<u32>, Option<Finish>);

/// What each visit got, and how often a sequence was preempted.
fn serve(player: Box<dyn Player>, visits: &[Visit]) -> (Vec<Text>, u64) {
    let limits = Limits { max_batch_tokens: 9, max_sequences: 5, ..Limits::default() };
    let mut engine = Engine::new(player, limits).unwrap();
    let mut texts: Vec<Text> = vec![(Vec::new(), None); visits.len()];
    let mut names: HashMap<SequenceId, usize> = HashMap::new();
    for step in 0..10_000 {
        for (at, visit) in visits.iter().enumerate().filter(|(_, visit)| visit.arrival == step) {
            names.insert(engine.add(visit.request.clone()).unwrap(), at);
        }
        for (&id, &at) in &names {
            if visits[at].cancel.is_some_and(|after| visits[at].arrival + after == step) {
                engine.cancel(id);
            }
        }
        for event in engine.step().unwrap() {
            let text = &mut texts[names[&event.sequence]];
            text.0.extend(event.token);
            text.1 = event.finish;
        }
        if engine.is_idle() && step > 15 {
            assert_eq!(engine.step().unwrap(), [], "an event of no sequence");
            assert_eq!(engine.usage().pages_free, engine.usage().pages_total);
            return (texts, engine.usage().preemptions);
        }
    }
    panic!("no progress");
}

#[test]
fn texts_do_not_depend_on_who_chooses() {
    let mut preempted = [0, 0];
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let visits: Vec<Visit> = (0..10).map(|_| visit(&mut random)).collect();
        // Room for one long sequence and a half.
        let player = || ReferencePlayer::new(tiny_model("f32"), 4, 13).unwrap();
        assert!(player().chooser().is_some() && Plain(player()).chooser().is_none());
        let (host, preemptions) = serve(Box::new(Plain(player())), &visits);
        preempted[0] += preemptions;
        let (device, preemptions) = serve(Box::new(player()), &visits);
        preempted[1] += preemptions;
        for ((visit, host), device) in visits.iter().zip(host).zip(device) {
            if visit.cancel.is_some() {
                // How far it came before is a matter of time.
                let len = host.0.len().min(device.0.len());
                assert_eq!(host.0[..len], device.0[..len], "{:?}", visit.request);
            } else {
                assert!(host.1.is_some());
                assert_eq!(host, device, "{:?}", visit.request);
            }
        }
    }
    assert!(preempted.iter().all(|&count| count > 0), "{preempted:?}");
}
