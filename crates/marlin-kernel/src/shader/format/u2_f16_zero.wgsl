// int2: 2-bit integers with scales in half and zero points.

//#import shader/format/u2
//#import shader/format/scale_f16_zero

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
