//! `{"cel": …}`: an expression of the Common Expression Language.
//!
//! The crate `cel` reads the expression. Its interpreter counts no steps and cannot be stopped, so that the tree it gives is
//! checked, narrowed and evaluated here, where every step is counted: the same call always gets the same answer, and none
//! takes longer than [`STEPS`] allow. A property test holds both interpreters to the same answers.
//!
//! What differs from the language's specification errs towards refusing, since an error is undecidable:
//!
//! - A JSON number is an `int` if its value is whole and fits (`10.0` and `1e1` are 10, so that a caller cannot choose the type),
//!   a `uint` if it fits only there, else a `double`; one with more digits than a double holds is an error. As in the language,
//!   arithmetic does not mix them: `double(args.price) * 1.19`. Comparisons do mix, and are exact.
//! - A double that is not finite is an error, wherever it comes from.
//! - An object with a key that only some readers take for the one that is meant (`Amount` for `amount`) is an error, as for paths.
//! - There are no bytes, timestamps, durations, types and messages, map keys are strings, and `string` takes no double.
//! - The pattern of `matches` is a literal.

mod compile;
mod eval;
mod expr;
mod scan;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
mod value;

use std::ops::Range;

use super::Facts;
use expr::Expr;

/// Bytes that an expression may have.
const SOURCE: usize = 4096;
/// Steps that an evaluation may take. Reading an operand is one; work on texts, lists and objects costs by their length.
const STEPS: u32 = 100_000;
/// Levels that an expression's tree may have.
const DEPTH: usize = 32;

/// A compiled expression.
#[derive(Debug)]
pub(in crate::policy) struct Program {
    expr: Expr,
    reads_arguments: bool,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct BadProgram {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the expression.
    pub span: Range<usize>,
}

impl Program {
    /// Compiles an expression within the bounds that reading and evaluating it need.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be read, is not known here, or goes beyond a bound.
    pub fn compile(source: &str) -> Result<Program, BadProgram> {
        scan::check(source)?;
        let compiled = compile::compile(source)?;
        Ok(Program { expr: compiled.expr, reads_arguments: compiled.reads_arguments })
    }

    /// Whether it looks into the arguments.
    pub fn reads_arguments(&self) -> bool {
        self.reads_arguments
    }

    /// What it comes to; an error, another type than a boolean, or a bound that is reached is undecidable: `None`.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Option<bool> {
        eval::evaluate(&self.expr, facts, STEPS).ok()
    }
}

impl BadProgram {
    fn new(message: impl Into<String>, span: Range<usize>) -> BadProgram {
        BadProgram { message: message.into(), span }
    }
}
