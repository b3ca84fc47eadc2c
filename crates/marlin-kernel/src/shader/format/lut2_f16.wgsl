// nf2: indices of 2 bits with scales in half.

//#import shader/format/lut2
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
