// fp4+sparse24: 2 of 4 in 4-bit floats, E4M3 scales and a factor for the tensor.

//#import shader/format/e2m1
//#import shader/format/sparse4
//#import shader/format/scale_e4m3

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
