// Codes of 4-bit floats (E2M1: 0 .5 1 1.5 2 3 4 6 and the negatives), eight in a word.
//
// The even columns are in the word's low half, the odd ones in its high half. The four codes of a half lie
// where a mask, after at most two shifts, leaves the bits of an f16, sign on top and `eem` on the last
// exponent bits, which is the value times 2^-14 (its subnormals are E2M1's):
//
//   bit    15  14  13  12  11 10  9   8  7  6   5  4  3   2  1  0
//          s0  s2  s3  s1  e0 e0 m0  e1 e1 m1  e2 e2 m2  e3 e3 m3     code k: column 2k (+ 1)
//
// Eleven integer operations for eight codes.

//#import shader/format/no_codebook

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 16384.0;

fn eight_nibbles(w: u32) -> Eight {
    let a = unpack2x16float(w & 0x8e008e00u);
    let b = unpack2x16float((w << 3u) & 0x8e008e00u);
    let c2 = unpack2x16float(((w << 1u) & 0x80008000u) | ((w << 6u) & 0x0e000e00u));
    let d = unpack2x16float(((w << 2u) & 0x80008000u) | ((w << 9u) & 0x0e000e00u));
    return Eight(vec4<f32>(a, b), vec4<f32>(c2, d));
}
