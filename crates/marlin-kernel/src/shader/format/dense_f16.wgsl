// f16: dense.

//#import shader/format/f16
//#import shader/format/scale_none

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
