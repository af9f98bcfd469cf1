//! The walk over a request before it is decoded: every length and count must be backed by bytes. Allocates nothing.

use super::WireError;
use super::layout::{Field, Kind, Message, Struct};

/// Most elements (array elements and tagged fields) of one request: what a decoder allocates stays below this times
/// the size of its largest element, some 200 bytes, whatever the request's length.
pub(crate) const MAX_ELEMENTS: usize = 200_000;

/// A position in the bytes of a request.
pub(super) struct Walk<'a> {
    rest: &'a [u8],
    elements: usize,
}

/// Checks that `body` begins with the shape of `message` in `version`; gives its length.
pub(super) fn check(body: &[u8], message: &Message, version: i16) -> Result<usize, WireError> {
    let mut walk = Walk::new(body);
    let shape = Shape { version, flexible: version >= message.flexible_from };
    walk.structure(message.body, shape)?;
    Ok(body.len() - walk.remaining())
}

#[derive(Clone, Copy)]
struct Shape {
    version: i16,
    flexible: bool,
}

impl Shape {
    fn has(self, field: &Field) -> bool {
        field.versions.0 <= self.version && self.version <= field.versions.1
    }

    /// Fewest bytes a value of this kind takes.
    fn least(self, kind: &Kind) -> usize {
        match kind {
            Kind::Fixed(n) => *n,
            Kind::Text if !self.flexible => 2,
            Kind::Data | Kind::Array(_) | Kind::Many(_) if !self.flexible => 4,
            Kind::Text | Kind::Data | Kind::Array(_) | Kind::Many(_) | Kind::Optional(_) => 1,
            Kind::One(structure) => self.least_of(structure),
        }
    }

    fn least_of(self, structure: &Struct) -> usize {
        let fields = structure.fields.iter().filter(|f| self.has(f));
        fields.map(|f| self.least(&f.kind)).sum::<usize>() + usize::from(self.flexible)
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, elements: 0 }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(WireError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn i16(&mut self, what: &'static str) -> Result<i16, WireError> {
        let bytes = self.take(2, what)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        let bytes = self.take(4, what)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn varint(&mut self) -> Result<u32, WireError> {
        let mut value: u64 = 0;
        for i in 0..5 {
            let byte = self.take(1, "varint")?[0];
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| too_long(value));
            }
        }
        Err(too_long(value))
    }

    /// A length or count as `width` bytes (2 or 4), or as a compact one; `None` is null.
    fn length(
        &mut self,
        width: usize,
        flexible: bool,
        what: &'static str,
    ) -> Result<Option<usize>, WireError> {
        let value = match (flexible, width) {
            (true, _) => i64::from(self.varint()?) - 1,
            (false, 2) => i64::from(self.i16(what)?),
            (false, _) => i64::from(self.i32(what)?),
        };
        match value {
            -1 => Ok(None),
            0.. => Ok(Some(value as usize)),
            _ => Err(WireError::Length { what, value, allowed: "-1 for null, or 0 and up" }),
        }
    }

    fn structure(&mut self, structure: &Struct, shape: Shape) -> Result<(), WireError> {
        for field in structure.fields.iter().filter(|f| shape.has(f)) {
            self.value(&field.kind, shape)?;
        }
        if shape.flexible { self.tags(structure.tags, shape) } else { Ok(()) }
    }

    fn value(&mut self, kind: &Kind, shape: Shape) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(n) => self.take(*n, "fixed fields").map(drop),
            Kind::Text => {
                let length = self.length(2, shape.flexible, "string length")?;
                self.take(length.unwrap_or(0), "string").map(drop)
            }
            Kind::Data => {
                let length = self.length(4, shape.flexible, "bytes length")?;
                self.take(length.unwrap_or(0), "bytes").map(drop)
            }
            Kind::Array(element) => {
                for _ in 0..self.count(shape, shape.least_of(element))? {
                    self.structure(element, shape)?;
                }
                Ok(())
            }
            Kind::Many(element) => {
                for _ in 0..self.count(shape, shape.least(element))? {
                    self.value(element, shape)?;
                }
                Ok(())
            }
            Kind::Optional(structure) => match self.take(1, "optional")?[0] {
                1 => self.structure(structure, shape),
                _ => Ok(()),
            },
            Kind::One(structure) => self.structure(structure, shape),
        }
    }

    /// The count of an array whose elements take at least `least` bytes each.
    fn count(&mut self, shape: Shape, least: usize) -> Result<usize, WireError> {
        let count = self.length(4, shape.flexible, "array length")?.unwrap_or(0);
        self.backed(count, least)
    }

    fn backed(&mut self, count: usize, least: usize) -> Result<usize, WireError> {
        if count > self.remaining() / least.max(1) {
            return Err(WireError::CountBeyondBytes { count: count as u64, remaining: self.remaining() });
        }
        self.elements += count;
        if self.elements > MAX_ELEMENTS {
            return Err(WireError::TooManyElements(MAX_ELEMENTS));
        }
        Ok(count)
    }

    fn tags(&mut self, known: &[(u32, Kind)], shape: Shape) -> Result<(), WireError> {
        let count = self.varint()? as usize;
        for _ in 0..self.backed(count, 2)? {
            let tag = self.varint()?;
            if i32::try_from(tag).is_err() {
                // The decoder would take it for a negative one.
                return Err(WireError::Length {
                    what: "tag",
                    value: tag.into(),
                    allowed: "at most 2147483647",
                });
            }
            let size = self.varint()? as usize;
            match known.iter().find(|(k, _)| *k == tag) {
                Some((_, kind)) => self.known_tag(tag, size, kind, shape)?,
                None => self.take(size, "tagged field").map(drop)?,
            }
        }
        Ok(())
    }

    /// The decoder ignores the size of a tag it knows, so the size must be true or both would part ways.
    fn known_tag(&mut self, tag: u32, size: usize, kind: &Kind, shape: Shape) -> Result<(), WireError> {
        let before = self.remaining();
        self.value(kind, shape)?;
        let held = before - self.remaining();
        if held == size {
            return Ok(());
        }
        Err(WireError::TagLength { tag, claimed: size as u64, held: held as u64 })
    }

    /// Tagged fields of which none is known.
    pub(super) fn skip_tags(&mut self) -> Result<(), WireError> {
        self.tags(&[], Shape { version: 0, flexible: true })
    }
}

fn too_long(value: u64) -> WireError {
    WireError::Length { what: "varint", value: value as i64, allowed: "at most 32 bits" }
}
