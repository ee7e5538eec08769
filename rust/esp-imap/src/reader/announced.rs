//! The literal that a line of a command announces at its end (RFC 7888 §8).

/// The literal that ends a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    pub(super) size: u64,
    pub(super) synchronising: bool,
    pub(super) binary: bool,
    /// Octets of the announcement, `{5+}`.
    pub(super) length: usize,
}

/// `["~"] "{" number64 ["+"] "}"` at the end of a line.
pub(super) fn announced(line: &[u8]) -> Option<Announced> {
    let body = line.strip_suffix(b"}")?;
    let (body, synchronising) = match body.strip_suffix(b"+") {
        Some(body) => (body, false),
        None => (body, true),
    };
    let digits = body
        .iter()
        .rev()
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let (before, digits) = body.split_at_checked(body.len() - digits)?;
    let before = before.strip_suffix(b"{")?;
    if digits.is_empty() {
        return None;
    }
    let binary = before.ends_with(b"~");
    Some(Announced {
        // A number too large for 64 bits is also larger than every limit.
        size: std::str::from_utf8(digits)
            .ok()?
            .parse()
            .unwrap_or(u64::MAX),
        synchronising,
        binary,
        length: line.len() - before.len() + usize::from(binary),
    })
}
