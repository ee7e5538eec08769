//! The rows of an index as octets that outlive the process: reading a large mailbox from these is several times faster
//! than from its rows.
//!
//! Rows follow each other, each as its differences from the row before, in LEB128; a file name has only its new part.

use super::names::Names;
use super::table::{Row, Table};

/// The first of the octets: the version, any other is refused.
const FORM: u8 = 1;
/// The least octets of a row: an impossible count must not cost memory.
const SMALLEST_ROW: usize = 10;
/// Octets of the longest name: `NAME_MAX` of Linux.
const LONGEST_NAME: usize = 255;

/// The octets are not rows, or not of this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptError;

impl std::fmt::Display for KeptError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Not rows of an index as this version keeps them")
    }
}

impl std::error::Error for KeptError {}

/// Numbers of the row before.
#[derive(Default)]
struct Before {
    uid: u32,
    content: i64,
    modseq: i64,
    flags: i64,
    internal_date: i64,
    saved_at: i64,
}

/// The rows of a table, as octets.
pub(super) fn write(table: &Table) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + table.len() * 40);
    out.push(FORM);
    put(&mut out, table.len() as u64);
    let mut before = Before::default();
    let mut base_before: &[u8] = &[];
    for (uid, row) in table.rows() {
        put(&mut out, u64::from(uid.wrapping_sub(before.uid)));
        put_signed(&mut out, row.content.wrapping_sub(before.content));
        put_signed(&mut out, row.modseq.wrapping_sub(before.modseq));
        put_signed(&mut out, row.flags ^ before.flags);
        put_signed(
            &mut out,
            row.internal_date.wrapping_sub(before.internal_date),
        );
        put_signed(&mut out, row.saved_at.wrapping_sub(before.saved_at));
        put(&mut out, row.size);
        let (base, letters) = table.name(row);
        let same = base
            .iter()
            .zip(base_before)
            .take_while(|(one, other)| one == other)
            .count();
        put(&mut out, same as u64);
        put_octets(&mut out, base.get(same..).unwrap_or_default());
        // 0: the file is in `new`, and has no letters.
        put(
            &mut out,
            letters.map_or(0, |letters| letters.len() as u64 + 1),
        );
        out.extend_from_slice(letters.unwrap_or_default());
        base_before = base;
        before = Before {
            uid,
            content: row.content,
            modseq: row.modseq,
            flags: row.flags,
            internal_date: row.internal_date,
            saved_at: row.saved_at,
        };
    }
    out
}

/// The rows that `write` wrote, by rising UID, and their names.
///
/// # Errors
/// `KeptError` when the octets are something else.
pub(super) fn read(octets: &[u8]) -> Result<(Vec<(u32, Row)>, Names), KeptError> {
    let mut reader = Reader { rest: octets };
    if reader.octets(1)? != [FORM] {
        return Err(KeptError);
    }
    let count = reader.length()?;
    if count > octets.len() / SMALLEST_ROW {
        return Err(KeptError);
    }
    let mut rows = Vec::with_capacity(count);
    let mut names = Names::default();
    let mut before = Before::default();
    let mut base = Vec::new();
    for _ in 0..count {
        let gap = u32::try_from(reader.number()?).map_err(|_| KeptError)?;
        let uid = before.uid.checked_add(gap).ok_or(KeptError)?;
        if uid <= before.uid {
            return Err(KeptError);
        }
        before = Before {
            uid,
            content: before.content.wrapping_add(reader.signed()?),
            modseq: before.modseq.wrapping_add(reader.signed()?),
            flags: before.flags ^ reader.signed()?,
            internal_date: before.internal_date.wrapping_add(reader.signed()?),
            saved_at: before.saved_at.wrapping_add(reader.signed()?),
        };
        let size = reader.number()?;
        let same = reader.length()?;
        if same > base.len() {
            return Err(KeptError);
        }
        base.truncate(same);
        let length = reader.length()?;
        if length > LONGEST_NAME - same {
            return Err(KeptError);
        }
        base.extend_from_slice(reader.octets(length)?);
        let letters = match reader.length()? {
            0 => None,
            length => Some(reader.octets(length - 1)?),
        };
        let name = names.add(&base, letters).map_err(|_| KeptError)?;
        let row = Row {
            content: before.content,
            modseq: before.modseq,
            flags: before.flags,
            internal_date: before.internal_date,
            saved_at: before.saved_at,
            size,
            name,
        };
        rows.push((uid, row));
    }
    if reader.rest.is_empty() {
        Ok((rows, names))
    } else {
        Err(KeptError)
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Write a number of either sign; small ones are short.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn number(&mut self) -> Result<u64, KeptError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&octet, rest) = self.rest.split_first().ok_or(KeptError)?;
            self.rest = rest;
            number |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(number);
            }
        }
        Err(KeptError)
    }

    #[inline]
    fn signed(&mut self) -> Result<i64, KeptError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    fn length(&mut self) -> Result<usize, KeptError> {
        usize::try_from(self.number()?).map_err(|_| KeptError)
    }

    fn octets(&mut self, length: usize) -> Result<&'a [u8], KeptError> {
        let (octets, rest) = self.rest.split_at_checked(length).ok_or(KeptError)?;
        self.rest = rest;
        Ok(octets)
    }
}
