// How `experts_coop` brings a block of 32 columns of x and of the weights into workgroup memory, as halves:
//
//   rows 0..64 x of the pairs | rows 64..64 + SIDE the weights            PITCH halves a row, two such stages
//
// Slots: `tile`, `cells`. 128 threads. Bindings: 7 scratch, and those of `weights`.

//#import tile
//#import cells
//#import moe_experts/halves
//#import weights
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<u32>>;

const SIDE: u32 = 8u * TILE;
// Rows of 16 bytes of a matrix lie in different banks.
const PITCH: u32 = 40u;
const STAGE: u32 = (TILE_ROWS + SIDE) * PITCH;
// Weight rows are decoded by 1 or 2 threads each, this many eighths of a block a thread.
const W_EIGHTHS: u32 = SIDE * 4u / 128u;

var<workgroup> halves: array<Cell, 2u * STAGE / CELL>;

// What a thread holds of the next block: eighths of two rows of x, some eighths of a row of the weight.
struct Next {
    x0: vec4<u32>,
    x1: vec4<u32>,
    codes: Codes,
    scales: Scales,
}

// Where a thread works: its rows of x and of the weight.
struct Place {
    local: u32,
    x0: u32,
    x1: u32,
    codes: u32,
    scales: u32,
    shift: u32,
}

fn load_next(place: Place, block: u32) -> Next {
    return Next(
        scratch[place.x0 + 4u * block], scratch[place.x1 + 4u * block],
        load_codes(place.codes + block), load_scales(place.scales, block, place.shift),
    );
}

fn put8(at: u32, x: vec4<u32>) {
    put(at, vec4<f16>(vec4<f32>(unpack2x16float(x.x), unpack2x16float(x.y))));
    put(at + 4u, vec4<f16>(vec4<f32>(unpack2x16float(x.z), unpack2x16float(x.w))));
}

fn put_next(place: Place, next: Next, base: u32) {
    let x = base + (place.local / 4u) * PITCH + 8u * (place.local % 4u);
    put8(x, next.x0);
    put8(x + 32u * PITCH, next.x1);
    let w = base + (TILE_ROWS + place.local / (4u / W_EIGHTHS)) * PITCH;
    for (var i = 0u; i < W_EIGHTHS; i += 1u) {
        let eighth = (place.local % (4u / W_EIGHTHS)) * W_EIGHTHS + i;
        let values = weights8(next.codes, next.scales, eighth);
        put(w + 8u * eighth, vec4<f16>(values.low));
        put(w + 8u * eighth + 4u, vec4<f16>(values.high));
    }
}
