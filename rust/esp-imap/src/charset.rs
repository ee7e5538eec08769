//! Charsets of searches (RFC 3501 §6.4.4): a program's strings are in the charset, its keywords are US-ASCII.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use std::borrow::Cow;

/// A charset that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// Any charset of the WHATWG's Encoding Standard.
    Known(&'static Encoding),
    /// UTF-16 with the octet order that its mark says, big-endian without a mark (RFC 2781 §4.3).
    Utf16,
    /// UTF-7 (RFC 2152)
    Utf7,
}

/// `NO [BADCHARSET (…)]`, naming charsets that may still be in use.
pub(crate) const BADCHARSET: &str = "[BADCHARSET (US-ASCII UTF-8 UTF-7 UTF-16 UTF-16BE UTF-16LE ISO-8859-1 ISO-8859-2 \
    ISO-8859-3 ISO-8859-4 ISO-8859-5 ISO-8859-6 ISO-8859-7 ISO-8859-8 ISO-8859-9 ISO-8859-10 ISO-8859-13 ISO-8859-14 \
    ISO-8859-15 ISO-8859-16 WINDOWS-874 WINDOWS-1250 WINDOWS-1251 WINDOWS-1252 WINDOWS-1253 WINDOWS-1254 WINDOWS-1255 \
    WINDOWS-1256 WINDOWS-1257 WINDOWS-1258 IBM866 KOI8-R KOI8-U MACINTOSH X-MAC-CYRILLIC GBK GB18030 BIG5 EUC-JP \
    ISO-2022-JP SHIFT_JIS EUC-KR)] Unknown charset";

impl Charset {
    pub(crate) const UTF_8: Self = Self::Known(UTF_8);

    /// A charset by its name. US-ASCII is read as UTF-8, which includes it (the WHATWG reads windows-1252): c-client,
    /// PHP's `imap_sort` and Roundcube 1.6 name US-ASCII if they were told no charset, whatever the octets are.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is(&["UTF-16", "csUTF16", "ISO-10646-UCS-2", "UCS-2"]) {
            return Some(Self::Utf16);
        }
        if is(&["UTF-7", "UNICODE-1-1-UTF-7", "csUTF7"]) {
            return Some(Self::Utf7);
        }
        if is(&["US-ASCII", "ASCII", "ANSI_X3.4-1968"]) {
            return Some(Self::UTF_8);
        }
        Encoding::for_label_no_replacement(name.as_bytes()).map(Self::Known)
    }

    /// Decode text in this charset; `None` if it is not.
    pub(crate) fn decode<'a>(&self, octets: &'a [u8]) -> Option<Cow<'a, str>> {
        let (encoding, octets) = match self {
            Self::Utf7 => return Some(esp_mime::decode_text(b"utf-7", octets)),
            Self::Known(encoding) => (*encoding, octets),
            Self::Utf16 => match octets {
                [0xff, 0xfe, rest @ ..] => (UTF_16LE, rest),
                [0xfe, 0xff, rest @ ..] => (UTF_16BE, rest),
                rest => (UTF_16BE, rest),
            },
        };
        encoding.decode_without_bom_handling_and_without_replacement(octets)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_charset_that_is_offered_is_known() {
        let (_, rest) = BADCHARSET.split_once('(').unwrap();
        let (names, _) = rest.split_once(')').unwrap();
        for name in names.split(' ') {
            let charset = Charset::named(name).unwrap();
            let wide = name.starts_with("UTF-16");
            assert_eq!(
                charset.decode(if wide { b"" } else { b"a" }).unwrap().len(),
                usize::from(!wide),
                "{name}"
            );
        }
        assert_eq!(Charset::named("X-KLINGON"), None);
        assert_eq!(Charset::named("ISO-2022-CN"), None);
    }

    #[test]
    fn text_is_read_in_its_charset_or_not_at_all() {
        let decoded =
            |name: &str, octets: &'static [u8]| Charset::named(name).unwrap().decode(octets);
        assert_eq!(decoded("utf-16", b"\x00\xe4").unwrap(), "ä");
        assert_eq!(decoded("utf-16", b"\xff\xfe\xe4\x00").unwrap(), "ä");
        assert_eq!(decoded("utf-7", b"+AOQ-").unwrap(), "ä");
        assert_eq!(decoded("iso-2022-jp", b"\x1b$B$\"\x1b(B").unwrap(), "あ");
        assert_eq!(decoded("koi8-r", b"\xc1").unwrap(), "а");
        assert_eq!(decoded("utf-8", b"\xff"), None);
    }
}
