//! How a column of the CSV is declared, and the macro that makes a row, a list of columns and their places from the
//! declarations.

use crate::gates::reason::Reasons;
use crate::record::lat_tail::LatTail;

/// Which columns stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Which trial it is.
    Identity,
    /// What was moved, and how fast.
    Result,
    /// Where every datagram went.
    Ledger,
    /// What it cost.
    Cost,
    /// How long datagrams took.
    Latency,
    /// How the backend did it.
    Mechanism,
    /// The machine, and what it granted.
    Environment,
    /// This program.
    Program,
    /// Whether the trial counts.
    Quality,
}

impl Group {
    /// All groups, in their order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Identity,
        Self::Result,
        Self::Ledger,
        Self::Cost,
        Self::Latency,
        Self::Mechanism,
        Self::Environment,
        Self::Program,
        Self::Quality,
    ];

    /// The title in the documentation.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Identity => "Which trial it is",
            Self::Result => "What was moved, and how fast",
            Self::Ledger => "Where every datagram went",
            Self::Cost => "What it cost",
            Self::Latency => "How long datagrams took",
            Self::Mechanism => "How the backend did it",
            Self::Environment => "The machine, and what it granted",
            Self::Program => "This program",
            Self::Quality => "Whether the trial counts",
        }
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is.
    Lower,
    /// More is.
    Higher,
}

impl Better {
    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// What a column is for in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It identifies a cell.
    Axis,
    /// It identifies a cell, and cells that differ in nothing else are refused, like those under other conditions.
    ConditionalAxis,
    /// A circumstance that must be equal on both sides, or the comparison means nothing.
    Condition,
    /// A circumstance that may differ between sides, and is named where it does.
    Circumstance,
    /// Neither, but it can make the sides of a comparison.
    Side,
    /// What is compared: its unit, and which way is better.
    Metric(&'static str, Better),
    /// None of these.
    Other,
}

impl Role {
    /// Whether it identifies a cell.
    pub const fn is_axis(self) -> bool {
        matches!(self, Self::Axis | Self::ConditionalAxis)
    }

    /// Whether it is a circumstance, or something else beside the cell that can make the sides of a comparison.
    pub const fn is_of_circumstances(self) -> bool {
        matches!(self, Self::Condition | Self::Circumstance | Self::Side)
    }

    /// Whether it must be equal on both sides, or the comparison means nothing.
    pub const fn must_be_equal(self) -> bool {
        matches!(self, Self::ConditionalAxis | Self::Condition)
    }
}

/// What is in the fields of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// A whole number.
    Whole,
    /// A number that may have a fraction; finite, and not below 0.
    Fraction,
}

/// A type of fields.
pub(super) trait Field {
    /// What it is.
    const TYPE: FieldType;

    /// The number, if it is one and there is one.
    fn number(&self) -> Option<f64>;
}

macro_rules! fields {
    ($($type:ty: $kind:ident, $number:expr;)+) => {$(
        impl Field for $type {
            const TYPE: FieldType = FieldType::$kind;

            fn number(&self) -> Option<f64> {
                let number: fn(&Self) -> Option<f64> = $number;
                number(self)
            }
        }
    )+};
}

fields! {
    String: Text, |_| None;
    Reasons: Text, |_| None;
    LatTail: Text, |_| None;
    u8: Whole, |number| Some(f64::from(*number));
    u32: Whole, |number| Some(f64::from(*number));
    u64: Whole, |number| Some(*number as f64);
    i64: Whole, |number| Some(*number as f64);
    usize: Whole, |number| Some(*number as f64);
    f64: Fraction, |number| Some(*number);
}

impl<T: Field> Field for Option<T> {
    const TYPE: FieldType = T::TYPE;

    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
}

/// Makes from the declarations of columns the struct `Row`, whose fields are in their order, the enum `Column`, and a
/// `Declaration` of each. A declaration is: documentation, `name: type, role;` or `name: type, role, "label";`, where
/// the label is what a report calls the column. What is `beside` them is in a row, but not in the file.
macro_rules! columns {
    (@label) => { None };
    (@label $label:literal) => { Some($label) };
    (
        beside {
            $($(#[doc = $beside_doc:literal])+ $beside:ident: $beside_type:ty;)+
        }
        $($group:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $type:ty, $role:ident $(($($argument:tt)+))? $(, $label:literal)?;)+
        })+
    ) => {
        /// One trial: a row of the CSV. The order of the fields is the order of the columns, and part of the interface. Empty
        /// means not applicable or not available, never zero.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct Row {
            $($($(#[doc = $doc])+ pub $name: $type,)+)+
            $($(#[doc = $beside_doc])+ #[serde(skip)] pub $beside: $beside_type,)+
        }

        /// A column of the CSV.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, reason = "each is called as the column is")]
        pub enum Column {
            $($($(#[doc = $doc])+ $name,)+)+
        }

        /// Every column, in the order of the file.
        pub(super) const DECLARATIONS: &[Declaration] = &[$($(
            Declaration {
                column: Column::$name,
                name: stringify!($name),
                meaning: concat!($($doc),+),
                group: Group::$group,
                role: Role::$role $(($($argument)+))?,
                field_type: <$type as Field>::TYPE,
                label: columns!(@label $($label)?),
                number: |row| row.$name.number(),
                is_same: |a, b| a.$name == b.$name,
            },
        )+)+];
    };
}

pub(super) use columns;
