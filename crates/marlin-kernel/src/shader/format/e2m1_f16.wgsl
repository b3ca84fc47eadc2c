// fp4-g32, -g64, -g128: 4-bit floats with scales in half.

//#import shader/format/e2m1
//#import shader/format/nibbles
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
