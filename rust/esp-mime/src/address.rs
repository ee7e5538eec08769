//! Address lists as in an ENVELOPE (RFC 3501 §7.4.2), from anything that a header may contain.

use crate::grammar::{Broken, Cursor, Parsed, Rest};
use crate::wire;

/// A list is cut here: no message has so many recipients, but an attacker could make one of 50 MB with more.
pub(crate) const MAX_ADDRESSES: usize = 50_000;

/// One entry of an address list; the entry that begins a group has only a mailbox, the one that ends it has nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, or the comment after an address without one.
    pub name: Option<Vec<u8>>,
    /// The source route (RFC 5322 §4.4 `obs-route`).
    pub route: Option<Vec<u8>>,
    /// The local part; for the beginning of a group, its name; `None` for the end of a group.
    pub mailbox: Option<Vec<u8>>,
    /// The domain; `None` marks the beginning or end of a group.
    pub domain: Option<Vec<u8>>,
}

// The octets that Dovecot uses for what is missing: NIL would mean a group, and clients know these.
const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";
const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";
const INVALID_ROUTE: &[u8] = b"INVALID_ROUTE";
const SYNTAX_ERROR: &[u8] = b"SYNTAX_ERROR";

impl Address {
    /// `local-part@domain`; `None` for the marks of a group, or if one of the two is missing.
    pub(crate) fn spec(&self) -> Option<Vec<u8>> {
        let mailbox = self.mailbox.as_deref()?;
        let domain = self.domain.as_deref()?;
        let whole = mailbox != MISSING_MAILBOX && ![MISSING_DOMAIN, SYNTAX_ERROR].contains(&domain);
        whole.then(|| [mailbox, b"@", domain].concat())
    }

    fn completed(mut self) -> Self {
        if self.mailbox.is_none() {
            self.mailbox = Some(MISSING_MAILBOX.to_vec());
        }
        if self.domain.as_ref().is_none_or(Vec::is_empty) {
            self.domain = Some(MISSING_DOMAIN.to_vec());
        }
        self
    }

    /// `address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"`
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'(');
        match &self.name {
            Some(name) => wire::text_for_humans(out, name),
            None => out.extend_from_slice(b"NIL"),
        }
        for part in [&self.route, &self.mailbox, &self.domain] {
            out.push(b' ');
            wire::nstring(out, part.as_deref());
        }
        out.push(b')');
    }
}

/// `address-list = (address *("," address)) / obs-addr-list` (RFC 5322 §3.4), added to `list`.
///
/// What cannot be read becomes an address that says so; what follows a syntax error, up to the end, is left out.
pub fn parse_list(value: &[u8], list: &mut Vec<Address>) {
    let mut parser = Parser {
        cursor: Cursor::new(value),
        text: Vec::new(),
        list,
    };
    if parser.cursor.skip_blanks() != Ok(Rest::More) {
        return;
    }
    loop {
        if parser.address() == Ok(Rest::End)
            || parser.cursor.peek() != Some(b',')
            || parser.list.len() >= MAX_ADDRESSES
        {
            return;
        }
        parser.cursor.pos += 1;
        match parser.cursor.skip_blanks() {
            Ok(Rest::More) => {}
            Ok(Rest::End) => return,
            Err(Broken) => {
                parser.list.push(Address::default().completed());
                return;
            }
        }
    }
}

struct Parser<'a, 'b> {
    cursor: Cursor<'a>,
    text: Vec<u8>,
    list: &'b mut Vec<Address>,
}

impl Parser<'_, '_> {
    /// `address = mailbox / group`
    fn address(&mut self) -> Parsed {
        let start = self.cursor.pos;
        self.text.clear();
        if self.cursor.phrase(&mut self.text) == Ok(Rest::More) {
            match self.cursor.peek() {
                Some(b':') => return self.group(),
                Some(b'<') => return Ok(self.name_addr()),
                _ => {}
            }
        }
        self.cursor.pos = start;
        self.addr_spec()
    }

    /// `mailbox = name-addr / addr-spec`
    fn mailbox(&mut self) -> Parsed {
        let start = self.cursor.pos;
        self.text.clear();
        if self.cursor.phrase(&mut self.text) == Ok(Rest::More) && self.cursor.peek() == Some(b'<')
        {
            return Ok(self.name_addr());
        }
        self.cursor.pos = start;
        self.addr_spec()
    }

    /// `group = display-name ":" [group-list] ";" [CFWS]`, from the colon on.
    fn group(&mut self) -> Parsed {
        self.cursor.pos += 1;
        self.list.push(Address {
            mailbox: Some(std::mem::take(&mut self.text)),
            ..Address::default()
        });
        let mut parsed = self.cursor.skip_blanks();
        if parsed == Ok(Rest::More) && self.cursor.peek() != Some(b';') {
            loop {
                // A broken mailbox does not end the group.
                let _ = self.mailbox();
                if self.cursor.peek() != Some(b',') || self.list.len() >= MAX_ADDRESSES {
                    break;
                }
                self.cursor.pos += 1;
                if self.cursor.skip_blanks() != Ok(Rest::More) {
                    parsed = Err(Broken);
                    break;
                }
            }
        }
        if parsed.is_ok() {
            parsed = if self.cursor.peek() == Some(b';') {
                self.cursor.pos += 1;
                self.cursor.skip_blanks()
            } else {
                Err(Broken)
            };
        }
        self.list.push(Address::default());
        Ok(if parsed == Ok(Rest::End) {
            Rest::End
        } else {
            Rest::More
        })
    }

    /// `name-addr = [display-name] angle-addr`, from the angle bracket on, the display name in `text`.
    fn name_addr(&mut self) -> Rest {
        let mut address = Address {
            name: (!self.text.is_empty()).then(|| std::mem::take(&mut self.text)),
            ..Address::default()
        };
        if self.angle_addr(&mut address).is_err() {
            address.domain = Some(SYNTAX_ERROR.to_vec());
        }
        self.list.push(address.completed());
        if self.cursor.at_end() {
            Rest::End
        } else {
            Rest::More
        }
    }

    /// `angle-addr = "<" [obs-route] addr-spec ">" [CFWS]`
    fn angle_addr(&mut self, address: &mut Address) -> Parsed {
        self.cursor.pos += 1;
        self.more()?;
        if self.cursor.peek() == Some(b'@') {
            if self.route(address) == Ok(Rest::More) && self.cursor.peek() == Some(b':') {
                self.cursor.pos += 1;
            } else {
                address.route = Some(INVALID_ROUTE.to_vec());
            }
            self.more()?;
        }
        if self.cursor.peek() != Some(b'>') {
            if self.local_part(address)? == Rest::End {
                return Err(Broken);
            }
            if self.cursor.peek() == Some(b'@') && self.domain(address)? == Rest::End {
                return Err(Broken);
            }
        }
        if self.cursor.peek() != Some(b'>') {
            return Err(Broken);
        }
        self.cursor.pos += 1;
        self.cursor.skip_blanks()
    }

    fn more(&mut self) -> Result<(), Broken> {
        match self.cursor.skip_blanks()? {
            Rest::More => Ok(()),
            Rest::End => Err(Broken),
        }
    }

    /// `obs-domain-list = *(CFWS / ",") "@" domain *("," [CFWS] ["@" domain])`
    fn route(&mut self, address: &mut Address) -> Parsed {
        self.text.clear();
        while self.cursor.peek() == Some(b'@') {
            if !self.text.is_empty() {
                self.text.push(b',');
            }
            self.text.push(b'@');
            if self.cursor.domain(&mut self.text)? == Rest::End {
                return Ok(Rest::End);
            }
            while self.cursor.skip_blanks() == Ok(Rest::More) && self.cursor.peek() == Some(b',') {
                self.cursor.pos += 1;
            }
        }
        if self.cursor.at_end() {
            return Ok(Rest::End);
        }
        address.route = Some(std::mem::take(&mut self.text));
        Ok(Rest::More)
    }

    /// `local-part = dot-atom / quoted-string / obs-local-part`
    fn local_part(&mut self, address: &mut Address) -> Parsed {
        self.text.clear();
        let rest = if self.cursor.peek() == Some(b'"') {
            self.cursor.quoted_string(&mut self.text)?
        } else {
            self.cursor.loose_dot_atom(&mut self.text)?
        };
        address.mailbox = Some(self.text.clone());
        Ok(rest)
    }

    fn domain(&mut self, address: &mut Address) -> Parsed {
        self.text.clear();
        let rest = self.cursor.domain(&mut self.text)?;
        address.domain = Some(std::mem::take(&mut self.text));
        Ok(rest)
    }

    /// `addr-spec = local-part "@" domain`, or what people write instead.
    fn addr_spec(&mut self) -> Parsed {
        let mut address = Address::default();
        self.cursor.forget_comment();
        let quoted = self.cursor.peek() == Some(b'"');
        let mut parsed = self.local_part(&mut address);
        let mut invalid = parsed != Ok(Rest::More);
        let mut has_domain = false;
        if parsed != Ok(Rest::End) && self.cursor.peek() == Some(b'@') {
            has_domain = true;
            let domain = self.domain(&mut address);
            if domain != Ok(Rest::More) {
                parsed = domain;
            }
        }
        if let Some(comment) = self.cursor.take_comment() {
            address.name = Some(comment);
        } else if !has_domain {
            // One word alone is a mailbox; more words are a display name without an address.
            self.text.push(b' ');
            let length = self.text.len();
            let _ = self.cursor.phrase(&mut self.text);
            if self.text.len() > length {
                address.mailbox = None;
                address.name = Some(std::mem::take(&mut self.text));
            } else if !quoted {
                address.domain = Some(Vec::new());
            }
            invalid = true;
            parsed = Err(Broken);
        }
        if invalid && address.name.is_none() && address.domain.is_none() {
            address.name = address.mailbox.take();
        }
        self.list.push(address.completed());
        parsed
    }
}
