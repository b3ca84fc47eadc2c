// int4-sym+sparse24: 2 of 4 in signed 4-bit integers with scales in half.

//#import shader/format/u4
//#import shader/format/sparse4
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 8.0;
