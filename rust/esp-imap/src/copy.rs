//! PostgreSQL's binary COPY format, read in pieces (PostgreSQL manual, COPY, "Binary Format").

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Microseconds between 1970-01-01 and 2000-01-01, PostgreSQL's epoch.
const EPOCH: i64 = 946_684_800_000_000;

/// The octets are not a COPY stream of the expected columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyError(pub &'static str);

impl std::fmt::Display for CopyError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "Not a binary COPY stream of the columns expected: {}",
            self.0
        )
    }
}

impl std::error::Error for CopyError {}

/// The fields of one row.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

impl<'a> Fields<'a> {
    /// The octets of the next field, or `None` for NULL.
    pub(crate) fn octets(&mut self) -> Result<Option<&'a [u8]>, CopyError> {
        let length = take_i32(&mut self.rest).ok_or(CopyError("a field is cut"))?;
        match usize::try_from(length) {
            Ok(length) => take(&mut self.rest, length)
                .map(Some)
                .ok_or(CopyError("a field is cut")),
            Err(_) => Ok(None),
        }
    }

    pub(crate) fn required(&mut self) -> Result<&'a [u8], CopyError> {
        self.octets()?.ok_or(CopyError("a field is NULL"))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, CopyError> {
        let octets = self.required()?;
        octets
            .try_into()
            .map(i64::from_be_bytes)
            .map_err(|_| CopyError("a field is no bigint"))
    }

    /// `timestamptz` as microseconds since 1970.
    pub(crate) fn time(&mut self) -> Result<Option<i64>, CopyError> {
        let Some(octets) = self.octets()? else {
            return Ok(None);
        };
        octets
            .try_into()
            .map(|octets| Some(i64::from_be_bytes(octets).saturating_add(EPOCH)))
            .map_err(|_| CopyError("a field is no timestamptz"))
    }
}

/// Takes a stream in pieces and returns complete rows.
#[derive(Debug, Default)]
pub(crate) struct CopyReader {
    partial: Vec<u8>,
    /// Whether the header has been read and the trailer has not.
    open: bool,
}

enum Step<'a> {
    Row(&'a [u8], usize),
    Trailer,
    More,
}

fn step(octets: &[u8], columns: usize) -> Result<Step<'_>, CopyError> {
    let mut rest = octets;
    let Some(count) = take(&mut rest, 2).and_then(|count| count.try_into().ok()) else {
        return Ok(Step::More);
    };
    let count = i16::from_be_bytes(count);
    if count == -1 {
        return Ok(Step::Trailer);
    }
    if usize::try_from(count).ok() != Some(columns) {
        return Err(CopyError("another number of columns"));
    }
    let body = rest;
    for _ in 0..columns {
        let Some(length) = take_i32(&mut rest) else {
            return Ok(Step::More);
        };
        if let Ok(length) = usize::try_from(length)
            && take(&mut rest, length).is_none()
        {
            return Ok(Step::More);
        }
    }
    let length = octets.len() - rest.len();
    Ok(Step::Row(
        body.get(..length - 2).unwrap_or_default(),
        length,
    ))
}

/// How many octets the header takes, or `None` when more are needed.
fn header(octets: &[u8]) -> Result<Option<usize>, CopyError> {
    let known = octets.len().min(SIGNATURE.len());
    if octets.get(..known) != SIGNATURE.get(..known) {
        return Err(CopyError("no signature"));
    }
    let mut rest = octets.get(15..).unwrap_or_default();
    let Some(extension) = take_i32(&mut rest) else {
        return Ok(None);
    };
    let extension = usize::try_from(extension).map_err(|_| CopyError("a bad header"))?;
    Ok((rest.len() >= extension).then_some(19 + extension))
}

impl CopyReader {
    /// Take a piece, and call `row` for each complete row.
    pub(crate) fn feed(
        &mut self,
        octets: &[u8],
        columns: usize,
        mut row: impl FnMut(Fields<'_>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        let joined;
        let mut rest = if self.partial.is_empty() {
            octets
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(octets);
            joined = partial;
            joined.as_slice()
        };
        while !rest.is_empty() {
            if !self.open {
                let Some(length) = header(rest)? else { break };
                rest = rest.get(length..).unwrap_or_default();
                self.open = true;
                continue;
            }
            match step(rest, columns)? {
                Step::Row(fields, length) => {
                    row(Fields { rest: fields })?;
                    rest = rest.get(length..).unwrap_or_default();
                }
                Step::Trailer => {
                    rest = rest.get(2..).unwrap_or_default();
                    self.open = false;
                }
                Step::More => break,
            }
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// Whether a stream has begun but not ended.
    pub(crate) fn incomplete(&self) -> bool {
        self.open || !self.partial.is_empty()
    }

    /// Read a complete stream.
    pub(crate) fn whole(
        octets: &[u8],
        columns: usize,
        row: impl FnMut(Fields<'_>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        let mut reader = Self::default();
        reader.feed(octets, columns, row)?;
        if reader.incomplete() {
            return Err(CopyError("it is cut"));
        }
        Ok(())
    }
}
