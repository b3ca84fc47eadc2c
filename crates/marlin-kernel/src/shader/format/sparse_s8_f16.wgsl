// int8+sparse24: 2 of 4 in signed 8-bit integers with scales in half.

//#import shader/format/s8
//#import shader/format/sparse8
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
