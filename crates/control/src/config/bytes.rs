//! Bytes that stand in a file: as a text, or in hexadecimal where they are none.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// Some bytes, such as "PING\r\n" or { hex = "0d0a" }.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Hex(Hex),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Hex {
            hex: String,
        }
        let wanted = || D::Error::custom("a text is wanted, or bytes as in { hex = \"0d0a\" }");
        match Written::deserialize(input).map_err(|_| wanted())? {
            Written::Text(text) => Ok(Self(text.into_bytes())),
            Written::Hex(Hex { hex }) => from_hex(&hex).map(Self).ok_or_else(wanted),
        }
    }
}

/// White space may stand between bytes.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_go_in_pairs() {
        assert_eq!(from_hex("0d 0A\nff"), Some(vec![13, 10, 255]));
        assert_eq!(from_hex(""), Some(vec![]));
        for wrong in ["0", "0g", "0x0a", "+1"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
