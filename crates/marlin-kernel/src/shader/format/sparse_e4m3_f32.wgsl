// fp8-e4m3+sparse24: 2 of 4 in 8-bit floats with scales in single.

//#import shader/format/e4m3
//#import shader/format/sparse8
//#import shader/format/scale_f32

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
