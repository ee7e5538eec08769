//! The verbs of a mail transaction; all others stay lines (RFC 5321 §4.1, RFC 3030 §2, RFC 3461 §4).

use crate::path::{Path, path};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `MAIL FROM:<reverse-path>`
    Mail(Mail),
    /// `RCPT TO:<forward-path>`
    Rcpt(Rcpt),
    /// `DATA`
    Data,
    /// `BDAT size [LAST]`; the octets follow at once.
    Bdat {
        /// Octets of the chunk.
        size: u64,
        /// Whether the message ends with it.
        last: bool,
    },
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// Any other line, without its CR LF.
    Other(Vec<u8>),
}

/// `MAIL` and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// Where failures go; null for notifications.
    pub reverse_path: Path,
    /// `SIZE=` (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152, RFC 3030).
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded from xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// `AUTH=`, decoded from xtext (RFC 4954 §5).
    pub auth: Option<String>,
    /// Whether there was any parameter: HELO allows none.
    pub extended: bool,
}

/// `RCPT` and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rcpt {
    /// Where the message goes; its domain is empty for `<postmaster>`.
    pub forward_path: Path,
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=`: address type and decoded address (RFC 3461 §4.2).
    pub orcpt: Option<(String, String)>,
    /// Whether there was any parameter.
    pub extended: bool,
}

/// What the content may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// ASCII lines.
    SevenBit,
    /// Lines of any octets (RFC 6152).
    EightBitMime,
}

/// How much of the message a failure notification returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// When the sender wants to be told; all `false` is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

/// Why a line is not a command, or not one that can be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A bare LF ended or broke the line; the line was not read (RFC 5321 §2.3.8).
    BareLf,
    /// The line contained a bare CR.
    BareCr,
    /// The line is longer than any command.
    LineTooLong,
    /// The line is empty.
    Empty,
    /// `MAIL` without `FROM:`.
    MailSyntax,
    /// `RCPT` without `TO:`.
    RcptSyntax,
    /// The path is invalid.
    Path,
    /// The path of `MAIL` is invalid (RFC 3463 §3.2 has codes for both).
    ReversePath,
    /// A parameter is misspelt or repeated, or its value is invalid.
    Parameter,
    /// A parameter of an extension that is not offered.
    UnknownParameter,
    /// An argument after a verb that takes none.
    Argument,
    /// The size of a BDAT chunk cannot be read, so its end is unknown.
    BdatSyntax,
}

/// Read one line without its CR LF.
///
/// # Errors
/// The `Problem` to report; an unknown verb is none.
pub fn parse(line: &[u8]) -> Result<Command, Problem> {
    if line.is_empty() {
        return Err(Problem::Empty);
    }
    let (verb, argument) = match memchr::memchr(b' ', line).and_then(|at| line.split_at_checked(at))
    {
        Some((verb, rest)) => (verb, rest.trim_ascii()),
        None => (line.trim_ascii_end(), &b""[..]),
    };
    let bare = |command| {
        if argument.is_empty() {
            Ok(command)
        } else {
            Err(Problem::Argument)
        }
    };
    match verb.len() {
        4 if verb.eq_ignore_ascii_case(b"MAIL") => {
            mail(argument)
                .map(Command::Mail)
                .map_err(|problem| match problem {
                    Problem::Path => Problem::ReversePath,
                    other => other,
                })
        }
        4 if verb.eq_ignore_ascii_case(b"RCPT") => rcpt(argument).map(Command::Rcpt),
        4 if verb.eq_ignore_ascii_case(b"DATA") => bare(Command::Data),
        4 if verb.eq_ignore_ascii_case(b"BDAT") => bdat(argument),
        4 if verb.eq_ignore_ascii_case(b"RSET") => bare(Command::Rset),
        4 if verb.eq_ignore_ascii_case(b"NOOP") => Ok(Command::Noop),
        4 if verb.eq_ignore_ascii_case(b"QUIT") => bare(Command::Quit),
        _ => Ok(Command::Other(line.to_vec())),
    }
}

/// `"MAIL FROM:" Reverse-path [SP Mail-parameters]`; the space that some clients put after the colon is accepted.
fn mail(argument: &[u8]) -> Result<Mail, Problem> {
    let rest = keyword(argument, b"FROM:").ok_or(Problem::MailSyntax)?;
    let (reverse_path, rest) = path(rest)?;
    if reverse_path.domain.is_empty() && !reverse_path.is_null() {
        return Err(Problem::Path);
    }
    let mut mail = Mail {
        reverse_path,
        ..Mail::default()
    };
    for (name, value) in parameters(rest)? {
        mail.extended = true;
        if name.eq_ignore_ascii_case(b"SIZE") {
            set(&mut mail.size, number(value)?)?;
        } else if name.eq_ignore_ascii_case(b"BODY") {
            let body = match value.map(<[u8]>::to_ascii_uppercase).as_deref() {
                Some(b"7BIT") => Body::SevenBit,
                Some(b"8BITMIME") => Body::EightBitMime,
                // BINARYMIME is not offered: IMAP clients and Maildir readers want lines.
                Some(b"BINARYMIME") => return Err(Problem::UnknownParameter),
                _ => return Err(Problem::Parameter),
            };
            set(&mut mail.body, body)?;
        } else if name.eq_ignore_ascii_case(b"SMTPUTF8") {
            if value.is_some() || mail.smtputf8 {
                return Err(Problem::Parameter);
            }
            mail.smtputf8 = true;
        } else if name.eq_ignore_ascii_case(b"RET") {
            let ret = match value.map(<[u8]>::to_ascii_uppercase).as_deref() {
                Some(b"FULL") => Ret::Full,
                Some(b"HDRS") => Ret::Headers,
                _ => return Err(Problem::Parameter),
            };
            set(&mut mail.ret, ret)?;
        } else if name.eq_ignore_ascii_case(b"ENVID") {
            // RFC 3461 §4.4: at most 100 characters.
            set(&mut mail.envid, xtext(value.unwrap_or_default(), 100)?)?;
        } else if name.eq_ignore_ascii_case(b"AUTH") {
            set(&mut mail.auth, xtext(value.unwrap_or_default(), 500)?)?;
        } else {
            return Err(Problem::UnknownParameter);
        }
    }
    Ok(mail)
}

/// `"RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters]`
fn rcpt(argument: &[u8]) -> Result<Rcpt, Problem> {
    let rest = keyword(argument, b"TO:").ok_or(Problem::RcptSyntax)?;
    let (forward_path, rest) = path(rest)?;
    if forward_path.is_null() {
        return Err(Problem::Path);
    }
    let mut rcpt = Rcpt {
        forward_path,
        ..Rcpt::default()
    };
    for (name, value) in parameters(rest)? {
        rcpt.extended = true;
        if name.eq_ignore_ascii_case(b"NOTIFY") {
            set(&mut rcpt.notify, notify(value.unwrap_or_default())?)?;
        } else if name.eq_ignore_ascii_case(b"ORCPT") {
            let value = value.unwrap_or_default();
            let at = memchr::memchr(b';', value).ok_or(Problem::Parameter)?;
            let (kind, address) = value.split_at_checked(at).ok_or(Problem::Parameter)?;
            let kind = std::str::from_utf8(kind).map_err(|_| Problem::Parameter)?;
            // RFC 3461 §4.2: at most 500 characters.
            let address = xtext(address.trim_prefix_octet(), 500)?;
            if kind.is_empty() {
                return Err(Problem::Parameter);
            }
            set(&mut rcpt.orcpt, (kind.to_owned(), address))?;
        } else {
            return Err(Problem::UnknownParameter);
        }
    }
    Ok(rcpt)
}

/// `"BDAT" SP chunk-size [ SP "LAST" ]` (RFC 3030 §2)
fn bdat(argument: &[u8]) -> Result<Command, Problem> {
    let mut words = argument
        .split(|&octet| octet == b' ')
        .filter(|word| !word.is_empty());
    let size = number(words.next()).map_err(|_| Problem::BdatSyntax)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(Problem::BdatSyntax),
    };
    if words.next().is_some() {
        return Err(Problem::BdatSyntax);
    }
    Ok(Command::Bdat { size, last })
}

/// `"NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )` (RFC 3461 §4.1)
fn notify(value: &[u8]) -> Result<Notify, Problem> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Ok(Notify::default());
    }
    let mut notify = Notify::default();
    for word in value.split(|&octet| octet == b',') {
        if word.eq_ignore_ascii_case(b"SUCCESS") {
            notify.success = true;
        } else if word.eq_ignore_ascii_case(b"FAILURE") {
            notify.failure = true;
        } else if word.eq_ignore_ascii_case(b"DELAY") {
            notify.delay = true;
        } else {
            return Err(Problem::Parameter);
        }
    }
    Ok(notify)
}

trait TrimPrefixOctet {
    fn trim_prefix_octet(&self) -> &Self;
}

impl TrimPrefixOctet for [u8] {
    fn trim_prefix_octet(&self) -> &Self {
        self.split_first().map_or(self, |(_, rest)| rest)
    }
}

fn keyword<'a>(argument: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = argument.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word)
        .then(|| rest.trim_ascii_start())
}

type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// `esmtp-param *(SP esmtp-param)`, each `esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2).
fn parameters(octets: &[u8]) -> Result<Vec<Parameter<'_>>, Problem> {
    if octets.is_empty() {
        return Ok(Vec::new());
    }
    if !octets.starts_with(b" ") {
        return Err(Problem::Path);
    }
    octets
        .split(|&octet| octet == b' ')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (name, value) =
                match memchr::memchr(b'=', word).and_then(|at| word.split_at_checked(at)) {
                    Some((name, value)) => (name, Some(value.trim_prefix_octet())),
                    None => (word, None),
                };
            let named = name.first().is_some_and(u8::is_ascii_alphanumeric)
                && name
                    .iter()
                    .all(|&octet| octet.is_ascii_alphanumeric() || octet == b'-');
            // esmtp-value is 1*(%d33-60 / %d62-126), with UTF-8 under RFC 6531.
            let valued = value.is_none_or(|value| {
                !value.is_empty() && value.iter().all(|&octet| octet > b' ' && octet != 0x7f)
            });
            if named && valued {
                Ok((name, value))
            } else {
                Err(Problem::Parameter)
            }
        })
        .collect()
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(Problem::Parameter);
    }
    Ok(())
}

/// `1*20DIGIT` (RFC 1870 §4); a number larger than 64 bits is read as the largest of these.
fn number(value: Option<&[u8]>) -> Result<u64, Problem> {
    let digits = value
        .filter(|digits| (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit))
        .ok_or(Problem::Parameter)?;
    Ok(digits.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

/// `*( xchar / hexchar )`, hexchar `"+" 2(%x30-39 / %x41-46)` (RFC 3461 §4).
fn xtext(value: &[u8], longest: usize) -> Result<String, Problem> {
    if value.is_empty() || value.len() > longest {
        return Err(Problem::Parameter);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut octets = value.iter();
    while let Some(&octet) = octets.next() {
        if octet == b'+' {
            let high = octets
                .next()
                .copied()
                .and_then(hex)
                .ok_or(Problem::Parameter)?;
            let low = octets
                .next()
                .copied()
                .and_then(hex)
                .ok_or(Problem::Parameter)?;
            decoded.push(high << 4 | low);
        } else {
            decoded.push(octet);
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| Problem::Parameter)?;
    // It is written into headers of notifications: nothing in it may break a line.
    if decoded.chars().any(char::is_control) {
        return Err(Problem::Parameter);
    }
    Ok(decoded)
}

const fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_read_with_all_its_parameters() {
        let line = b"mail from: <a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By AUTH=<>";
        let Ok(Command::Mail(mail)) = parse(line) else {
            panic!("no MAIL")
        };
        assert_eq!(mail.reverse_path.local_part, "a");
        assert_eq!(mail.size, Some(1000));
        assert_eq!(mail.body, Some(Body::EightBitMime));
        assert!(mail.smtputf8);
        assert_eq!(mail.ret, Some(Ret::Headers));
        assert_eq!(mail.envid.as_deref(), Some("x+y"));
        assert_eq!(mail.auth.as_deref(), Some("<>"));
    }

    #[test]
    fn rcpt_is_read_with_all_its_parameters() {
        let line = b"RCPT TO:<a@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b.example";
        let Ok(Command::Rcpt(rcpt)) = parse(line) else {
            panic!("no RCPT")
        };
        assert_eq!(
            rcpt.notify,
            Some(Notify {
                success: true,
                failure: false,
                delay: true
            })
        );
        assert_eq!(
            rcpt.orcpt,
            Some(("rfc822".to_owned(), "a@b.example".to_owned()))
        );
    }

    #[test]
    fn problems_are_named() {
        for (line, problem) in [
            (&b""[..], Problem::Empty),
            (b"MAIL", Problem::MailSyntax),
            (b"MAIL TO:<a@b>", Problem::MailSyntax),
            (b"MAIL FROM:", Problem::ReversePath),
            (b"MAIL FROM:<postmaster>", Problem::ReversePath),
            (b"MAIL FROM:<a@b>SIZE=1", Problem::ReversePath),
            (b"MAIL FROM:<a@b> SIZE=", Problem::Parameter),
            (b"MAIL FROM:<a@b> SIZE=x", Problem::Parameter),
            (b"MAIL FROM:<a@b> SIZE=1 SIZE=1", Problem::Parameter),
            (b"MAIL FROM:<a@b> BODY=", Problem::Parameter),
            (b"MAIL FROM:<a@b> ENVID=a+0Ab", Problem::Parameter),
            (
                b"MAIL FROM:<a@b> BODY=BINARYMIME",
                Problem::UnknownParameter,
            ),
            (b"MAIL FROM:<a@b> MT-PRIORITY=3", Problem::UnknownParameter),
            (b"RCPT FROM:<a@b>", Problem::RcptSyntax),
            (b"RCPT TO:<>", Problem::Path),
            (b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", Problem::Parameter),
            (b"RCPT TO:<a@b> ORCPT=;x", Problem::Parameter),
            (b"DATA x", Problem::Argument),
            (b"RSET x", Problem::Argument),
            (b"QUIT x", Problem::Argument),
            (b"BDAT", Problem::BdatSyntax),
            (b"BDAT -1", Problem::BdatSyntax),
            (b"BDAT 10 LATE", Problem::BdatSyntax),
            (b"BDAT 10 LAST x", Problem::BdatSyntax),
        ] {
            assert_eq!(
                parse(line),
                Err(problem),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn other_verbs_stay_lines() {
        assert_eq!(parse(b"EHLO a b"), Ok(Command::Other(b"EHLO a b".to_vec())));
        assert_eq!(parse(b"NOOP anything"), Ok(Command::Noop));
        assert_eq!(
            parse(b"bdat 12 last"),
            Ok(Command::Bdat {
                size: 12,
                last: true
            })
        );
    }
}
