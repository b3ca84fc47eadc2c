// Copies the logits of rows with penalties to `scratch`, changed for the tokens that their sequences have
// seen. Rows without are left alone. `sample` follows; needed only if some row of the batch has penalties.
//
//   scratch   | row 0: vocabulary | row 1 ...          list of an output: | token | count | token | count ...
//
// grid: x = outputs; 256 threads. Moves the logits of a row twice, its list once.

//#import sample/choice
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;

// Set in a token that stands for one the batch before chose.
const CHOSEN: u32 = 0x80000000u;
const NONE: u32 = 0xffffffffu;

var<workgroup> listed: atomic<u32>;

// The token that the output's row was played with, if it counts as sampled; or NONE.
fn own_token(output: u32) -> u32 {
    if (choice_word(output, 8u) & OWN) == 0u {
        return NONE;
    }
    let token = batch[batch[4] + batch[batch[7] + output]];
    if (token & CHOSEN) == 0u {
        return token;
    }
    // Where nothing was chosen, token 0 was played: see `Batch::chosen`.
    let chosen = bitcast<u32>(arena[step.out + (token & ~CHOSEN) * step.out_stride]);
    return select(0u, chosen, chosen < step.vocabulary);
}

fn penalized(output: u32, logit: f32, count: u32) -> f32 {
    let repetition = choice_number(output, 4u);
    var value = select(logit * repetition, logit / repetition, logit > 0.0);
    if count > 0u {
        value -= f32(count) * choice_number(output, 5u) + choice_number(output, 6u);
    }
    return value;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let output = group.x;
    if output >= batch[1] || (choice_word(output, 8u) & PENALIZES) == 0u {
        return;
    }
    let source = step.logits + output * step.logits_stride;
    let to = output * step.vocabulary;
    for (var token = local; token < step.vocabulary; token += 256u) {
        scratch[to + token] = arena[source + token];
    }
    if local == 0u {
        atomicStore(&listed, 0u);
    }
    storageBarrier();
    workgroupBarrier();
    let own = own_token(output);
    let list = choice_word(output, 9u);
    let entries = choice_word(output, 10u);
    for (var i = local; i < entries; i += 256u) {
        let token = batch[list + 2u * i];
        var count = batch[list + 2u * i + 1u];
        if token == own {
            count += 1u;
            atomicStore(&listed, 1u);
        }
        if token < step.vocabulary {
            scratch[to + token] = penalized(output, arena[source + token], count);
        }
    }
    workgroupBarrier();
    if local == 0u && own < step.vocabulary && atomicLoad(&listed) == 0u {
        scratch[to + own] = penalized(output, arena[source + own], 1u);
    }
}
