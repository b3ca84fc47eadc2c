//! Rotary frequencies from a configuration: plain, linear, llama3 and YaRN.
//!
//! Formulas as in transformers, `modeling_rope_utils.py`: llama3 by Meta's Llama 3.1 code, YaRN by
//! Peng et al., arXiv 2309.00071.

use std::f64::consts::TAU;

use crate::{Config, Error};

/// Radians per position for each pair of dimensions, and a factor for the rotated vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// `dim / 2` values.
    pub radians: Vec<f32>,
    /// YaRN's attention factor; 1 otherwise.
    pub scale: f32,
}

/// Reads the rotary settings of `config` in either spelling: `rope_theta` with `rope_scaling`, or
/// `rope_parameters` holding both.
///
/// # Errors
/// [`Error::Config`] for an unknown kind of scaling or a missing number.
pub fn frequencies(config: &Config, dim: usize, default_theta: f64) -> Result<Frequencies, Error> {
    let settings = match config.section("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => config.section("rope_scaling")?,
    };
    let theta = config.number_or("rope_theta", default_theta)?;
    match settings {
        Some(settings) => scaled(config, &settings, dim, settings.number_or("rope_theta", theta)?),
        None => Ok(plain(dim, theta)),
    }
}

/// Frequencies from one settings object, such as a layer type's entry of `rope_parameters`.
///
/// # Errors
/// As [`frequencies`].
pub fn scaled(config: &Config, settings: &Config, dim: usize, theta: f64) -> Result<Frequencies, Error> {
    let partial = settings.number_or("partial_rotary_factor", 1.0)?;
    if partial != 1.0 {
        return Err(settings.unexpected(
            "partial_rotary_factor",
            settings.get("partial_rotary_factor"),
            "1 (partial rotation is not supported)",
        ));
    }
    let base = plain(dim, theta);
    match settings.text_or("rope_type", settings.text_or("type", "default")?)? {
        "default" => Ok(base),
        "linear" => {
            let factor = settings.number("factor")? as f32;
            Ok(Frequencies { radians: base.radians.iter().map(|radians| radians / factor).collect(), ..base })
        }
        "llama3" => llama3(settings, base),
        "yarn" => yarn(config, settings, dim, theta, base),
        _ => Err(settings.unexpected(
            "rope_type",
            settings.get("rope_type"),
            "default, linear, llama3 or yarn",
        )),
    }
}

/// `theta^(-2i / dim)`, computed in f32 as the models were trained.
pub fn plain(dim: usize, theta: f64) -> Frequencies {
    let radian = |i: usize| 1.0 / (theta as f32).powf((2 * i) as f32 / dim as f32);
    Frequencies { radians: (0..dim / 2).map(radian).collect(), scale: 1.0 }
}

fn llama3(settings: &Config, base: Frequencies) -> Result<Frequencies, Error> {
    let factor = settings.number("factor")?;
    let low = settings.number("low_freq_factor")?;
    let high = settings.number("high_freq_factor")?;
    let context = settings.number("original_max_position_embeddings")?;
    let stretch = |radians: &f32| {
        let radians = f64::from(*radians);
        let turns = context * radians / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        ((1.0 - kept) * radians / factor + kept * radians) as f32
    };
    Ok(Frequencies { radians: base.radians.iter().map(stretch).collect(), ..base })
}

fn yarn(
    config: &Config,
    settings: &Config,
    dim: usize,
    theta: f64,
    base: Frequencies,
) -> Result<Frequencies, Error> {
    let context = settings.number("original_max_position_embeddings")?;
    let factor = match settings.get("factor") {
        Some(_) => settings.number("factor")?,
        None => config.number("max_position_embeddings")? / context,
    };
    let mscale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let (top, bottom) = (settings.number_or("mscale", 0.0)?, settings.number_or("mscale_all_dim", 0.0)?);
    let inferred = if top != 0.0 && bottom != 0.0 { mscale(top) / mscale(bottom) } else { mscale(1.0) };
    let scale = settings.number_or("attention_factor", inferred)?;

    let dim_of_turns = |turns: f64| dim as f64 * (context / (turns * TAU)).ln() / (2.0 * theta.ln());
    let truncate = settings.flag_or("truncate", true)?;
    let mut first = dim_of_turns(settings.number_or("beta_fast", 32.0)?);
    let mut last = dim_of_turns(settings.number_or("beta_slow", 1.0)?);
    if truncate {
        (first, last) = (first.floor(), last.ceil());
    }
    let (first, last) = (first.max(0.0), last.min(dim as f64 - 1.0));
    let width = if first == last { 0.001 } else { last - first };
    let blend = |(i, radians): (usize, &f32)| {
        let stretched = ((i as f64 - first) / width).clamp(0.0, 1.0);
        let radians = f64::from(*radians);
        (radians / factor * stretched + radians * (1.0 - stretched)) as f32
    };
    Ok(Frequencies { radians: base.radians.iter().enumerate().map(blend).collect(), scale: scale as f32 })
}
