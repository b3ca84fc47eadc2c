//! Element types of tensors in files: one table row a type, and nothing else knows their sizes.

use std::fmt;

/// The type of a tensor's elements, or of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the table below says what each is
pub enum Dtype {
    Bool,
    U8,
    I8,
    F8E4m3,
    F8E5m2,
    F8E8m0,
    U16,
    I16,
    F16,
    Bf16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Mxfp4,
    Iq4Nl,
    Iq4Xs,
    Nvfp4,
}

/// What the table knows of one type.
struct Facts {
    dtype: Dtype,
    /// Spelling in safetensors headers, or the GGUF type's name.
    name: &'static str,
    /// Values of a block; 1 for plain types.
    values: usize,
    /// Bytes of a block, or of one value.
    bytes: usize,
    /// Whether safetensors headers may name it.
    safetensors: bool,
    /// Its number in GGUF tensor infos.
    gguf: Option<u32>,
    /// The weight format that reads a matrix of it.
    format: Option<&'static str>,
}

const fn plain(
    dtype: Dtype,
    name: &'static str,
    bytes: usize,
    gguf: Option<u32>,
    format: Option<&'static str>,
) -> Facts {
    Facts { dtype, name, values: 1, bytes, safetensors: true, gguf, format }
}

const fn block(
    dtype: Dtype,
    name: &'static str,
    values: usize,
    bytes: usize,
    gguf: u32,
    format: &'static str,
) -> Facts {
    Facts { dtype, name, values, bytes, safetensors: false, gguf: Some(gguf), format: Some(format) }
}

/// In the order of the enum, which indexes it. Names and sizes: the safetensors README's list of
/// dtypes, and ggml's type table (ggml.h, ggml-common.h).
static TABLE: &[Facts] = &[
    plain(Dtype::Bool, "BOOL", 1, None, None),
    plain(Dtype::U8, "U8", 1, None, None),
    plain(Dtype::I8, "I8", 1, Some(24), None),
    plain(Dtype::F8E4m3, "F8_E4M3", 1, None, None),
    plain(Dtype::F8E5m2, "F8_E5M2", 1, None, None),
    plain(Dtype::F8E8m0, "F8_E8M0", 1, None, None),
    plain(Dtype::U16, "U16", 2, None, None),
    plain(Dtype::I16, "I16", 2, Some(25), None),
    plain(Dtype::F16, "F16", 2, Some(1), Some("f16")),
    plain(Dtype::Bf16, "BF16", 2, Some(30), Some("bf16")),
    plain(Dtype::U32, "U32", 4, None, None),
    plain(Dtype::I32, "I32", 4, Some(26), None),
    plain(Dtype::F32, "F32", 4, Some(0), Some("f32")),
    plain(Dtype::U64, "U64", 8, None, None),
    plain(Dtype::I64, "I64", 8, Some(27), None),
    plain(Dtype::F64, "F64", 8, Some(28), None),
    block(Dtype::Q4_0, "Q4_0", 32, 18, 2, "q4_0"),
    block(Dtype::Q4_1, "Q4_1", 32, 20, 3, "q4_1"),
    block(Dtype::Q5_0, "Q5_0", 32, 22, 6, "q5_0"),
    block(Dtype::Q5_1, "Q5_1", 32, 24, 7, "q5_1"),
    block(Dtype::Q8_0, "Q8_0", 32, 34, 8, "q8_0"),
    block(Dtype::Q2K, "Q2_K", 256, 84, 10, "q2_k"),
    block(Dtype::Q3K, "Q3_K", 256, 110, 11, "q3_k"),
    block(Dtype::Q4K, "Q4_K", 256, 144, 12, "q4_k"),
    block(Dtype::Q5K, "Q5_K", 256, 176, 13, "q5_k"),
    block(Dtype::Q6K, "Q6_K", 256, 210, 14, "q6_k"),
    block(Dtype::Mxfp4, "MXFP4", 32, 17, 39, "mxfp4-gguf"),
    block(Dtype::Iq4Nl, "IQ4_NL", 32, 18, 20, "iq4_nl"),
    block(Dtype::Iq4Xs, "IQ4_XS", 256, 136, 23, "iq4_xs"),
    // Read through its scheme, as its scale is a tensor of its own.
    Facts { format: None, ..block(Dtype::Nvfp4, "NVFP4", 64, 36, 40, "") },
];

/// GGUF types that exist and are not read, so that an error can call them by name.
static UNREAD_GGUF: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
];

impl Dtype {
    fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// The name in files: `BF16`, `F8_E4M3`, `Q4_K`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Values of a block; 1 for plain types. The last dimension is a multiple of it.
    pub fn block_values(self) -> usize {
        self.facts().values
    }

    /// Bytes of a block, or of one value of a plain type.
    pub fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// Name of the weight format that reads a matrix stored in this type.
    pub fn format(self) -> Option<&'static str> {
        self.facts().format
    }

    /// Bytes of a tensor of this shape; `None` where the number overflows. The last dimension is
    /// taken to be whole blocks.
    pub fn len_bytes(self, shape: &[usize]) -> Option<usize> {
        let values = shape.iter().copied().try_fold(1usize, usize::checked_mul)?;
        (values / self.block_values()).checked_mul(self.block_bytes())
    }

    /// The type a safetensors header calls `name`.
    pub fn from_safetensors(name: &str) -> Option<Dtype> {
        TABLE.iter().find(|facts| facts.safetensors && facts.name == name).map(|facts| facts.dtype)
    }

    /// The type with this number in GGUF.
    pub fn from_gguf(id: u32) -> Option<Dtype> {
        TABLE.iter().find(|facts| facts.gguf == Some(id)).map(|facts| facts.dtype)
    }

    /// The type's number in GGUF; `None` for one that GGUF does not have.
    pub fn gguf(self) -> Option<u32> {
        self.facts().gguf
    }

    /// The type in which the dense or block format `name` is stored.
    pub fn of_format(name: &str) -> Option<Dtype> {
        TABLE.iter().find(|facts| facts.format == Some(name)).map(|facts| facts.dtype)
    }

    /// The plain type in which the dense weight format `name` is stored.
    pub fn of_dense_format(name: &str) -> Option<Dtype> {
        let dense = |facts: &&Facts| facts.values == 1 && facts.format == Some(name);
        TABLE.iter().find(dense).map(|facts| facts.dtype)
    }
}

/// What an error calls the GGUF type `id` that [`Dtype::from_gguf`] does not know.
pub(crate) fn unread_gguf_name(id: u32) -> String {
    let known = UNREAD_GGUF.iter().find(|(number, _)| *number == id);
    known.map_or_else(|| format!("number {id}"), |(_, name)| (*name).to_owned())
}

/// The names of all types a container has, for errors.
pub(crate) fn names(gguf: bool) -> String {
    let readable = |facts: &&Facts| if gguf { facts.gguf.is_some() } else { facts.safetensors };
    TABLE.iter().filter(readable).map(|facts| facts.name).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Dtype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, facts) in TABLE.iter().enumerate() {
            assert_eq!(facts.dtype as usize, at, "{}", facts.name);
        }
    }

    #[test]
    fn sizes_count_whole_blocks_and_refuse_overflow() {
        assert_eq!(Dtype::Bf16.len_bytes(&[3, 5]), Some(30));
        assert_eq!(Dtype::Q4_0.len_bytes(&[7, 64]), Some(7 * 2 * 18));
        assert_eq!(Dtype::Q6K.len_bytes(&[2, 3, 512]), Some(2 * 3 * 2 * 210));
        assert_eq!(Dtype::F32.len_bytes(&[]), Some(4));
        assert_eq!(Dtype::F32.len_bytes(&[0, 9]), Some(0));
        assert_eq!(Dtype::U8.len_bytes(&[usize::MAX, 2]), None);
        assert_eq!(Dtype::F64.len_bytes(&[usize::MAX / 4]), None);
    }

    #[test]
    fn names_of_unread_gguf_types() {
        assert_eq!(unread_gguf_name(21), "IQ3_S");
        assert_eq!(unread_gguf_name(77), "number 77");
        for (id, _) in UNREAD_GGUF {
            assert_eq!(Dtype::from_gguf(*id), None);
        }
    }
}
