//! Modified UTF-7, the wire form of mailbox names (RFC 3501 §5.1.3).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

fn flush(pending: &mut Vec<u16>, out: &mut String) {
    if pending.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut count) = (0u32, 0u32);
    for unit in pending.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            out.push(letter(bits >> count));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        out.push(letter(bits << (6 - count)));
    }
    out.push('-');
}

fn letter(value: u32) -> char {
    char::from(*ALPHABET.get((value & 63) as usize).unwrap_or(&b'A'))
}

/// A Unicode mailbox name in modified UTF-7.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let mut pending = Vec::new();
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            flush(&mut pending, &mut out);
            out.push(character);
            if character == '&' {
                out.push('-');
            }
        } else {
            pending.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut pending, &mut out);
    out
}

/// The Unicode form of a name in modified UTF-7, or `None` if it is not valid.
///
/// Strict: each name has only one wire form, so that two spellings cannot name one mailbox.
#[must_use]
pub fn decode(name: &str) -> Option<String> {
    if !name.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, shifted)) = rest.split_once('&') {
        out.push_str(plain);
        let (run, after) = shifted.split_once('-')?;
        rest = after;
        if run.is_empty() {
            out.push('&');
            continue;
        }
        let (mut bits, mut count) = (0u32, 0u32);
        let mut units = Vec::with_capacity(run.len());
        for octet in run.bytes() {
            let value = ALPHABET.iter().position(|letter| *letter == octet)?;
            bits = (bits << 6) | u32::try_from(value).ok()?;
            count += 6;
            if count >= 16 {
                count -= 16;
                units.push(u16::try_from(bits >> count).ok()?);
                bits &= (1 << count) - 1;
            }
        }
        if bits != 0 || count >= 6 {
            return None;
        }
        // RFC 3501 §9: no name contains NUL (`CHAR`), however it is spelled; neither can a text in PostgreSQL.
        if units.contains(&0) {
            return None;
        }
        out.push_str(&String::from_utf16(&units).ok()?);
    }
    out.push_str(rest);
    (encode(&out) == name).then_some(out)
}

/// Whether a name is meant to be modified UTF-7 but is not in canonical form: it has a shifted run, and cannot be
/// decoded.
///
/// RFC 3501 §5.1.3: such a name would be a second spelling of another, or of none. A lone `&`, as in `AT&T`, shifts
/// nothing.
#[must_use]
pub(crate) fn is_second_spelling(name: &str) -> bool {
    let shifts = name.split('&').skip(1).any(|shifted| {
        shifted.split_once('-').is_some_and(|(run, _)| {
            !run.is_empty() && run.bytes().all(|octet| ALPHABET.contains(&octet))
        })
    });
    shifts && decode(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc_decode() {
        assert_eq!(
            decode("~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(),
            Some("~peter/mail/台北/日本語")
        );
        assert_eq!(decode("Entw&APw-rfe").as_deref(), Some("Entwürfe"));
        assert_eq!(decode("A&-B").as_deref(), Some("A&B"));
    }

    #[test]
    fn a_second_spelling_of_a_name_is_no_name() {
        for bad in [
            "&Jjo!",
            "&U,BTFw-&ZeVnLIqe-",
            "a&",
            "&AGE-",
            "&====-",
            "é",
            "&AAA-",
            "a&APwAAA-",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_what_shifts_is_a_second_spelling() {
        for (name, second) in [
            ("&AGE-", true),
            ("&AAA-", true),
            ("&U,BTFw-&ZeVnLIqe-", true),
            ("&Jjo-&", true),
            ("AT&T", false),
            ("R&D - old", false),
            ("&-", false),
            ("Entw&APw-rfe", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(is_second_spelling(name), second, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives_the_wire(name in "\\PC*") {
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }

        #[test]
        fn arbitrary_text_never_panics(name in ".*") {
            let _ = decode(&name);
        }
    }
}
