// How a row's token is chosen: the record of 12 words that the batch has for each output, as
// `Choice::words` in sample/choice.rs draws it; and the uniform of the two sampling shaders.

//#import arena

struct Step {
    logits: u32,
    logits_stride: u32,
    vocabulary: u32,
    // The chosen tokens: those of the batch before until `sample` has written these.
    out: u32,
    out_stride: u32,
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> step: Step;

const RECORD: u32 = 12u;
const OWN: u32 = 1u;
const PENALIZES: u32 = 2u;

// Word `index` of the record of an output.
fn choice_word(output: u32, index: u32) -> u32 {
    return batch[batch[10] + output * RECORD + index];
}

fn choice_number(output: u32, index: u32) -> f32 {
    return bitcast<f32>(choice_word(output, index));
}
