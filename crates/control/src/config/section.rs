//! Taking keys out of a table: each at most once, of the right kind, and none left over.

use super::fault::Faults;
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A value and its place in the text.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table that is being read.
pub(super) struct Section<'i, 'f> {
    /// What messages call it, such as `[nat]`.
    name: &'static str,
    table: DeTable<'i>,
    /// Where it begins: what is missing in it is missing there.
    span: Range<usize>,
    known: Vec<&'static str>,
    faults: &'f mut Faults,
}

impl<'i, 'f> Section<'i, 'f> {
    pub(super) fn new(name: &'static str, table: Spanned<DeTable<'i>>, faults: &'f mut Faults) -> Self {
        let span = table.span();
        Self { name, table: table.into_inner(), span, known: Vec::new(), faults }
    }

    /// The value of a key that may be left out.
    pub(super) fn optional<T: Deserialize<'i>>(&mut self, key: &'static str) -> Option<Located<T>> {
        let value = self.take(key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(Located { value, span }),
            Err(error) => {
                // The innermost place that is known: one address of a list, say.
                self.faults.add(error.span().unwrap_or(span), format!("{key}: {}", error.message()));
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: Deserialize<'i>>(&mut self, key: &'static str) -> Option<Located<T>> {
        if !self.has(key) {
            self.known.push(key);
            self.missing(key);
            return None;
        }
        self.optional(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table within this one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Spanned<DeTable<'i>>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Spanned::new(span, table)),
            other => {
                self.faults.add(span, format!("{key} must be a table, not {}", kind(&other)));
                None
            }
        }
    }

    /// A list of tables within this one.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Spanned<DeTable<'i>>>> {
        let value = self.take(key)?;
        let span = value.span();
        let DeValue::Array(list) = value.into_inner() else {
            self.faults.add(span, format!("{key} must be a list of tables"));
            return None;
        };
        let mut tables = Vec::new();
        for item in list {
            let place = item.span();
            match item.into_inner() {
                DeValue::Table(table) => tables.push(Spanned::new(place, table)),
                other => self.faults.add(place, format!("{key} holds tables, not {}", kind(&other))),
            }
        }
        Some(tables)
    }

    pub(super) fn missing(&mut self, key: &str) {
        self.faults.add(self.span.clone(), format!("{} has no {key}, which it needs", self.name));
    }

    pub(super) fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// Nothing more is wanted: what is left is a mistake.
    pub(super) fn end(self) {
        let Self { name, table, known, faults, .. } = self;
        for (key, _) in table {
            let nearest = known.iter().find(|known| is_near(known, key.get_ref()));
            let advice = match nearest {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("the keys are {}.", known.join(", ")),
            };
            faults.add(key.span(), format!("unknown key `{}` in {name}: {advice}", key.get_ref()));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.remove(key)
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether two words differ by a letter, or by what people confuse: dashes, underscores, a plural.
fn is_near(known: &str, written: &str) -> bool {
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
    let (known, written) = (plain(known), plain(written));
    let (long, short) = if known.len() >= written.len() { (&known, &written) } else { (&written, &known) };
    let from_the_start = long.chars().zip(short.chars()).take_while(|(a, b)| a == b).count();
    let from_the_end = long.chars().rev().zip(short.chars().rev()).take_while(|(a, b)| a == b).count();
    long.len() - short.len() <= 1 && from_the_start + from_the_end + 1 >= long.len()
}
