//! Tensors of one weight out of a fuzzer's bytes: any dtypes, shapes and values under the names that a scheme
//! looks for, in a file that is itself valid.
//!
//! ```text
//!  | config | kind | dims | sizes .. | kind | dims | sizes .. | ... | data of the first tensor | ... |
//!   which     of the first tensor: 0 for none; dims sizes of a byte each
//! ```
//!
//! Data that ends early goes on with zeros.

use bytes::Bytes;
use marlin_file::{Checkpoint, Dtype, Model, Safetensors};

/// Types a tensor may have, by the byte that stands for them; 0 for no tensor.
const KINDS: [Option<Dtype>; 12] = [
    None,
    Some(Dtype::U8),
    Some(Dtype::I8),
    Some(Dtype::I32),
    Some(Dtype::U32),
    Some(Dtype::I64),
    Some(Dtype::F16),
    Some(Dtype::Bf16),
    Some(Dtype::F32),
    Some(Dtype::F8E4m3),
    Some(Dtype::F8E8m0),
    Some(Dtype::F8E5m2),
];

/// Most dimensions of a tensor.
const MAX_DIMS: usize = 4;
/// Most bytes of all tensors together.
const MAX_BYTES: usize = 1 << 18;

/// A scheme to be fuzzed: the suffixes of its tensors and the configurations that change what they mean.
pub struct Reader {
    /// Its name: that of the target.
    pub name: &'static str,
    /// What follows the name of a weight.
    pub suffixes: &'static [&'static str],
    /// Texts of config.json.
    pub configs: &'static [&'static str],
}

/// Every reader that has a target.
pub static READERS: &[Reader] = &[
    Reader {
        name: "gptq",
        suffixes: &[".qweight", ".qzeros", ".scales", ".g_idx"],
        configs: &[
            "{}",
            r#"{"quantization_config":{"quant_method":"gptq","bits":4,"group_size":32}}"#,
            r#"{"quantization_config":{"quant_method":"gptq","bits":8,"checkpoint_format":"gptq_v2"}}"#,
        ],
    },
    Reader {
        name: "awq",
        suffixes: &[".qweight", ".qzeros", ".scales"],
        configs: &[r#"{"quantization_config":{"quant_method":"awq"}}"#],
    },
    Reader {
        name: "compressed_tensors",
        suffixes: &[
            ".weight_packed",
            ".weight_scale",
            ".weight_zero_point",
            ".weight_g_idx",
            ".weight_global_scale",
            ".weight_shape",
        ],
        configs: &[
            "{}",
            r#"{"quantization_config":{"config_groups":{"g":{"weights":{"num_bits":3,"group_size":32}}}}}"#,
            r#"{"quantization_config":{"config_groups":{"g":{"weights":{"num_bits":0,"group_size":0}}}}}"#,
        ],
    },
    Reader { name: "int8", suffixes: &[".weight", ".weight_scale", ".weight_zero_point"], configs: &["{}"] },
    Reader {
        name: "mlx",
        suffixes: &[".weight", ".scales", ".biases"],
        configs: &[
            "{}",
            r#"{"quantization":{"bits":3,"group_size":32}}"#,
            r#"{"quantization":{"bits":8,"group_size":32,"w":{"bits":6,"group_size":128}}}"#,
        ],
    },
    Reader { name: "fp8", suffixes: &[".weight", ".weight_scale", ".weight_scale_inv"], configs: &["{}"] },
    Reader { name: "modelopt", suffixes: &[".weight", ".weight_scale", ".weight_scale_2"], configs: &["{}"] },
    Reader { name: "gpt_oss", suffixes: &["_blocks", "_scales"], configs: &["{}"] },
    Reader { name: "mmfp4", suffixes: &[".qweight", ".scales"], configs: &["{}"] },
    Reader {
        name: "bitsandbytes",
        suffixes: &[
            ".weight",
            ".weight.absmax",
            ".weight.quant_map",
            ".weight.nested_absmax",
            ".weight.nested_quant_map",
            ".weight.quant_state.bitsandbytes__nf4",
        ],
        configs: &["{}"],
    },
];

/// Reads `data` as the tensors of a weight `w` of the reader `name`, and uses what is accepted.
pub fn read(name: &str, data: &[u8]) {
    let reader = READERS.iter().find(|reader| reader.name == name).expect("a reader of this name");
    let Some((config, file)) = file(reader, data) else { return };
    let len = file.len();
    let model = Safetensors::from_bytes("fuzz", Bytes::from(file)).expect("the file is valid");
    let config = serde_json::from_str(config).expect("the configuration is valid");
    crate::use_all(&Checkpoint::from(Model::Safetensors(model)).with_config(&config), len);
}

/// The configuration and the file that `data` describes.
fn file(reader: &Reader, data: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let mut bytes = data.iter().copied();
    let config = reader.configs[usize::from(bytes.next()?) % reader.configs.len()];
    let mut entries = Vec::new();
    let mut end = 0usize;
    for suffix in reader.suffixes {
        let kind = KINDS[usize::from(bytes.next()?) % KINDS.len()];
        let dims = usize::from(bytes.next()?) % (MAX_DIMS + 1);
        let shape: Vec<usize> = bytes.by_ref().take(dims).map(usize::from).collect();
        let Some(dtype) = kind else { continue };
        let start = end;
        end += dtype.len_bytes(&shape).filter(|len| *len <= MAX_BYTES)?;
        let name = dtype.name();
        let range = format!(r#""dtype":"{name}","shape":{shape:?},"data_offsets":[{start},{end}]"#);
        entries.push(format!(r#""w{suffix}":{{{range}}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let len = file.len() + end;
    file.extend(bytes.take(end));
    file.resize(len, 0);
    Some((config, file))
}

/// The bytes that stand for the tensors of `weight` in `model`; `None` if a tensor is too large for them, or
/// if there are fewer than two.
pub fn describe(reader: &Reader, model: &Safetensors, weight: &str) -> Option<Vec<u8>> {
    let (mut head, mut data) = (vec![0], Vec::new());
    for suffix in reader.suffixes {
        let Some(tensor) = model.tensors().find(&format!("{weight}{suffix}")) else {
            head.extend([0, 0]);
            continue;
        };
        head.push(KINDS.iter().position(|kind| *kind == Some(tensor.dtype))? as u8);
        head.push(tensor.shape.len() as u8);
        let sizes = tensor.shape.iter().map(|size| u8::try_from(*size));
        head.extend(sizes.collect::<Result<Vec<u8>, _>>().ok()?);
        data.extend_from_slice(&tensor.data);
    }
    let several =
        reader.suffixes.iter().filter(|suffix| model.tensors().find(&format!("{weight}{suffix}")).is_some());
    (several.count() > 1).then(|| [head, data].concat())
}
