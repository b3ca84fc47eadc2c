// f32: dense.

//#import shader/format/f32
//#import shader/format/scale_none

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
