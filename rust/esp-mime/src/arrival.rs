//! A message as a client appends it, converted into one that every `BODY[…]` can show: lines end in CR LF, and there is
//! no NUL (RFC 3501 §4.3.1). One pass in pieces of any size; only a line or a header is held back.
//!
//! Bare LF becomes CR LF, as Dovecot does, so that sizes and offsets are those of the octets shown. In a literal8
//! (RFC 3516 §4.4) parts with `Content-Transfer-Encoding: binary` become base64, since a FETCH without BINARY must be
//! able to show them (RFC 3516 §4.2).

mod base64;
mod lines;
mod parts;

use lines::Lines;
use parts::Parts;

/// What replaces a NUL that cannot be encoded; the same as Dovecot's.
const NUL_SHOWN: u8 = 0x80;

/// A NUL in a literal8 outside the parts that are declared binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MisplacedNul;

impl std::fmt::Display for MisplacedNul {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("NUL outside of parts with Content-Transfer-Encoding: binary")
    }
}

impl std::error::Error for MisplacedNul {}

/// The conversion; see the module.
#[derive(Debug)]
pub struct Arrival(Literal);

#[derive(Debug)]
enum Literal {
    /// Only line ends and NULs matter.
    Plain(Lines),
    /// A literal8, whose binary parts have to be found.
    Binary(Parts),
}

impl Arrival {
    /// The beginning of a message.
    #[must_use]
    pub fn new(literal8: bool) -> Self {
        Self(if literal8 {
            Literal::Binary(Parts::default())
        } else {
            Literal::Plain(Lines::default())
        })
    }

    /// Whether `octets` may stay as they are, so that `push` would only copy them.
    #[must_use]
    pub fn is_plain(&self, octets: &[u8]) -> bool {
        match &self.0 {
            Literal::Plain(lines) => memchr::memchr(0, octets).is_none() && lines.is_plain(octets),
            Literal::Binary(_) => false,
        }
    }

    /// Note octets that stay as they are (`is_plain`).
    pub fn pass(&mut self, octets: &[u8]) {
        if let Literal::Plain(lines) = &mut self.0 {
            lines.pass(octets);
        }
    }

    /// Take octets, and append the converted ones.
    ///
    /// # Errors
    /// When the message cannot be stored.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let lines = match &mut self.0 {
            Literal::Plain(lines) => lines,
            Literal::Binary(parts) => return parts.push(octets, out),
        };
        let start = out.len();
        lines.push(octets, out);
        let added = out.get_mut(start..).unwrap_or_default();
        if memchr::memchr(0, added).is_some() {
            for octet in added.iter_mut().filter(|octet| **octet == 0) {
                *octet = NUL_SHOWN;
            }
        }
        Ok(())
    }

    /// Append what was held back; the message is complete.
    ///
    /// # Errors
    /// When the message cannot be stored.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        match &mut self.0 {
            Literal::Plain(_) => Ok(()),
            Literal::Binary(parts) => parts.finish(out),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::structure::{Kind, Structure};
    use proptest::prelude::*;

    fn arrived(octets: &[u8], literal8: bool, cut: usize) -> Result<Vec<u8>, MisplacedNul> {
        let mut arrival = Arrival::new(literal8);
        let mut out = Vec::new();
        for piece in octets.chunks(cut.max(1)) {
            if arrival.is_plain(piece) {
                arrival.pass(piece);
                out.extend_from_slice(piece);
            } else {
                arrival.push(piece, &mut out)?;
            }
        }
        arrival.finish(&mut out)?;
        Ok(out)
    }

    const MIXED: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\n\
        --b\r\nContent-Transfer-Encoding: BINARY\r\nX: y\r\n\r\n\0one\ntwo\r\n\
        --b\r\n\r\ntext\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b--\r\nend\n";

    #[test]
    fn lines_end_in_crlf_however_they_came() {
        for cut in 1..9 {
            let made = arrived(b"a\nb\r\n\n\rc\n\r\r\nd", false, cut).unwrap();
            assert_eq!(made, b"a\r\nb\r\n\r\n\rc\r\n\r\r\nd", "{cut}");
        }
    }

    #[test]
    fn binary_parts_become_base64_and_the_rest_stays() {
        for cut in 1..MIXED.len() {
            let made = arrived(MIXED, true, cut).unwrap();
            let structure = Structure::parse(&made);
            let decoded = |path: &[u32]| {
                let index = structure.find(path).unwrap();
                structure.decoded(index).unwrap().into_owned()
            };
            assert_eq!(decoded(&[1]), b"\0one\ntwo", "{cut}");
            assert_eq!(decoded(&[2]), b"text", "{cut}");
            assert_eq!(decoded(&[3, 1]), b"\0", "{cut}");
            assert!(!made.contains(&0));
            assert!(made.ends_with(b"--b--\r\nend\r\n"));
            let header =
                b"\r\nX: y\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n";
            assert!(made.windows(header.len()).any(|window| window == header));
        }
    }

    #[test]
    fn a_whole_message_may_be_binary() {
        let mut message = b"Content-Transfer-Encoding: binary\n\n".to_vec();
        let content: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        message.extend(&content);
        let made = arrived(&message, true, 700).unwrap();
        let structure = Structure::parse(&made);
        assert!(structure.decoded(0).unwrap().into_owned() == content);
        assert!(
            made.split(|octet| *octet == b'\n')
                .all(|line| line.len() <= 77)
        );
    }

    #[test]
    fn nul_elsewhere_is_refused_in_a_literal8_and_shown_in_a_literal() {
        assert_eq!(arrived(b"A: b\0\r\n\r\n", true, 3), Err(MisplacedNul));
        assert_eq!(arrived(b"A: b\r\n\r\n\0", true, 3), Err(MisplacedNul));
        assert_eq!(
            arrived(b"A: b\r\n\r\n\0", false, 3).unwrap(),
            b"A: b\r\n\r\n\x80"
        );
    }

    #[test]
    fn a_line_of_blanks_ends_no_header() {
        let message = b"Content-Transfer-Encoding: binary\r\n \r\nX: y\r\n\r\n\0";
        let made = arrived(message, true, 5).unwrap();
        let structure = Structure::parse(&made);
        assert_eq!(structure.decoded(0).unwrap().into_owned(), b"\0");
        assert!(made.starts_with(b"X: y\r\n"));
    }

    #[test]
    fn cutting_changes_nothing_of_long_lines() {
        let long = "x".repeat(1_500);
        let blanks = " ".repeat(1_500);
        let message = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{long}\r\n--b\r\n\
             Content-Transfer-Encoding: binary\r\nX: {long}\r\n\r\n{long}\r\n--b{blanks}\r\n\
             {long}\n\r\n--b\r\n\r\n--b--{blanks}\r\n--b--\r\n"
        );
        let whole = arrived(message.as_bytes(), true, message.len()).unwrap();
        for cut in (1..message.len())
            .step_by(7)
            .chain(1_020..1_030)
            .chain(1_498..1_504)
        {
            let made = arrived(message.as_bytes(), true, cut).unwrap();
            assert!(made == whole, "{cut}");
        }
    }

    #[test]
    fn parts_are_looked_for_as_deep_as_the_structure_shows_them() {
        let nested = |depth: usize| {
            let mut message = String::new();
            for level in 0..depth {
                message += &format!(
                    "Content-Type: multipart/mixed; boundary=b{level}.\r\n\r\n--b{level}.\r\n"
                );
            }
            message + "Content-Transfer-Encoding: binary\r\n\r\n\0"
        };
        assert!(arrived(nested(90).as_bytes(), true, 100).is_ok());
        assert!(arrived(nested(200).as_bytes(), true, 100) == Err(MisplacedNul));
    }

    /// The contents of all parts that have no parts.
    fn leaves(message: &[u8]) -> Vec<Vec<u8>> {
        let structure = Structure::parse(message);
        let leaf = |kind: Kind| matches!(kind, Kind::Text | Kind::Other);
        (0..structure.parts().len())
            .filter(|&index| leaf(structure.part(index).unwrap().kind))
            .map(|index| structure.decoded(index).unwrap().into_owned())
            .collect()
    }

    #[test]
    fn boundaries_are_those_of_the_structure() {
        let blanks = " ".repeat(1_500);
        for behind in ["", " \t", "(a comment)", "ary", &blanks, "--", "--epilogue"] {
            let message = format!(
                "Content-Type: multipart/mixed; boundary=\"bound\"\r\n\r\n--bound\r\n\
                 Content-Transfer-Encoding: binary\r\n\r\none\r\n--bound{behind}\r\n\
                 Content-Transfer-Encoding: binary\r\n\r\ntwo\r\n--bound--\r\n"
            );
            let made = arrived(message.as_bytes(), true, 100).unwrap();
            assert_eq!(leaves(&made), leaves(message.as_bytes()), "{behind:?}");
            assert_eq!(leaves(&made).first().unwrap(), b"one");
        }
    }

    const LINES: [&str; 14] = [
        "",
        "text",
        " folded",
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: multipart/mixed; boundary=\"bb\"",
        "Content-Type: message/rfc822",
        "Content-Type: application/x",
        "Content-Transfer-Encoding: binary",
        "--b",
        "--b--",
        "--bb",
        "--bb--",
        "--b behind",
        "--bb--behind",
    ];

    proptest! {
        #[test]
        fn what_is_made_base64_has_the_contents_that_came(
            picked in prop::collection::vec(prop::sample::select(&LINES[..]), 0..24), cut in 1usize..40
        ) {
            let message = format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                 Content-Transfer-Encoding: binary\r\n{}\r\n",
                picked.join("\r\n")
            );
            let made = arrived(message.as_bytes(), true, cut).unwrap();
            prop_assert_eq!(leaves(&made), leaves(message.as_bytes()));
        }

        #[test]
        fn what_has_arrived_arrives_as_it_is(octets in "[a\r\n\0-]{0,40}", cut in 1usize..9) {
            let made = arrived(octets.as_bytes(), false, cut).unwrap();
            prop_assert_eq!(&arrived(&made, false, cut).unwrap(), &made);
            prop_assert!(!made.contains(&0));
        }

        #[test]
        fn cutting_changes_nothing(octets in prop::collection::vec(any::<u8>(), 0..60), cut in 1usize..9) {
            let message = [MIXED, &octets].concat();
            prop_assert_eq!(arrived(&message, true, cut), arrived(&message, true, message.len()));
        }
    }
}
