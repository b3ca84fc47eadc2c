// int4: 4-bit integers with scales in half and zero points.

//#import shader/format/u4
//#import shader/format/nibbles
//#import shader/format/scale_f16_zero

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
