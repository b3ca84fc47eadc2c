// q2_k, q4_1, q4_k: integers of up to 4 bits with a scale and an offset.

//#import shader/format/u4
//#import shader/format/nibbles
//#import shader/format/scale_f32_offset

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
