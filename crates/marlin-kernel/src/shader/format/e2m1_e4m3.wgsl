// fp4: 4-bit floats, E4M3 scales and a factor for the tensor (the NVFP4 layout).

//#import shader/format/e2m1
//#import shader/format/nibbles
//#import shader/format/scale_e4m3

// Taken off every code, in units of codes.
const CODE_ZERO: f32 = 0.0;
