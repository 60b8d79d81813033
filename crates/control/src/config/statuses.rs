//! Which HTTP statuses are wanted: one, or a list of some and of ranges, such as 200-399,401.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt;

/// The statuses that HTTP has (RFC 9110, section 15).
const ALL: std::ops::RangeInclusive<u16> = 100..=599;

/// Statuses, as first and last of each range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// This one alone.
    pub fn one(status: u16) -> Self {
        Self(vec![(status, status)])
    }

    /// Whether this one is among them.
    pub fn include(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.trim().parse().ok().filter(|number| ALL.contains(number));
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        };
        Some(Self(text.split(',').map(range).collect::<Option<_>>()?))
    }
}

/// As in the file.
impl fmt::Display for Statuses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (first, last)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            match first == last {
                true => write!(out, "{comma}{first}")?,
                false => write!(out, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        let (text, said) = match Written::deserialize(input) {
            Ok(Written::Number(number)) => (number.to_string(), number.to_string()),
            Ok(Written::Text(text)) => (text.clone(), format!("\"{text}\"")),
            Err(_) => return Err(D::Error::custom("an HTTP status is like 200, or several like \"200-399,401\"")),
        };
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "an HTTP status is between 100 and 599, and several are like \"200-399,401\", not {said}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_and_written_alike() {
        for (text, inside, outside) in
            [("200", 200, 201), ("200-399,401", 401, 400), ("204, 301 - 308", 305, 300), ("100-599", 599, 600)]
        {
            let statuses = Statuses::parse(text).expect("it is right");
            assert!(statuses.include(inside) && !statuses.include(outside), "{text}");
            assert_eq!(statuses.to_string(), text.replace(' ', ""));
        }
        for wrong in ["", "200,", "99", "600", "-200", "300-200", "ok", "200-", "2xx"] {
            assert_eq!(Statuses::parse(wrong), None, "{wrong}");
        }
    }
}
