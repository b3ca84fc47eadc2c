// int4-sym, q4_0: signed 4-bit integers with scales in half.

//#import shader/format/u4
//#import shader/format/nibbles
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 8.0;
