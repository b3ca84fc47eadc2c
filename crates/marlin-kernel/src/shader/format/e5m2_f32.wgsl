// fp8-e5m2: 8-bit floats with scales in single.

//#import shader/format/e5m2
//#import shader/format/bytes
//#import shader/format/scale_f32

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
