//! Names of functions from a program's types (BTF, the kernel's Documentation/bpf/btf.rst).

use std::collections::BTreeMap;

/// The kinds that have a name which is a function's, and those that have something behind their three words.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
}

/// Names by the type's number; those that can be read, should the bytes be no types.
pub(crate) fn function_names(bytes: &[u8]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    // Magic, version, flags; then sizes and places.
    let (Some(header), Some(types), Some(types_size), Some(strings)) =
        (word(bytes, 4), word(bytes, 8), word(bytes, 12), word(bytes, 16))
    else {
        return names;
    };
    let name = |offset: usize| {
        let bytes = bytes.get(header + strings + offset..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let mut at = header + types;
    // Type 0 is `void` and not there.
    for number in 1.. {
        let (Some(text), Some(about)) = (word(bytes, at), word(bytes, at + 4)) else { break };
        if at >= header + types + types_size {
            break;
        }
        let (kind, count) = (about as u32 >> 24 & 0x1f, about & 0xffff);
        if kind == kind::FUNC
            && let Some(name) = name(text)
        {
            names.insert(number, name);
        }
        at += 12
            + match kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
                kind::ENUM | kind::FUNC_PROTO => 8 * count,
                _ => 0,
            };
    }
    names
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?) as usize)
}
