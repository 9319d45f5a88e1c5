//! A checked expression.

use crate::policy::conditions::Path;
use crate::policy::conditions::automaton::Automaton;

/// A node of a checked expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Literal(Literal),
    /// `args`
    Args,
    /// `grant.name` and what else policyd knows itself.
    Fact(Path),
    /// The variable of an enclosing macro, by its level.
    Local(usize),
    Select(Box<Expr>, Box<str>),
    /// `has(a.b)`
    Has(Box<Expr>, Box<str>),
    /// `has(identity.user)`
    HasFact(Path),
    Index(Box<[Expr; 2]>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<[Expr; 2]>),
    Or(Box<[Expr; 2]>),
    /// `a ? b : c`
    If(Box<[Expr; 3]>),
    Binary(Binary, Box<[Expr; 2]>),
    List(Box<[Expr]>),
    Map(Box<[(Box<str>, Expr)]>),
    Size(Box<Expr>),
    Text(TextTest, Box<[Expr; 2]>),
    Matches(Box<Expr>, Automaton),
    Convert(Conversion, Box<Expr>),
    Fold(Box<Fold>),
}

#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
}

/// An operator that needs both of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// A question about two strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

/// A function from one type to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    Bool,
    Int,
    Uint,
    Double,
    String,
}

/// A macro over a list, or over the keys of a map.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    pub kind: FoldKind,
    pub range: Expr,
    /// What is asked of each element; of `map`, what an element becomes.
    pub body: Expr,
    /// Which elements `map` takes.
    pub filter: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl Expr {
    /// Whether it cannot come to a boolean, whatever the call.
    pub fn is_never_bool(&self) -> bool {
        match self {
            Expr::Literal(literal) => !matches!(literal, Literal::Bool(_)),
            Expr::Args | Expr::Fact(_) | Expr::Negate(_) | Expr::List(_) | Expr::Map(_) | Expr::Size(_) => true,
            Expr::Binary(operator, _) => {
                matches!(operator, Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo)
            }
            Expr::Convert(conversion, _) => *conversion != Conversion::Bool,
            Expr::Fold(fold) => matches!(fold.kind, FoldKind::Map | FoldKind::Filter),
            Expr::If(parts) => {
                let [_, then, otherwise] = &**parts;
                then.is_never_bool() || otherwise.is_never_bool()
            }
            _ => false,
        }
    }
}
