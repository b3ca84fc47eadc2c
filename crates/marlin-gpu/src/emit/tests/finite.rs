//! Whether a shader reads infinity or NaN for meaning, which Metal's fast math does not keep.
//!
//! Looks for: literals that are not finite; bit patterns of infinity or NaN made into floats (`bitcast`,
//! `unpack2x16float`); `isNan` and `isInf`; comparing a value with itself; dividing by zero. Integers may
//! be compared with such patterns. What comes from data is for the references to find.

use naga::{Arena, BinaryOperator, Expression, Handle, Literal, MathFunction, Module, RelationalFunction};

/// What is found, a line each.
pub(super) fn suspicious(module: &Module) -> Vec<String> {
    let entries = module.entry_points.iter().map(|entry| &entry.function.expressions);
    let functions = module.functions.iter().map(|(_, function)| &function.expressions);
    let arenas = std::iter::once(&module.global_expressions).chain(functions).chain(entries);
    let look = |arena| Look { module, arena };
    arenas.map(look).flat_map(|look| look.arena.iter().filter_map(move |(_, it)| look.reason(it))).collect()
}

#[derive(Clone, Copy)]
struct Look<'a> {
    module: &'a Module,
    arena: &'a Arena<Expression>,
}

impl Look<'_> {
    fn reason(self, expression: &Expression) -> Option<String> {
        match *expression {
            Expression::Literal(literal) if !finite(literal) => Some(format!("literal {literal:?}")),
            Expression::As { expr, kind: naga::ScalarKind::Float, convert: None } => {
                let bits = self.literals(expr).into_iter().find(|literal| !finite_bits(*literal))?;
                Some(format!("bitcast of {bits:?}"))
            }
            Expression::Math { fun: MathFunction::Unpack2x16float, arg, .. } => {
                let bits = self.literals(arg).into_iter().find(|literal| !finite_halves(*literal))?;
                Some(format!("unpack2x16float of {bits:?}"))
            }
            Expression::Relational { fun: RelationalFunction::IsNan | RelationalFunction::IsInf, .. } => {
                Some("isNan or isInf".to_owned())
            }
            Expression::Binary { op: BinaryOperator::Equal | BinaryOperator::NotEqual, left, right } => {
                (left == right).then(|| "a value compared with itself".to_owned())
            }
            Expression::Binary { op: BinaryOperator::Divide | BinaryOperator::Modulo, right, .. } => {
                let zero = |literal| {
                    matches!(literal, Literal::F32(x) if x == 0.0)
                        || matches!(literal, Literal::F16(x) if x == half::f16::ZERO)
                };
                self.literals(right).into_iter().any(zero).then(|| "division by zero".to_owned())
            }
            _ => None,
        }
    }

    /// The literals that a constant expression is made of; none for one that is not constant.
    fn literals(self, handle: Handle<Expression>) -> Vec<Literal> {
        match &self.arena[handle] {
            Expression::Literal(literal) => vec![*literal],
            Expression::Splat { value, .. } => self.literals(*value),
            Expression::Compose { components, .. } => {
                components.iter().flat_map(|component| self.literals(*component)).collect()
            }
            Expression::Constant(constant) => {
                let global = Look { module: self.module, arena: &self.module.global_expressions };
                global.literals(self.module.constants[*constant].init)
            }
            _ => Vec::new(),
        }
    }
}

fn finite(literal: Literal) -> bool {
    match literal {
        Literal::F64(value) | Literal::AbstractFloat(value) => value.is_finite(),
        Literal::F32(value) => value.is_finite(),
        Literal::F16(value) => value.is_finite(),
        _ => true,
    }
}

/// Of an integer that is read as a float of its width.
fn finite_bits(literal: Literal) -> bool {
    match literal {
        Literal::U32(bits) => f32::from_bits(bits).is_finite(),
        Literal::I32(bits) => f32::from_bits(bits as u32).is_finite(),
        _ => true,
    }
}

/// Of an integer that is read as two halves.
fn finite_halves(literal: Literal) -> bool {
    let half = |bits: u32| half::f16::from_bits(bits as u16).is_finite();
    match literal {
        Literal::U32(bits) => half(bits & 0xffff) && half(bits >> 16),
        _ => true,
    }
}

/// What naga or [`suspicious`] says of an expression for `x`, with `a: f32` and `n: u32` read from memory.
fn said(expression: &str) -> Vec<String> {
    let text = format!(
        "const BITS: u32 = 0x7f800000u;
         @group(0) @binding(0) var<storage, read_write> a: f32;
         @group(0) @binding(1) var<storage, read_write> n: u32;
         @compute @workgroup_size(1) fn main() {{ let y = a; var x = {expression}; a = f32(x); }}"
    );
    match naga::front::wgsl::parse_str(&text) {
        Ok(module) => suspicious(&module),
        Err(error) => vec![error.message().to_owned()],
    }
}

#[test]
fn infinity_and_nan_are_found_in_every_form() {
    for expression in [
        "bitcast<f32>(0x7f800000u)",
        "bitcast<f32>(BITS)",
        "bitcast<f32>(0xff800000u)",
        "bitcast<f32>(0x7fc00000u)",
        "max(y, bitcast<f32>(-8388608i))",
        "unpack2x16float(0x7c00u).x",
        "unpack2x16float(0x7e000000u).y",
        "1.0 / 0.0",
        "y / 0.0",
        "(vec2(y) / vec2(0.0)).x",
        "y * 1e39",
        "select(0.0, y, y == y)",
        "select(0.0, y, isNan(y))",
        "select(0.0, y, isInf(y))",
    ] {
        assert!(!said(expression).is_empty(), "{expression}");
    }
}

#[test]
fn finite_values_and_integers_are_left_alone() {
    for expression in [
        "-3.0e38",
        "bitcast<f32>(0x7f000000u)",
        "bitcast<f32>(n << 23u)",
        "unpack2x16float(0x7bff7bffu).x",
        "select(0.0, y, (bitcast<u32>(y) & BITS) == BITS)",
        "select(0.0, y, n == 0x7f800000u)",
        "y / 2.0",
        "n / max(n, 1u)",
    ] {
        assert_eq!(said(expression), [""; 0], "{expression}");
    }
}
