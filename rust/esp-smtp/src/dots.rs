//! Transparency: dots at the beginnings of lines, and the one that ends the message (RFC 5321 §4.5.2).

use memchr::memmem;

/// The position of the last octet in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// After CR LF, or at the very beginning.
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After such a dot and a CR.
    DotCr,
    /// After a CR.
    Cr,
    /// Anywhere else.
    Text,
}

/// Removes the dots. Only CR LF begins a line here, so no other sequence of CR, LF and dots ends the message.
#[derive(Debug)]
pub(crate) struct Unstuffer {
    at: At,
}

impl Unstuffer {
    pub(crate) const fn new() -> Self {
        Self { at: At::LineStart }
    }

    /// Pass the text in `octets` to `take`. Returns how many octets were used if the end of the message is among them,
    /// otherwise `None`.
    pub(crate) fn feed(&mut self, octets: &[u8], mut take: impl FnMut(&[u8])) -> Option<usize> {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            match (self.at, octet) {
                (At::LineStart, b'.') => {
                    self.at = At::Dot;
                    rest = after;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    rest = after;
                }
                (At::DotCr, b'\n') => {
                    self.at = At::LineStart;
                    return Some(octets.len() - after.len());
                }
                (At::DotCr, _) => {
                    take(b"\r");
                    self.at = At::Text;
                }
                (At::Cr, b'\n') => {
                    take(b"\n");
                    self.at = At::LineStart;
                    rest = after;
                }
                _ => rest = self.text(rest, &mut take),
            }
        }
        None
    }

    /// Take everything up to the next line that begins with a dot.
    fn text<'a>(&mut self, octets: &'a [u8], take: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let (text, rest) = memmem::find(octets, b"\r\n.")
            .and_then(|at| octets.split_at_checked(at + 2))
            .unwrap_or((octets, b""));
        take(text);
        self.at = match text {
            [.., b'\r', b'\n'] => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::Text,
        };
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&[u8]]) -> (Vec<u8>, Option<usize>) {
        let mut unstuffer = Unstuffer::new();
        let mut text = Vec::new();
        for piece in pieces {
            if let Some(used) = unstuffer.feed(piece, |octets| text.extend_from_slice(octets)) {
                return (text, Some(used));
            }
        }
        (text, None)
    }

    #[test]
    fn the_dot_line_ends_and_doubled_dots_become_one() {
        assert_eq!(
            run(&[b"a\r\n..b\r\n.c\r\n.\r\nQUIT\r\n"]),
            (b"a\r\n.b\r\nc\r\n".to_vec(), Some(15))
        );
        assert_eq!(run(&[b".\r\n"]), (Vec::new(), Some(3)));
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends() {
        for text in [
            &b"a\n.\nb\r\n"[..],
            b"a\n.\r\nb\r\n",
            b"a\r.\rb\r\n",
            b"a\r.\r\nb\r\n",
            b"a\r\n.\nb\r\n",
            b"a\r\n.\rb\r\n",
            b"a\r\n.\r\r\nb\r\n",
            b"a\r\n\r.\r\nb\r\n",
            b"a\r\n.\0\r\nb\r\n",
            b"a\r\n. \r\nb\r\n",
        ] {
            assert_eq!(run(&[text]).1, None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn every_split_gives_the_same() {
        let text = b"..a\r\n.\r.b\r\r\n.\n\r\n...\r\n\r\n.\r\n";
        let whole = run(&[text]);
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            let (body, used) = run(&[head, tail]);
            assert_eq!(body, whole.0);
            assert_eq!(used.map(|used| used + at), whole.1);
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(run(&single).0, whole.0);
    }
}
