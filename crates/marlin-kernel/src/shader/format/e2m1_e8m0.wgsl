// mxfp4: 4-bit floats with powers of two.

//#import shader/format/e2m1
//#import shader/format/nibbles
//#import shader/format/scale_e8m0

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
