//! The table of shaders: which variants there are of each. The build script validates them all, the
//! GPU player asks for them by name. Knows nothing outside the standard library.

/// What a device must have for a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// What every supported device has: subgroup operations.
    Subgroups,
    /// f16 in shaders too.
    F16,
    /// Cooperative matrices of 16 x 16 f16 into f32, and f16.
    Matrix16,
    /// Cooperative matrices of 8 x 8, and f16.
    Matrix8,
}

/// One shader and the ways it can be composed.
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// Its file below `src`, without `.wgsl`. It is also its name.
    pub file: &'static str,
    /// The kernel it belongs to.
    pub kernel: &'static str,
    /// Imports with the snippets that can stand for them.
    pub slots: Slots,
    /// Constants with the values they can have.
    pub constants: Constants,
    /// What the device must have, besides what its snippets ask for by `enable`.
    pub needs: Needs,
}

/// How weights are stored: `marlin-gpu`'s order of a format names one of these.
const FORMATS: &[&str] = &[
    "shader/format/e2m1_e4m3",
    "shader/format/e2m1_e8m0",
    "shader/format/e2m1_f16",
    "shader/format/u4_f16_zero",
    "shader/format/u4_f32_offset",
    "shader/format/u3_f16_zero",
    "shader/format/u2_f16_zero",
    "shader/format/lut4_f16",
    "shader/format/lut4_f32",
    "shader/format/lut3_f16",
    "shader/format/lut2_f16",
    "shader/format/s4_f16",
    "shader/format/s4_f32_offset",
    "shader/format/s8_f16",
    "shader/format/s8_f32_offset",
    "shader/format/e4m3_f32",
    "shader/format/e5m2_f32",
    "shader/format/sparse_e2m1_e4m3",
    "shader/format/sparse_s4_f16",
    "shader/format/sparse_lut4_f16",
    "shader/format/sparse_s8_f16",
    "shader/format/sparse_e4m3_f32",
    "shader/format/dense_bf16",
    "shader/format/dense_f16",
    "shader/format/dense_f32",
];

/// How attention reads a cache.
const CACHES: &[&str] = &["shader/cache/f32", "shader/cache/f16", "shader/cache/f16_scalar"];

/// Slots of a shader: imports, and the snippets that can stand for each.
pub type Slots = &'static [(&'static str, &'static [&'static str])];
/// Constants of a shader, and the values that each can have.
pub type Constants = &'static [(&'static str, &'static [u32])];

/// Attention on matrices for heads of some widths.
const fn matrix_attention(slots: Slots, constants: Constants, needs: Needs) -> Shader {
    Shader { file: "attention/matrix", kernel: "attention", slots, constants, needs }
}

/// Products of a few rows.
const fn matvec(constants: Constants) -> Shader {
    let slots: Slots = &[("format", FORMATS)];
    Shader { file: "matmul/matvec", kernel: "matmul", slots, constants, needs: Needs::Subgroups }
}

const ATTENTION_16: Slots = &[("matrices", &["attention/matrix16"])];
const ATTENTION_8: Slots = &[("matrices", &["attention/matrix8"])];
const LATENT_576: Constants =
    &[("PAIRS", &[32]), ("POSITIONS", &[16]), ("K_WIDTH", &[576]), ("V_WIDTH", &[512]), ("LATENT", &[1])];
const LATENT_576_LARGE: Constants =
    &[("PAIRS", &[32]), ("POSITIONS", &[32]), ("K_WIDTH", &[576]), ("V_WIDTH", &[512]), ("LATENT", &[1])];
const HEADS_128: Constants = &[
    ("PAIRS", &[16, 32, 64]),
    ("POSITIONS", &[32]),
    ("K_WIDTH", &[128]),
    ("V_WIDTH", &[128]),
    ("LATENT", &[0]),
];
const HEADS_64: Constants =
    &[("PAIRS", &[16, 64]), ("POSITIONS", &[32]), ("K_WIDTH", &[64]), ("V_WIDTH", &[64]), ("LATENT", &[0])];

/// Every shader.
pub static SHADERS: &[Shader] = &[
    Shader {
        file: "shader/rowwise",
        kernel: "rms_norm",
        slots: &[("store", &["shader/store/none", "shader/store/f32", "shader/store/f16"])],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader { file: "shader/copy", kernel: "bench", slots: &[], constants: &[], needs: Needs::Subgroups },
    Shader { file: "shader/peak_fma", kernel: "bench", slots: &[], constants: &[], needs: Needs::Subgroups },
    Shader {
        file: "shader/peak_matrix",
        kernel: "bench",
        slots: &[("tile", &["matmul/tile16"])],
        constants: &[],
        needs: Needs::Matrix16,
    },
    Shader {
        file: "shader/peak_matrix",
        kernel: "bench",
        slots: &[("tile", &["matmul/tile8"])],
        constants: &[],
        needs: Needs::Matrix8,
    },
    Shader {
        file: "embed/embed",
        kernel: "embed",
        slots: &[("format", FORMATS)],
        constants: &[],
        needs: Needs::Subgroups,
    },
    // One row reads longer stretches of x at once; several would not fit in workgroup memory.
    matvec(&[("ROWS", &[1]), ("CHUNK", &[64]), ("OUTS", &[1, 2, 4]), ("NORM", &[0, 1])]),
    matvec(&[("ROWS", &[2, 4]), ("CHUNK", &[32]), ("OUTS", &[1, 2, 4]), ("NORM", &[0, 1])]),
    Shader {
        file: "matmul/matmul",
        kernel: "matmul",
        slots: &[("format", FORMATS)],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader { file: "matmul/convert", kernel: "matmul", slots: &[], constants: &[], needs: Needs::Subgroups },
    Shader {
        file: "matmul/convert_tiles",
        kernel: "matmul",
        slots: &[],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "matmul/matvec_coop",
        kernel: "matmul",
        slots: &[("format", FORMATS), ("halves", &["shader/halves/any"])],
        constants: &[("SPLIT", &[1, 2])],
        needs: Needs::Matrix16,
    },
    Shader {
        file: "matmul/matvec_coop",
        kernel: "matmul",
        slots: &[("format", &["shader/format/e2m1_e4m3"]), ("halves", &["shader/halves/e2m1_e4m3"])],
        constants: &[("SPLIT", &[1, 2])],
        needs: Needs::Matrix16,
    },
    Shader {
        file: "matmul/matmul_coop",
        kernel: "matmul",
        slots: &[("format", FORMATS), ("tile", &["matmul/tile16"]), ("cells", &["matmul/cells4"])],
        constants: &[],
        needs: Needs::Matrix16,
    },
    Shader {
        file: "matmul/matmul_coop",
        kernel: "matmul",
        slots: &[("format", FORMATS), ("tile", &["matmul/tile8"]), ("cells", &["matmul/cells1"])],
        constants: &[],
        needs: Needs::Matrix8,
    },
    Shader {
        file: "moe_route/moe_route",
        kernel: "moe_route",
        slots: &[],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/gate_up",
        kernel: "moe_experts",
        slots: &[("format", FORMATS)],
        constants: &[("OUTS", &[1, 2]), ("SPLIT", &[0, 1])],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/down",
        kernel: "moe_experts",
        slots: &[("format", FORMATS)],
        constants: &[("OUTS", &[1, 2, 4])],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/moe_sort",
        kernel: "moe_experts",
        slots: &[],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/experts_tile",
        kernel: "moe_experts",
        slots: &[("format", FORMATS)],
        constants: &[("SPLIT", &[0, 1])],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/experts_down_tile",
        kernel: "moe_experts",
        slots: &[("format", FORMATS)],
        constants: &[("SPLIT", &[0, 1])],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/experts_halves",
        kernel: "moe_experts",
        slots: &[],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/experts_coop",
        kernel: "moe_experts",
        slots: &[("format", FORMATS), ("tile", &["matmul/tile16"]), ("cells", &["matmul/cells4"])],
        constants: &[("PART", &[0, 1])],
        needs: Needs::Matrix16,
    },
    Shader {
        file: "moe_experts/experts_coop",
        kernel: "moe_experts",
        slots: &[("format", FORMATS), ("tile", &["matmul/tile8"]), ("cells", &["matmul/cells1"])],
        constants: &[("PART", &[0, 1])],
        needs: Needs::Matrix8,
    },
    Shader {
        file: "moe_experts/activate",
        kernel: "moe_experts",
        slots: &[],
        constants: &[("LISTS", &[0, 1])],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/rotate",
        kernel: "moe_experts",
        slots: &[],
        constants: &[("LAYOUT", &[0, 1, 2])],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "moe_experts/combine",
        kernel: "moe_experts",
        slots: &[],
        constants: &[("WORDS", &[16, 32, 64])],
        needs: Needs::Subgroups,
    },
    Shader { file: "sample/sample", kernel: "sample", slots: &[], constants: &[], needs: Needs::Subgroups },
    Shader {
        file: "sample/sample_penalties",
        kernel: "sample",
        slots: &[],
        constants: &[],
        needs: Needs::Subgroups,
    },
    Shader {
        file: "attention/attend",
        kernel: "attention",
        slots: &[("cache", CACHES)],
        constants: &[("PAIRS", &[4, 8, 16, 20])],
        needs: Needs::Subgroups,
    },
    matrix_attention(ATTENTION_16, LATENT_576, Needs::Matrix16),
    matrix_attention(ATTENTION_16, LATENT_576_LARGE, Needs::Matrix16),
    matrix_attention(ATTENTION_16, HEADS_128, Needs::Matrix16),
    matrix_attention(ATTENTION_16, HEADS_64, Needs::Matrix16),
    matrix_attention(ATTENTION_8, LATENT_576, Needs::Matrix8),
    matrix_attention(ATTENTION_8, HEADS_128, Needs::Matrix8),
    matrix_attention(ATTENTION_8, HEADS_64, Needs::Matrix8),
    Shader {
        file: "attention/merge",
        kernel: "attention",
        slots: &[],
        constants: &[],
        needs: Needs::Subgroups,
    },
];

/// One way to compose a shader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The shader's file.
    pub file: &'static str,
    /// Import and snippet.
    pub slots: Vec<(&'static str, &'static str)>,
    /// Constant and value.
    pub constants: Vec<(&'static str, u32)>,
}

impl Shader {
    /// Every combination of snippets and constants.
    pub fn variants(&self) -> Vec<Variant> {
        let plain = Variant { file: self.file, slots: Vec::new(), constants: Vec::new() };
        let mut variants = vec![plain];
        for (slot, snippets) in self.slots {
            variants = product(&variants, snippets, |variant, snippet| variant.slots.push((slot, snippet)));
        }
        for (name, values) in self.constants {
            variants = product(&variants, values, |variant, value| variant.constants.push((name, value)));
        }
        variants
    }
}

/// Every one of `variants` changed by every one of `choices`.
fn product<T: Copy>(variants: &[Variant], choices: &[T], change: impl Fn(&mut Variant, T)) -> Vec<Variant> {
    let changed = |variant: &Variant, choice| {
        let mut variant = variant.clone();
        change(&mut variant, choice);
        variant
    };
    variants.iter().flat_map(|variant| choices.iter().map(|choice| changed(variant, *choice))).collect()
}
