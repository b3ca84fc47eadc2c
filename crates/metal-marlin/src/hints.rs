//! What to try after an error: the only place that gives advice.

use marlin_engine::Error as EngineError;
use marlin_file::Error as FileError;

/// A line of advice, where there is one.
pub fn hint(error: &anyhow::Error) -> Option<&'static str> {
    for cause in error.chain() {
        if let Some(marlin_model::Error::Architecture { .. }) = cause.downcast_ref() {
            return Some("the supported architectures are also listed by `metal-marlin doctor`");
        }
        if let Some(error) = file_error(cause) {
            return file_hint(error);
        }
        if let Some(EngineError::Request { what: "length", .. }) = cause.downcast_ref() {
            return Some("give more room with --ctx, or a shorter prompt");
        }
        if let Some(marlin_quant::Error::Paused { .. }) = cause.downcast_ref() {
            return Some("the same command continues");
        }
        if let Some(marlin_quant::Error::OtherSurvey { .. }) = cause.downcast_ref() {
            return Some("without --survey the model is surveyed anew");
        }
        if let Some(marlin_quant::Error::NoType { .. }) = cause.downcast_ref() {
            return Some("--dequantize writes them as f16, and says how many lost something");
        }
        if let Some(error) = cause.downcast_ref() {
            return gpu_hint(error);
        }
        if let Some(marlin_kernel::Error::Device { .. }) = cause.downcast_ref() {
            return Some("a smaller --ctx, or --kv f16, needs less memory");
        }
    }
    None
}

fn gpu_hint(error: &marlin_gpu::Error) -> Option<&'static str> {
    use marlin_gpu::Error;
    match error {
        Error::Memory { .. } => Some("a smaller --ctx or fewer bits need less; --device cpu maps the file"),
        Error::Binding { .. } => Some("a smaller --ctx, or --device cpu, has no such limit"),
        Error::NoAdapter { .. } | Error::Missing { .. } => {
            Some("`metal-marlin doctor` lists the devices there are; --device cpu always works")
        }
        Error::Device { .. } => Some("--device cpu plays the same model; a newer driver may help"),
        _ => None,
    }
}

/// The file's error, also inside those of the crates that pass it on.
fn file_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a FileError> {
    use marlin_model::Error as ModelError;
    use marlin_quant::Error as QuantError;
    match (cause.downcast_ref::<QuantError>(), cause.downcast_ref::<ModelError>()) {
        (Some(QuantError::File(error) | QuantError::Model(ModelError::File(error))), _) => Some(error),
        (_, Some(ModelError::File(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

fn file_hint(error: &FileError) -> Option<&'static str> {
    match error {
        FileError::Exists { .. } => Some("choose another --out, or remove what is there first"),
        FileError::OtherRun { .. } => {
            Some("the same text, options and source continue it; --restart removes it and begins again")
        }
        FileError::Full { .. } => Some("free some space, or choose an --out on another disk"),
        _ => None,
    }
}
