//! The operations the loops are written in: eight lanes of f32 and 32 bytes of codes.
//!
//! A narrow trait: an operation is here only if plain Rust arrays do not compile to it.

/// A loop compiled once per instruction set. `run` and all it calls must be `#[inline(always)]`:
/// code that is not inlined is compiled without the instructions.
pub(crate) trait Task {
    /// What the loop returns.
    type Output;

    /// Runs the loop with the instructions of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set, as a value that exists only where the machine has it.
pub(crate) trait Simd: Copy {
    /// Eight lanes of f32.
    type F32: Copy;
    /// 32 bytes.
    type Bytes: Copy;

    /// XORed into signed codes before they are weights of [`Simd::dot`]: 0x80 where the instruction
    /// wants unsigned weights, 0 elsewhere.
    const FLIP: u8;
    /// Whether there are registers for a tile of 4 by 4 accumulators.
    const WIDE: bool;

    /// All lanes `value`.
    fn splat(self, value: f32) -> Self::F32;
    /// Lanes from memory.
    fn load(self, from: &[f32; 8]) -> Self::F32;
    /// Lanes to memory.
    fn store(self, lanes: Self::F32, to: &mut [f32; 8]);
    /// Four lanes from memory, twice.
    fn load_twice(self, from: &[f32; 4]) -> Self::F32;
    /// Lanes 0-3 all lane `at`, lanes 4-7 all lane `at + 4`; `at` is less than 4.
    fn spread(self, lanes: Self::F32, at: usize) -> Self::F32;
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`; rounded once where the machine can.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The sum of all lanes: i and i + 4, of these i and i + 2, of these i and i + 1.
    fn sum(self, lanes: Self::F32) -> f32;

    /// Asks for memory that will be read soon.
    fn prefetch(self, memory: &[u8]);
    /// All bytes `value`.
    fn splat_bytes(self, value: u8) -> Self::Bytes;
    /// Bytes from memory, XORed with `flip`.
    fn bytes(self, from: &[u8; 32], flip: u8) -> Self::Bytes;
    /// `a - b` in each byte, modulo 256.
    fn sub_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Bytes to memory.
    fn store_bytes(self, bytes: Self::Bytes, to: &mut [u8; 32]);
    /// 32 nibbles, the low one of each byte first, looked up in `table`.
    fn nibbles(self, from: &[u8; 16], table: &[u8; 16]) -> Self::Bytes;
    /// Lane i is the sum of `weights[k] * x[k]` for k in `4 i..4 i + 4`, exact: weights as signed
    /// codes XORed with [`Simd::FLIP`], x in -127..=127, `bias[i]` = -128 times the sum of its x.
    fn dot(self, weights: Self::Bytes, x: Self::Bytes, bias: &[i32; 8]) -> Self::F32;
}

/// All of [`Simd`] that an instruction set wrapping another (its field 0) takes over from it: everything
/// but `FLIP`, `WIDE` and `dot`.
macro_rules! forward {
    ($inner:ty) => {
        type F32 = <$inner as Simd>::F32;
        type Bytes = <$inner as Simd>::Bytes;
        $crate::simd::vector::forward!(@ splat(value: f32) -> Self::F32);
        $crate::simd::vector::forward!(@ load(from: &[f32; 8]) -> Self::F32);
        $crate::simd::vector::forward!(@ store(lanes: Self::F32, to: &mut [f32; 8]) -> ());
        $crate::simd::vector::forward!(@ load_twice(from: &[f32; 4]) -> Self::F32);
        $crate::simd::vector::forward!(@ spread(lanes: Self::F32, at: usize) -> Self::F32);
        $crate::simd::vector::forward!(@ mul(a: Self::F32, b: Self::F32) -> Self::F32);
        $crate::simd::vector::forward!(@ mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32);
        $crate::simd::vector::forward!(@ sum(lanes: Self::F32) -> f32);
        $crate::simd::vector::forward!(@ prefetch(memory: &[u8]) -> ());
        $crate::simd::vector::forward!(@ splat_bytes(value: u8) -> Self::Bytes);
        $crate::simd::vector::forward!(@ sub_bytes(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes);
        $crate::simd::vector::forward!(@ bytes(from: &[u8; 32], flip: u8) -> Self::Bytes);
        $crate::simd::vector::forward!(@ store_bytes(bytes: Self::Bytes, to: &mut [u8; 32]) -> ());
        $crate::simd::vector::forward!(@ nibbles(from: &[u8; 16], table: &[u8; 16]) -> Self::Bytes);
    };
    (@ $name:ident($($arg:ident: $type:ty),*) -> $out:ty) => {
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            self.0.$name($($arg),*)
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use forward;
