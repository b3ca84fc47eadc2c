//! Where the bytes of a row lie, as numbers: enough to size, slice and check a weight.

/// What an integer code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 4-bit float `s e1 e0 m`: 0, .5, 1, 1.5, 2, 3, 4, 6 and the negatives. Unpacks to twice the
    /// value, with the scale halved.
    E2m1,
    /// Unsigned 4-bit integer less a zero point.
    Uint4,
    /// Unsigned 3-bit integer less a zero point.
    Uint3,
    /// Unsigned 2-bit integer less a zero point.
    Uint2,
    /// 4-bit integer stored with 8 added.
    Int4,
    /// 8-bit integer stored with 128 added.
    Int8,
    /// 4-bit index into the weight's codebook of 16 values.
    Lookup4,
    /// 3-bit index into the weight's codebook of 8 values.
    Lookup3,
    /// 2-bit index into the weight's codebook of 4 values.
    Lookup2,
    /// 8-bit float, 4 exponent bits, bias 7, largest 448 (OCP FP8 E4M3).
    E4m3,
    /// 8-bit float, 5 exponent bits, bias 15, largest 57344 (OCP FP8 E5M2).
    E5m2,
}

/// A group longer than any row: one scale a row.
pub const ROW: usize = 1 << 30;

impl Code {
    /// Bits of one code.
    pub const fn bits(self) -> usize {
        match self {
            Code::Uint2 | Code::Lookup2 => 2,
            Code::Uint3 | Code::Lookup3 => 3,
            Code::E2m1 | Code::Uint4 | Code::Int4 | Code::Lookup4 => 4,
            Code::Int8 | Code::E4m3 | Code::E5m2 => 8,
        }
    }

    /// Whether a zero point is taken off: the unsigned integers.
    pub const fn has_zero(self) -> bool {
        matches!(self, Code::Uint4 | Code::Uint3 | Code::Uint2)
    }

    /// Values of the codebook that codes are indices into; 0 for codes that mean something by themselves.
    pub const fn codebook_len(self) -> usize {
        match self {
            Code::Lookup4 | Code::Lookup3 | Code::Lookup2 => 1 << self.bits(),
            _ => 0,
        }
    }

    /// Whether codes are integers of 8 bits, so that [`Format::unpack`](crate::Format::unpack) takes rows
    /// apart.
    pub const fn is_integer(self) -> bool {
        self.codebook_len() == 0 && !matches!(self, Code::E4m3 | Code::E5m2)
    }

    /// The largest zero point that a code with one can have: a power of two, one more than the largest
    /// code, because GPTQ files store one less in as many bits. 0 for codes without.
    pub const fn max_zero(self) -> u8 {
        if self.has_zero() { 1 << self.bits() } else { 0 }
    }
}

/// How the scale of a group is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleType {
    /// IEEE half, little endian.
    F16,
    /// 8-bit float, 4 exponent bits, bias 7, largest 448 (OCP FP8 E4M3).
    E4m3,
    /// Power of two, bias 127 (OCP MX E8M0).
    E8m0,
    /// IEEE single, little endian.
    F32,
}

impl ScaleType {
    /// Bytes of one scale.
    pub const fn bytes(self) -> usize {
        match self {
            ScaleType::F32 => 4,
            ScaleType::F16 => 2,
            ScaleType::E4m3 | ScaleType::E8m0 => 1,
        }
    }
}

/// Bytes of an f32 scale and an f32 offset.
const PAIR_BYTES: usize = 8;

/// The shape of a row's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Plain values of `bytes` bytes each.
    Dense {
        /// Bytes of one value.
        bytes: usize,
    },
    /// Separate streams of codes, scales and zero points.
    Grouped {
        /// The code of one value.
        code: Code,
        /// Columns that share a scale: a multiple of 16, or [`ROW`].
        group: usize,
        /// The scale of a group.
        scale: ScaleType,
        /// Whether each group has a zero point (one byte in memory, one code on disk).
        zero: bool,
        /// Whether the tensor has an f32 scale of its own.
        tensor_scale: bool,
        /// Whether only two of each four columns have a code, and a position after the codes of the row.
        sparse: bool,
    },
    /// Separate streams of codes and of f32 pairs, scale and offset.
    Affine {
        /// The code of one value: 4 bits without a zero point, or 8 bits.
        code: Code,
        /// Columns that share a pair: a multiple of 16.
        group: usize,
    },
    /// Blocks of `bytes` bytes that hold `values` values, scales inside (GGUF).
    Blocks {
        /// Values of a block; columns are a multiple of it.
        values: usize,
        /// Bytes of a block.
        bytes: usize,
        /// Columns that share a scale: 16 or 32.
        group: usize,
    },
}

impl Layout {
    /// What the codes of separate streams mean.
    pub const fn code(&self) -> Option<Code> {
        match *self {
            Layout::Grouped { code, .. } | Layout::Affine { code, .. } => Some(code),
            Layout::Dense { .. } | Layout::Blocks { .. } => None,
        }
    }

    /// Values of the codebook that a weight of this layout carries; 0 for most.
    pub const fn codebook_len(&self) -> usize {
        match self.code() {
            Some(code) => code.codebook_len(),
            None => 0,
        }
    }

    /// Whether [`Format::unpack`](crate::Format::unpack) takes rows apart into integer codes.
    pub const fn has_integers(&self) -> bool {
        match *self {
            Layout::Dense { .. } => false,
            Layout::Grouped { code, .. } => code.is_integer(),
            Layout::Affine { .. } | Layout::Blocks { .. } => true,
        }
    }

    /// Columns that share a scale; 0 for dense layouts.
    pub const fn group(&self) -> usize {
        match *self {
            Layout::Dense { .. } => 0,
            Layout::Grouped { group, .. } | Layout::Affine { group, .. } | Layout::Blocks { group, .. } => {
                group
            }
        }
    }

    /// Groups of a row of `cols` columns; 0 for dense layouts.
    pub const fn groups(&self, cols: usize) -> usize {
        match self.group() {
            0 => 0,
            group => cols.div_ceil(group),
        }
    }

    /// Bytes of the code stream of one row.
    pub const fn code_bytes(&self, cols: usize) -> usize {
        match *self {
            Layout::Dense { bytes } => cols * bytes,
            Layout::Grouped { code, sparse: true, .. } => {
                (kept(cols) * code.bits()).div_ceil(32) * 4 + position_bytes(cols)
            }
            // As other people's files have them.
            Layout::Grouped { code: Code::E4m3 | Code::E5m2, .. } => cols,
            Layout::Grouped { code, .. } | Layout::Affine { code, .. } => {
                (cols * code.bits()).div_ceil(32) * 4
            }
            Layout::Blocks { values, bytes, .. } => cols / values * bytes,
        }
    }

    /// Bytes of the scale stream of one row.
    pub const fn scale_bytes(&self, cols: usize) -> usize {
        match *self {
            Layout::Grouped { group, scale, .. } => cols.div_ceil(group) * scale.bytes(),
            Layout::Affine { group, .. } => cols.div_ceil(group) * PAIR_BYTES,
            Layout::Dense { .. } | Layout::Blocks { .. } => 0,
        }
    }

    /// Bytes of the zero-point stream of one row.
    pub const fn zero_bytes(&self, cols: usize) -> usize {
        match *self {
            Layout::Grouped { group, zero: true, .. } => cols.div_ceil(group),
            _ => 0,
        }
    }

    /// What the number of columns must be a multiple of.
    pub const fn cols_multiple(&self) -> usize {
        match *self {
            Layout::Blocks { values, .. } => values,
            _ => 1,
        }
    }

    /// Bits of one value on disk in a row without padding, scales and zero points included, the scale of a
    /// whole row not.
    pub fn bits_per_weight(&self) -> f64 {
        match *self {
            Layout::Dense { bytes } => 8.0 * bytes as f64,
            Layout::Grouped { code, group, scale, zero, sparse, .. } => {
                let zero_bits = if zero { code.bits() } else { 0 };
                let per_group = 8 * scale.bytes() + zero_bits;
                let per_value = if sparse { 0.5 * code.bits() as f64 + 1.0 } else { code.bits() as f64 };
                if group == ROW { per_value } else { per_value + per_group as f64 / group as f64 }
            }
            Layout::Affine { code, group } => code.bits() as f64 + 8.0 * PAIR_BYTES as f64 / group as f64,
            Layout::Blocks { values, bytes, .. } => 8.0 * bytes as f64 / values as f64,
        }
    }
}

/// Columns of a 2:4 sparse row that have a code: two of each four, also of those at the end that are fewer.
pub(crate) const fn kept(cols: usize) -> usize {
    2 * cols.div_ceil(4)
}

/// Bytes of the positions of a 2:4 sparse row, 4 bits for each four columns, filled up to whole words.
pub const fn position_bytes(cols: usize) -> usize {
    cols.div_ceil(32) * 4
}
