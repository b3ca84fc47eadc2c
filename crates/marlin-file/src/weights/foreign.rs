//! Quantized weights of other writers of compressed-tensors: no format name is stored, so it is found
//! by its layout, and scales come in other dtypes or one a row.
//!
//! Nothing is rounded: scales that f16 cannot hold exactly are an error.

use bytes::Bytes;
use half::{bf16, f16};
use marlin_format::{Code, FORMATS, Format, Layout, ScaleType};

use super::{Found, describe};
use crate::stored::{GLOBAL_SCALE, PACKED, SCALE, ZERO_POINT};
use crate::{Dtype, Error, TensorView};

/// Widths of integer codes that are looked for, the likeliest first: a row of very few columns fits several.
const INTEGER_BITS: [usize; 4] = [4, 8, 3, 2];

impl Found<'_> {
    /// The format of this weight, and its scales where they are not those of the file.
    pub(super) fn infer(
        &self,
        rows: usize,
        cols: usize,
    ) -> Result<(&'static dyn Format, Option<Bytes>), Error> {
        let scale = self.need(SCALE)?;
        let (zero, tensor_scale) = (self.part(ZERO_POINT).is_some(), self.part(GLOBAL_SCALE).is_some());
        let code = self.infer_code(cols, zero)?;
        let scale_type = match scale.dtype {
            Dtype::F8E4m3 => ScaleType::E4m3,
            Dtype::U8 | Dtype::F8E8m0 => ScaleType::E8m0,
            _ => ScaleType::F16,
        };
        let groups = match scale.shape[..] {
            [found, groups] if found == rows && groups > 0 => groups,
            _ => return Err(self.error(SCALE, describe(scale), &format!("[{rows}, groups]"))),
        };
        let fits = |format: &&&dyn Format| match format.layout() {
            Layout::Grouped { code: c, group, scale: s, zero: z, tensor_scale: t } => {
                let same = (c, s, z, t) == (code, scale_type, zero, tensor_scale);
                // One scale a row can be repeated for every group; otherwise the groups are given.
                same && (groups == 1 || groups.checked_mul(group) == Some(cols))
            }
            _ => false,
        };
        let group_of = |format: &&&dyn Format| format.layout().group();
        let Some(format) = FORMATS.iter().filter(fits).max_by_key(group_of) else {
            let zero = if zero { "with" } else { "without" };
            let found = format!(
                "{code:?} codes, {} {:?} scales over {cols} columns, {zero} zero points",
                scale.dtype, scale.shape
            );
            return Err(self.error(PACKED, found, "the layout of a known format"));
        };
        let wanted = format.layout().groups(cols);
        let scales = self.convert(scale, scale_type)?;
        Ok(match (scales, wanted == groups) {
            (scales, true) => (*format, scales),
            (scales, false) => {
                let scales = scales.unwrap_or_else(|| scale.data.clone());
                (*format, Some(repeat(&scales, scale_type.bytes(), wanted)))
            }
        })
    }

    /// The code of `weight_packed`: bytes hold E2M1, words hold integers as wide as the columns say.
    fn infer_code(&self, cols: usize, zero: bool) -> Result<Code, Error> {
        let words = self.packed.shape[1];
        let bits = INTEGER_BITS.into_iter().find(|bits| (cols * bits).div_ceil(32) == words);
        match (self.packed.dtype, bits) {
            (Dtype::U8, _) => Ok(Code::E2m1),
            (Dtype::I32, Some(4)) => Ok(if zero { Code::Uint4 } else { Code::Int4 }),
            (Dtype::I32, Some(8)) => Ok(Code::Int8),
            (Dtype::I32, Some(3)) => Ok(Code::Uint3),
            (Dtype::I32, Some(2)) => Ok(Code::Uint2),
            _ => {
                let expected = format!("2, 3, 4 or 8 bits for each of {cols} columns");
                Err(self.error(PACKED, describe(self.packed), &expected))
            }
        }
    }

    /// bf16 and f32 scales as f16; `None` where the file's bytes serve as they are.
    fn convert(&self, scale: &TensorView, wanted: ScaleType) -> Result<Option<Bytes>, Error> {
        if scale.dtype == Dtype::F8E8m0 {
            return Ok(Some(scale.data.clone()));
        }
        if wanted != ScaleType::F16 || scale.dtype == Dtype::F16 {
            return Ok(None);
        }
        let values: Vec<f32> = match scale.dtype {
            Dtype::Bf16 => {
                let chunks = scale.data.as_chunks::<2>().0.iter();
                chunks.map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
            }
            Dtype::F32 => {
                let chunks = scale.data.as_chunks::<4>().0.iter();
                chunks.map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            _ => return Err(self.error(SCALE, describe(scale), "F16, BF16, F32, F8_E4M3 or E8M0 as U8")),
        };
        let mut bytes = Vec::with_capacity(values.len() * 2);
        for value in values {
            let half = f16::from_f32(value);
            if half.to_f32() != value {
                let found = format!("{} scale {value}", scale.dtype);
                return Err(self.error(SCALE, found, "a number that f16 holds exactly"));
            }
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        Ok(Some(bytes.into()))
    }
}

/// Each scale of `bytes` bytes, `times` times.
fn repeat(scales: &[u8], bytes: usize, times: usize) -> Bytes {
    scales.chunks_exact(bytes).flat_map(|scale| scale.repeat(times)).collect::<Vec<u8>>().into()
}
