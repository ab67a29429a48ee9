//! A reader for the part of BTF that tells where members of structures stand.
//!
//! Ours, because no crate does it: aya's parser keeps its members private, and of the two parsers that are published
//! one is LGPL and the other finds a function where it is asked for a structure of the same name.
//! Format: <https://docs.kernel.org/bpf/btf.html>.

const MAGIC: u16 = 0xeb9f;
const MAX_DEPTH: u32 = 8;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Size of `struct btf_type`; what a kind adds comes after it.
const TYPE_LEN: usize = 12;
/// Size of `struct btf_member`.
const MEMBER_LEN: usize = 12;

/// The types of a kernel. Nothing is copied: look-ups walk the bytes.
#[derive(Debug)]
pub struct Types<'a> {
    strings: &'a [u8],
    definitions: &'a [u8],
    /// Where in `definitions` each type starts; type ids count from 1.
    starts: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    name: &'a [u8],
    kind: u32,
    kind_flag: bool,
    size_or_target: u32,
    members: &'a [u8],
}

impl<'a> Types<'a> {
    /// Reads the header and finds the types; `None` where the bytes are not little-endian BTF.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let section = |offset: usize, length: usize| -> Option<&'a [u8]> {
            let start = header.checked_add(word(bytes, offset)? as usize)?;
            bytes.get(start..start.checked_add(word(bytes, length)? as usize)?)
        };
        let (types, strings) = (section(8, 12)?, section(16, 20)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(u32::try_from(at).ok()?);
            let info = word(types, at + 4)?;
            at += TYPE_LEN + extra_len(info);
        }
        Some(Self { strings, definitions: types, starts })
    }

    /// Offset in bytes of a member of `struct structure`. The path names members separated by dots; those of anonymous
    /// structures and unions are found as C finds them.
    pub fn offset_of(&self, structure: &str, path: &str) -> Option<u32> {
        let mut current = self.structure(structure)?;
        let mut offset = 0;
        for name in path.split('.') {
            let (bits, member) = self.member(current, name.as_bytes(), MAX_DEPTH)?;
            offset += bits;
            current = self.strip(member)?;
        }
        (offset % 8 == 0).then_some(offset / 8)
    }

    /// Size in bytes of `struct structure`.
    pub fn size_of(&self, structure: &str) -> Option<u32> {
        Some(self.structure(structure)?.size_or_target)
    }

    fn structure(&self, name: &str) -> Option<Type<'a>> {
        (0..self.starts.len())
            .filter_map(|index| self.at(index))
            .find(|found| found.kind == KIND_STRUCT && found.name == name.as_bytes() && !found.members.is_empty())
    }

    /// Offset in bits and type id of a member, also inside anonymous members.
    fn member(&self, of: Type<'a>, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        if !matches!(of.kind, KIND_STRUCT | KIND_UNION) || depth == 0 {
            return None;
        }
        of.members.chunks_exact(MEMBER_LEN).find_map(|member| {
            let (label, kind) = (self.string(word(member, 0)?)?, word(member, 4)?);
            // With `kind_flag` the upper byte is the width of a bit field.
            let bits = if of.kind_flag { word(member, 8)? & 0x00ff_ffff } else { word(member, 8)? };
            if label == name {
                return Some((bits, kind));
            }
            let inner = label.is_empty().then(|| self.strip(kind)).flatten()?;
            let (inner_bits, found) = self.member(inner, name, depth - 1)?;
            Some((bits + inner_bits, found))
        })
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, id: u32) -> Option<Type<'a>> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let found = self.at((id as usize).checked_sub(1)?)?;
            if !matches!(found.kind, KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG) {
                return Some(found);
            }
            id = found.size_or_target;
        }
        None
    }

    fn at(&self, index: usize) -> Option<Type<'a>> {
        let start = *self.starts.get(index)? as usize;
        let info = word(self.definitions, start + 4)?;
        Some(Type {
            name: self.string(word(self.definitions, start)?)?,
            kind: kind(info),
            kind_flag: info >> 31 == 1,
            size_or_target: word(self.definitions, start + 8)?,
            members: self.definitions.get(start + TYPE_LEN..start + TYPE_LEN + extra_len(info))?,
        })
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

const fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow `struct btf_type`.
const fn extra_len(info: u32) -> usize {
    let count = (info & 0xffff) as usize;
    match kind(info) {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
        KIND_ENUM | KIND_FUNC_PROTO => count * 8,
        _ => 0,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct s { int a; union { int b; struct { int c; int d; }; }; struct t { int e; } t; }`, and a function `s`.
    fn sample() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0c\0d\0t\0e\0int\0";
        let name = |text: &str| {
            let quoted = [b"\0", text.as_bytes(), b"\0"].concat();
            u32::try_from(strings.windows(quoted.len()).position(|part| part == quoted).unwrap() + 1).unwrap()
        };
        let info = |kind: u32, count: u32| kind << 24 | count;
        let words: Vec<u32> = [
            vec![name("int"), info(KIND_INT, 0), 4, 32],                         // 1
            vec![name("s"), info(12, 0), 1],                                     // 2: a function
            vec![0, info(KIND_STRUCT, 2), 8, name("c"), 1, 0, name("d"), 1, 32], // 3
            vec![0, info(KIND_UNION, 2), 8, name("b"), 1, 0, 0, 3, 0],           // 4
            vec![name("t"), info(KIND_STRUCT, 1), 4, name("e"), 1, 0],           // 5
            vec![name("t"), info(KIND_TYPEDEF, 0), 5],                           // 6
            vec![name("s"), info(KIND_STRUCT, 3), 16, name("a"), 1, 0, 0, 4, 32, name("t"), 6, 96], // 7
        ]
        .concat();
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let length = u32::try_from(types.len()).unwrap();
        let header = [24, 0, length, length, u32::try_from(strings.len()).unwrap()];
        [
            &[0x9f, 0xeb, 1, 0][..],
            &header.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>(),
            &types,
            strings,
        ]
        .concat()
    }

    #[test]
    fn finds_members_also_in_anonymous_and_named_ones() {
        let bytes = sample();
        let types = Types::parse(&bytes).unwrap();
        for (path, offset) in [("a", 0), ("b", 4), ("c", 4), ("d", 8), ("t", 12), ("t.e", 12)] {
            assert_eq!(types.offset_of("s", path), Some(offset), "{path}");
        }
        assert_eq!(types.size_of("s"), Some(16));
        assert_eq!(types.offset_of("s", "x"), None);
        assert_eq!(types.offset_of("s", "a.b"), None);
        assert_eq!(types.offset_of("x", "a"), None);
    }

    #[test]
    fn refuses_what_is_not_btf() {
        let bytes = sample();
        assert!(Types::parse(&[]).is_none());
        assert!(Types::parse(&bytes[1..]).is_none());
        assert!(Types::parse(&bytes[..bytes.len() - 1]).is_none());
    }
}
