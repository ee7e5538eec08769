//! The message as it passes: its lines checked, its header fields classified, its octets counted.

use memchr::{memchr, memchr_iter};

/// A field that may have to be removed is judged as a whole, so it must not be too large to keep.
const LONGEST_JUDGED_FIELD: usize = 64 * 1024;
/// No field that matters here has a longer name.
const LONGEST_NAME: usize = 64;

/// Why a message cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A CR without LF behind it, or a LF without CR before it (RFC 5321 §2.3.8).
    BareLineEnd,
    /// More octets than `Rules::size_limit`.
    TooLarge,
    /// A header of more octets than `Rules::header_limit`, or a field to be judged of more than 64 KiB.
    HeaderTooLarge,
}

/// What is done with a message while it passes.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Octets of the whole message.
    pub size_limit: u64,
    /// Octets of its header.
    pub header_limit: u64,
    /// `Authentication-Results` with this server's name are forged, for our own is put above the message (RFC 8601 §5).
    pub authserv_id: String,
    /// Remove `Bcc` (RFC 6409 §8, RFC 5322 §3.6.3).
    pub strip_bcc: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Not enough of its name has come yet.
    Unnamed,
    /// Passes unchanged.
    Plain,
    /// `Authentication-Results`: its end shows whose it is.
    Results,
    /// `Bcc`, if that is removed.
    Secret,
}

/// One message that is passing.
#[derive(Debug)]
pub struct Content {
    rules: Rules,
    kept: Vec<u8>,
    size: u64,
    fault: Option<Fault>,
    cr: bool,
    in_header: bool,
    at_line_start: bool,
    header_size: u64,
    field: Field,
    field_start: usize,
    /// Octets of the field searched for the end of its name, and the last of them that is not a blank.
    looked_at: usize,
    name_length: usize,
    /// Number of `Received` fields.
    pub received: u32,
    /// Whether there is a `Date` field.
    pub has_date: bool,
    /// Whether there is a `Message-ID` field.
    pub has_message_id: bool,
    /// Whether there is a `From` field.
    pub has_from: bool,
}

impl Content {
    /// A message of which nothing has come yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            kept: Vec::new(),
            size: 0,
            fault: None,
            cr: false,
            in_header: true,
            at_line_start: true,
            header_size: 0,
            field: Field::Plain,
            field_start: 0,
            looked_at: 0,
            name_length: 0,
            received: 0,
            has_date: false,
            has_message_id: false,
            has_from: false,
        }
    }

    /// Octets that came.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Octets that are held here.
    #[must_use]
    pub fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// What is wrong with the message.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Take the next octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.size += octets.len() as u64;
        if self.fault.is_some() || octets.is_empty() {
            return;
        }
        if self.size > self.rules.size_limit {
            return self.refuse(Fault::TooLarge);
        }
        if let Some(fault) = self.lines(octets) {
            return self.refuse(fault);
        }
        let body = if self.in_header {
            self.header(octets)
        } else {
            octets
        };
        self.kept.extend_from_slice(body);
    }

    /// Nothing more comes: a CR that waits for its LF will not get it.
    pub fn finish(&mut self) {
        if self.fault.is_some() {
            return;
        }
        if self.cr {
            return self.refuse(Fault::BareLineEnd);
        }
        if self.in_header {
            self.end_field();
            self.in_header = false;
        }
    }

    /// Whether `take_part` would return something, when more than `limit` octets are held.
    #[must_use]
    pub fn is_over(&self, limit: usize) -> bool {
        self.kept.len() > limit
    }

    /// Return what is decided about, to make room.
    pub fn take_part(&mut self) -> Vec<u8> {
        if self.in_header {
            self.name_field();
            if matches!(self.field, Field::Results | Field::Unnamed) {
                let open = self.kept.split_off(self.field_start.min(self.kept.len()));
                self.field_start = 0;
                return std::mem::replace(&mut self.kept, open);
            }
        }
        self.field_start = 0;
        std::mem::take(&mut self.kept)
    }

    /// Return everything that is left.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    fn refuse(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.kept = Vec::new();
    }

    /// If each LF has a CR before it, and there are as many CR as LF, then each CR has a LF after it.
    fn lines(&mut self, octets: &[u8]) -> Option<Fault> {
        let before = self.cr;
        if before && octets.first() != Some(&b'\n') {
            return Some(Fault::BareLineEnd);
        }
        let mut line_feeds = 0;
        for at in memchr_iter(b'\n', octets) {
            let previous = match at.checked_sub(1) {
                Some(at) => octets.get(at) == Some(&b'\r'),
                None => before,
            };
            if !previous {
                return Some(Fault::BareLineEnd);
            }
            line_feeds += 1;
        }
        self.cr = octets.last() == Some(&b'\r');
        let carriage_returns =
            memchr_iter(b'\r', octets).count() + usize::from(before) - usize::from(self.cr);
        (carriage_returns != line_feeds).then_some(Fault::BareLineEnd)
    }

    /// Take the header's part of `octets`; returns the body's part.
    fn header<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let mut rest = octets;
        while let Some(&first) = rest.first() {
            if self.at_line_start {
                self.at_line_start = false;
                if first != b' ' && first != b'\t' {
                    self.end_field();
                }
                if first == b'\r' {
                    self.in_header = false;
                    return rest;
                }
            }
            let (line, after) = memchr(b'\n', rest)
                .and_then(|at| rest.split_at_checked(at + 1))
                .unwrap_or((rest, b""));
            self.at_line_start = line.ends_with(b"\n");
            self.header_size += line.len() as u64;
            rest = after;
            if self.field != Field::Secret {
                self.kept.extend_from_slice(line);
            }
            if self.field == Field::Unnamed {
                self.name_field();
            }
            if self.header_size > self.rules.header_limit
                || self.field == Field::Results
                    && self.kept.len() - self.field_start > LONGEST_JUDGED_FIELD
            {
                self.refuse(Fault::HeaderTooLarge);
                return b"";
            }
        }
        rest
    }

    /// Find out which field began at `field_start`.
    fn name_field(&mut self) {
        if self.field != Field::Unnamed {
            return;
        }
        let field = self.kept.get(self.field_start..).unwrap_or_default();
        let more = field.get(self.looked_at..).unwrap_or_default();
        if memchr(b':', more).is_none() {
            // RFC 5322 §4.5: blanks after the name are not part of it, however many there are.
            let inked = more.trim_ascii_end().len();
            if inked > 0 {
                self.name_length = self.looked_at + inked;
            }
            if self.name_length > LONGEST_NAME || field.ends_with(b"\n") {
                self.field = Field::Plain;
            }
            self.looked_at = field.len();
            return;
        }
        let Some((name, _)) = split_name(field) else {
            return;
        };
        self.field = Field::Plain;
        if name.eq_ignore_ascii_case(b"Received") {
            self.received += 1;
        } else if name.eq_ignore_ascii_case(b"Date") {
            self.has_date = true;
        } else if name.eq_ignore_ascii_case(b"Message-ID") {
            self.has_message_id = true;
        } else if name.eq_ignore_ascii_case(b"From") {
            self.has_from = true;
        } else if name.eq_ignore_ascii_case(b"Authentication-Results") {
            self.field = Field::Results;
        } else if self.rules.strip_bcc && name.eq_ignore_ascii_case(b"Bcc") {
            self.field = Field::Secret;
            self.kept.truncate(self.field_start);
        }
    }

    fn end_field(&mut self) {
        self.name_field();
        if self.field == Field::Results {
            let field = self.kept.get(self.field_start..).unwrap_or_default();
            let forged = split_name(field).is_some_and(|(_, value)| {
                authserv_id(value).eq_ignore_ascii_case(self.rules.authserv_id.as_bytes())
            });
            if forged {
                self.kept.truncate(self.field_start);
            }
        }
        self.field = Field::Unnamed;
        self.field_start = self.kept.len();
        (self.looked_at, self.name_length) = (0, 0);
    }
}

/// The name of a field and its value; white space before the colon is obsolete, but still accepted (RFC 5322 §4.5).
fn split_name(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = field.split_at_checked(memchr(b':', field)?)?;
    let value = value.split_first().map_or(value, |(_, value)| value);
    Some((name.trim_ascii_end(), value))
}

/// `authserv-id = value`, a token or a quoted string, after any CFWS (RFC 8601 §2.2).
fn authserv_id(value: &[u8]) -> Vec<u8> {
    let mut id = Vec::new();
    let mut depth = 0_u32;
    let mut quoted = false;
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if depth > 0 || quoted => {
                let escaped = octets.next();
                if quoted {
                    id.extend(escaped);
                }
            }
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => id.push(octet),
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            b' ' | b'\t' | b'\r' | b'\n' if id.is_empty() => {}
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'/' => break,
            _ => id.push(octet),
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            size_limit: 1_000_000,
            header_limit: 100_000,
            authserv_id: "mx.example".to_owned(),
            strip_bcc: true,
        }
    }

    fn run(pieces: &[&[u8]]) -> (Result<Vec<u8>, Fault>, u32) {
        let mut content = Content::new(rules());
        for piece in pieces {
            content.push(piece);
        }
        content.finish();
        let received = content.received;
        (
            content.fault().map_or_else(|| Ok(content.take()), Err),
            received,
        )
    }

    #[test]
    fn our_own_results_and_bcc_are_taken_out_wherever_they_stand() {
        let message = b"Authentication-Results: mx.example;\r\n spf=pass\r\nFrom: a@b\r\nbcc : c@d,\r\n\te@f\r\n\
            Received: by x\r\nAUTHENTICATION-RESULTS:\r\n (c (d\\)) e) \"MX.example\" 1; none\r\n\
            Authentication-Results: other.example; dkim=pass\r\nReceived: by y\r\n\r\nBcc: in the body\r\n";
        let expected = b"From: a@b\r\nReceived: by x\r\n\
            Authentication-Results: other.example; dkim=pass\r\nReceived: by y\r\n\r\nBcc: in the body\r\n";
        assert_eq!(run(&[message]), (Ok(expected.to_vec()), 2));
        for at in 0..message.len() {
            let (head, tail) = message.split_at(at);
            assert_eq!(
                run(&[head, tail]),
                (Ok(expected.to_vec()), 2),
                "split at {at}"
            );
        }
        let single: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(run(&single), (Ok(expected.to_vec()), 2));
    }

    #[test]
    fn blanks_behind_its_name_hide_no_field() {
        for (blanks, gone) in [(1_000, true), (70_000, true), (100_000, false)] {
            let message = format!("Bcc{}: c@d\r\nFrom: a@b\r\n\r\n", " ".repeat(blanks));
            let expected = if gone {
                Ok(b"From: a@b\r\n\r\n".to_vec())
            } else {
                Err(Fault::HeaderTooLarge)
            };
            for size in [10, 1_000, 64_000, message.len()] {
                let pieces: Vec<&[u8]> = message.as_bytes().chunks(size).collect();
                assert_eq!(run(&pieces).0, expected, "{blanks} in pieces of {size}");
            }
        }
    }

    #[test]
    fn parts_taken_early_make_the_same_whole() {
        let message = b"Authentication-Results: mx.example; spf=pass\r\nFrom: a@b\r\nBcc: c@d\r\n\
            Authentication-Results: mx.example; spf=pass\r\nReceived: by x\r\n\r\ntext\r\n";
        let mut content = Content::new(rules());
        let mut whole = Vec::new();
        for octet in message.chunks(1) {
            content.push(octet);
            whole.extend(content.take_part());
        }
        content.finish();
        whole.extend(content.take());
        assert_eq!(whole, b"From: a@b\r\nReceived: by x\r\n\r\ntext\r\n");
        assert_eq!(content.received, 1);
    }

    #[test]
    fn bare_line_ends_are_faults_in_every_division() {
        for text in [
            &b"\n"[..],
            b"a\nb\r\n",
            b"a\r\n\nb\r\n",
            b"a\rb\r\n",
            b"a\r\r\n",
            b"a\r\n\r",
        ] {
            for at in 0..=text.len() {
                let (head, tail) = text.split_at(at);
                assert_eq!(
                    run(&[head, tail]).0,
                    Err(Fault::BareLineEnd),
                    "{} at {at}",
                    text.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn limits_are_kept_and_the_octets_are_let_go() {
        let mut content = Content::new(Rules {
            size_limit: 100,
            ..rules()
        });
        content.push(&[b'a'; 101]);
        assert_eq!(content.fault(), Some(Fault::TooLarge));
        assert_eq!(content.held(), 0);

        let line = vec![b'a'; 1_000_000];
        assert_eq!(run(&[b"X: ", &line]).0, Err(Fault::TooLarge));
        assert_eq!(
            run(&[b"X: ", line.split_at(200_000).0]).0,
            Err(Fault::HeaderTooLarge)
        );
        assert_eq!(
            run(&[b"Authentication-Results: ", line.split_at(70_000).0]).0,
            Err(Fault::HeaderTooLarge)
        );
    }

    #[test]
    fn the_whole_passes_when_nothing_is_wrong() {
        for text in [
            &b""[..],
            b"\r\n",
            b"\r\nbody\r\n",
            b"no header\r\n",
            b" odd\r\nA: b\r\n\r\n",
            b"A: b",
        ] {
            assert_eq!(run(&[text]).0, Ok(text.to_vec()));
        }
    }
}
