// q5_1, q5_k, q6_k: integers of up to 8 bits with a scale and an offset.

//#import shader/format/s8
//#import shader/format/bytes
//#import shader/format/scale_f32_offset

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
