//! What sorting, threading and header searches look at, in a few hundred octets: they read hundreds of thousands.

use crate::address::{Address, parse_list};
use crate::collation::collation_key;
use crate::date;
use crate::describe::threading;
use crate::encoded_word;
use crate::structure::{Structure, Tag};
use crate::text::{Needle, add_field, field_values, is_in_fields};

const VERSION: u8 = 1;
const HAS_DATE: u8 = 1;
const IS_REPLY: u8 = 2;
const FIELDS_LEFT_OUT: u8 = 4;
/// Octets before the strings: version, flags, moment, day, identifier, six lengths, number of references, fields'
/// length.
const FIXED: usize = 2 + 8 + 4 + 8 + 6 * 2 + 2 + 4;

/// Octets of a key: keys that agree so far are treated as equal.
const LONGEST_KEY: usize = 1024;
/// Octets of all fields together; if they are longer, the message's text is used instead. Heads are read by the hundred
/// thousand, and anybody may send half a megabyte of header.
const LONGEST_FIELDS: usize = 8 * 1024;
/// The last references of a message are kept, since they are its nearest relatives (RFC 5256 §3).
const MOST_REFERENCES: usize = 1000;

/// Fields kept completely unless they are very long, decoded, folded and in lower case; others are searched for in the
/// message's text.
pub const HEAD_FIELDS: [&str; 6] = ["subject", "from", "to", "cc", "bcc", "message-id"];

const TAGS: [Tag; 6] = [
    Tag::Subject,
    Tag::From,
    Tag::To,
    Tag::Cc,
    Tag::Bcc,
    Tag::MessageId,
];

/// A string to sort by (RFC 5256 §3, RFC 5957 §4), as its collation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKey {
    /// The base subject.
    Subject,
    /// `addr-mailbox` of the first address.
    From,
    /// The same of `To`.
    To,
    /// The same of `Cc`.
    Cc,
    /// The display name of the first address, or the address.
    DisplayFrom,
    /// The same of `To`.
    DisplayTo,
}

fn cut(mut key: Vec<u8>) -> Vec<u8> {
    key.truncate(LONGEST_KEY);
    key
}

fn length<T>(of: &[T]) -> [u8; 2] {
    u16::try_from(of.len()).unwrap_or(0).to_le_bytes()
}

/// A number that represents a message identifier.
fn identifier(id: &str) -> u64 {
    // FNV-1a, then mixed; it is stored, so it must never change.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for octet in id.bytes() {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    // Zero means none.
    (hash ^ (hash >> 33)).max(1)
}

/// Add those addresses of a field that are not in one piece there because of comments or blanks: searches look at the
/// addresses of the envelope (RFC 3501 §6.4.4, FROM).
fn add_hidden_addresses(name: &str, value: &[u8], list: &[Address], fields: &mut Vec<u8>) {
    for spec in list.iter().filter_map(Address::spec) {
        if memchr::memmem::find(value, &spec).is_none() {
            add_field(name.as_bytes(), &spec, fields);
        }
    }
}

fn mailbox_key(address: &Address) -> Vec<u8> {
    let mailbox = address.mailbox.as_deref().unwrap_or_default();
    cut(collation_key(&String::from_utf8_lossy(mailbox)))
}

/// RFC 5957 §3: the decoded name, otherwise the address, otherwise what there is of it.
fn display_key(address: &Address) -> Vec<u8> {
    let name = address
        .name
        .as_deref()
        .map(encoded_word::decode)
        .unwrap_or_default();
    if !name.is_empty() {
        return cut(collation_key(&name));
    }
    let mut spec = address.mailbox.clone().unwrap_or_default();
    if let Some(domain) = &address.domain {
        spec.push(b'@');
        spec.extend_from_slice(domain);
    }
    cut(collation_key(&String::from_utf8_lossy(&spec)))
}

/// Make the head of a message; the message's header is enough.
#[must_use]
pub fn head(structure: &Structure<'_>) -> Vec<u8> {
    let threading = threading(structure);
    let sent = structure
        .values(0, Tag::Date)
        .next_back()
        .and_then(date::parse);
    let mut fields = Vec::with_capacity(256);
    // From the last field of each name.
    let mut first = <[Address; 6]>::default();
    for ((name, tag), first) in HEAD_FIELDS.into_iter().zip(TAGS).zip(&mut first) {
        for value in structure.values(0, tag) {
            add_field(name.as_bytes(), value, &mut fields);
            if matches!(tag, Tag::From | Tag::To | Tag::Cc | Tag::Bcc) {
                let mut list = Vec::new();
                parse_list(value, &mut list);
                add_hidden_addresses(name, value, &list, &mut fields);
                *first = list.into_iter().next().unwrap_or_default();
            }
        }
    }
    let [_, from, to, cc, ..] = &first;
    let keys = [
        cut(collation_key(&threading.base_subject.text)),
        mailbox_key(from),
        mailbox_key(to),
        mailbox_key(cc),
        display_key(from),
        display_key(to),
    ];
    let left_out = fields.len() > LONGEST_FIELDS;
    if left_out {
        fields.clear();
    }
    let mut out = Vec::with_capacity(FIXED + 128 + fields.len());
    out.push(VERSION);
    let flags = [
        (sent.is_some(), HAS_DATE),
        (threading.base_subject.is_reply, IS_REPLY),
        (left_out, FIELDS_LEFT_OUT),
    ];
    out.push(
        flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, flag)| flag)
            .sum(),
    );
    out.extend_from_slice(&sent.map_or(0, |date| date.timestamp).to_le_bytes());
    let day = sent.map_or(0, |date| i32::try_from(date.day()).unwrap_or(0));
    out.extend_from_slice(&day.to_le_bytes());
    let id = threading.message_id.as_deref().map_or(0, identifier);
    out.extend_from_slice(&id.to_le_bytes());
    for key in &keys {
        out.extend_from_slice(&length(key));
    }
    let further = threading.references.len().saturating_sub(MOST_REFERENCES);
    let references = threading.references.get(further..).unwrap_or_default();
    out.extend_from_slice(&length(references));
    out.extend_from_slice(&u32::try_from(fields.len()).unwrap_or(0).to_le_bytes());
    for key in &keys {
        out.extend_from_slice(key);
    }
    for reference in references {
        out.extend_from_slice(&identifier(reference).to_le_bytes());
    }
    out.extend_from_slice(&fields);
    out
}

/// What [`head()`] made, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    fixed: &'a [u8; FIXED],
    strings: &'a [u8],
}

impl<'a> Head<'a> {
    /// `None` if the octets are not a head of this version.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let (fixed, strings) = octets.split_first_chunk::<FIXED>()?;
        let head = Self { fixed, strings };
        let wanted = head.references_start() + head.references_count() * 8 + head.fields_length();
        (fixed.first() == Some(&VERSION) && wanted == strings.len()).then_some(head)
    }

    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.fixed
            .get(at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .unwrap_or([0; N])
    }

    fn flag(&self, flag: u8) -> bool {
        self.fixed.get(1).is_some_and(|flags| flags & flag != 0)
    }

    /// When it was sent according to `Date`, in seconds since 1970; `None` if that is absent or unreadable.
    #[must_use]
    pub fn sent(&self) -> Option<i64> {
        self.flag(HAS_DATE)
            .then(|| i64::from_le_bytes(self.number(2)))
    }

    /// The day according to `Date`, in days since 1970, without regard to time and zone (RFC 3501 §6.4.4).
    #[must_use]
    pub fn sent_day(&self) -> Option<i64> {
        self.flag(HAS_DATE)
            .then(|| i64::from(i32::from_le_bytes(self.number(10))))
    }

    /// Whether the subject marks a reply or a forward (RFC 5256 §2.1).
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.flag(IS_REPLY)
    }

    /// The number of its `Message-ID`; `None` if there is none.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        Some(u64::from_le_bytes(self.number(14))).filter(|id| *id != 0)
    }

    fn key_length(&self, key: usize) -> usize {
        usize::from(u16::from_le_bytes(self.number(22 + 2 * key)))
    }

    fn references_start(&self) -> usize {
        (0..6).map(|key| self.key_length(key)).sum()
    }

    fn references_count(&self) -> usize {
        usize::from(u16::from_le_bytes(self.number(34)))
    }

    fn fields_length(&self) -> usize {
        u32::from_le_bytes(self.number(36)) as usize
    }

    /// A string to sort by; empty if the field is absent.
    #[must_use]
    pub fn key(&self, key: HeadKey) -> &'a [u8] {
        let number = key as usize;
        let start = (0..number).map(|before| self.key_length(before)).sum();
        self.strings
            .get(start..start + self.key_length(number))
            .unwrap_or_default()
    }

    /// The numbers of the identifiers in `References`, otherwise of the first in `In-Reply-To` (RFC 5256 §3).
    pub fn references(&self) -> impl Iterator<Item = u64> + 'a {
        let start = self.references_start();
        let end = start + self.references_count() * 8;
        let octets = self.strings.get(start..end).unwrap_or_default();
        octets
            .as_chunks::<8>()
            .0
            .iter()
            .map(|id| u64::from_le_bytes(*id))
    }

    /// The fields of [`HEAD_FIELDS`], one a line.
    fn fields(&self) -> &'a [u8] {
        let start = self.strings.len().saturating_sub(self.fields_length());
        self.strings.get(start..).unwrap_or_default()
    }

    /// Whether the head contains the fields; if not, the message's text has them.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        !self.flag(FIELDS_LEFT_OUT)
    }

    /// Whether a needle is in a field of [`HEAD_FIELDS`], if the head has them; an empty one asks for the field itself.
    #[must_use]
    pub fn has(&self, needle: &Needle, name: &str) -> bool {
        is_in_fields(needle, self.fields(), name)
    }

    /// The values of the fields of this name, which is one of [`HEAD_FIELDS`], if the head has them.
    pub fn values<'b>(&self, name: &'b str) -> impl Iterator<Item = &'b [u8]>
    where
        'a: 'b,
    {
        field_values(self.fields(), name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn made(message: &str) -> Vec<u8> {
        head(&Structure::parse(message.as_bytes()))
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let octets = made(
            "Date: Sat, 1 Feb 2020 23:30:00 -0500\r\nSubject: Re: [x] =?utf-8?q?=C3=84pfel?=\r\nFrom: =?utf-8?q?J=C3=B6?= \
             <joe@example.test>, b@example.test\r\nTo: team: a@example.test;\r\nMessage-ID: <1@x>\r\nReferences: <a@x> <b@x>\r\n\r\n",
        );
        let head = Head::read(&octets).unwrap();
        assert_eq!(head.sent(), Some(1_580_617_800));
        assert_eq!(head.sent_day(), Some(18_293));
        assert!(head.is_reply());
        assert_eq!(head.id(), Some(identifier("1@x")));
        assert_eq!(
            head.references().collect::<Vec<_>>(),
            [identifier("a@x"), identifier("b@x")]
        );
        assert_eq!(head.key(HeadKey::Subject), collation_key("Äpfel"));
        assert_eq!(head.key(HeadKey::From), b"JOE");
        assert_eq!(head.key(HeadKey::DisplayFrom), collation_key("JÖ"));
        assert_eq!(head.key(HeadKey::To), b"TEAM");
        assert_eq!(head.key(HeadKey::DisplayTo), b"TEAM");
        assert_eq!(head.key(HeadKey::Cc), b"");
        assert!(head.has(&Needle::new("ÄPFEL"), "subject"));
        assert!(head.has(&Needle::new("b@EXAMPLE"), "from"));
        assert!(head.has(&Needle::new(""), "message-id"));
        assert!(!head.has(&Needle::new(""), "cc"));
        assert!(!head.has(&Needle::new("joe"), "to"));
    }

    #[test]
    fn an_address_is_found_without_its_comments() {
        let octets =
            made("From: <joe (at home)@ (the) example.test>, b@example.test, nobody\r\n\r\n");
        let head = Head::read(&octets).unwrap();
        assert!(head.has(&Needle::new("joe@example.test"), "from"));
        assert!(head.has(&Needle::new("joe (at home)@"), "from"));
        assert_eq!(head.values("from").count(), 2);
    }

    #[test]
    fn a_head_is_short_whatever_the_header() {
        let recipients = "someone@example.test, ".repeat(20_000);
        let references: String = (0..20_000).map(|n| format!(" <{n}@x>")).collect();
        let octets = made(&format!(
            "Subject: {}\r\nTo: {recipients}\r\nReferences:{references}\r\n\r\n",
            "ab ".repeat(50_000)
        ));
        assert!(octets.len() < 20_000, "{}", octets.len());
        let head = Head::read(&octets).unwrap();
        assert!(!head.has_fields());
        assert_eq!(head.key(HeadKey::To), b"SOMEONE");
        assert_eq!(head.key(HeadKey::Subject).len(), LONGEST_KEY);
        assert_eq!(head.references().last(), Some(identifier("19999@x")));
        assert!(Head::read(&made("To: a@b\r\n\r\n")).unwrap().has_fields());
    }

    #[test]
    fn a_message_without_header_has_a_head() {
        let octets = made("\r\nbody");
        let head = Head::read(&octets).unwrap();
        assert_eq!(
            (head.sent(), head.sent_day(), head.id()),
            (None, None, None)
        );
        assert_eq!(head.references().count(), 0);
        assert_eq!(head.key(HeadKey::DisplayTo), b"");
    }

    #[test]
    fn what_is_no_head_is_not_read() {
        let octets = made("Subject: a\r\n\r\n");
        for end in 0..octets.len() {
            assert!(Head::read(octets.get(..end).unwrap()).is_none());
        }
        let mut newer = octets;
        if let Some(version) = newer.first_mut() {
            *version += 1;
        }
        assert!(Head::read(&newer).is_none());
    }
}
