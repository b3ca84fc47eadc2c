// nf4: indices of 4 bits with scales in half.

//#import shader/format/lut4
//#import shader/format/nibbles
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
