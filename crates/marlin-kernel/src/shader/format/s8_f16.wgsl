// int8, q5_0, q8_0: signed integers of up to 8 bits with scales in half.

//#import shader/format/s8
//#import shader/format/bytes
//#import shader/format/scale_f16

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
