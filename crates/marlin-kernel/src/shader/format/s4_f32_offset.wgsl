// q3_k: signed integers of up to 4 bits with a scale and an offset (of 0).

//#import shader/format/u4
//#import shader/format/nibbles
//#import shader/format/scale_f32_offset

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 8.0;
