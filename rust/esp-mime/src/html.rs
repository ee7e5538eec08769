//! The text of an HTML part: tags, comments, scripts and styles removed, entities decoded, blanks collapsed.

use memchr::memmem;

struct Text<'a> {
    out: &'a mut String,
    blank: bool,
}

impl Text<'_> {
    fn blank(&mut self, char: char) {
        if !self.blank {
            self.out.push(char);
        } else if char == '\n' && self.out.ends_with(' ') {
            self.out.pop();
            self.out.push(char);
        }
        self.blank = true;
    }

    fn words(&mut self, text: &str) {
        let mut rest = text;
        while let Some(end) = rest.bytes().position(is_blank) {
            let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
            self.word(word);
            self.blank(' ');
            rest = behind.trim_start_matches(|char: char| char.is_ascii() && is_blank(char as u8));
        }
        self.word(rest);
    }

    fn word(&mut self, word: &str) {
        if !word.is_empty() {
            self.out.push_str(word);
            self.blank = false;
        }
    }

    fn char(&mut self, char: char) {
        if char.is_ascii() && is_blank(char as u8) {
            self.blank(' ');
        } else {
            self.out.push(char);
            self.blank = false;
        }
    }
}

const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

/// Elements that end a line.
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "br"
            | "center"
            | "dd"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hr"
            | "li"
            | "main"
            | "nav"
            | "ol"
            | "option"
            | "p"
            | "pre"
            | "section"
            | "table"
            | "td"
            | "th"
            | "title"
            | "tr"
            | "ul"
    )
}

/// Add the text of `html` to `out`. Takes linear time: an element that is never closed reaches to the end.
pub(crate) fn strip(html: &str, out: &mut String) {
    let mut text = Text { out, blank: true };
    let mut rest = html;
    while let Some(special) = memchr::memchr2(b'<', b'&', rest.as_bytes()) {
        let (plain, behind) = rest.split_at_checked(special).unwrap_or((rest, ""));
        text.words(plain);
        rest = match behind.as_bytes() {
            [b'&', ..] => entity(&mut text, behind),
            [b'<', b'!', b'-', b'-', ..] => behind_first(behind, "-->"),
            [b'<', next, ..]
                if next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?') =>
            {
                tag(&mut text, behind)
            }
            _ => {
                text.char('<');
                behind.get(1..).unwrap_or_default()
            }
        };
    }
    text.words(rest);
}

fn behind_first<'a>(text: &'a str, end: &str) -> &'a str {
    memmem::find(text.as_bytes(), end.as_bytes())
        .and_then(|at| text.get(at + end.len()..))
        .unwrap_or_default()
}

fn tag<'a>(text: &mut Text<'_>, html: &'a str) -> &'a str {
    let inside = html.get(1..).unwrap_or_default();
    let closing = inside.starts_with('/');
    let name_from = inside.trim_start_matches('/');
    let length = name_from
        .bytes()
        .take_while(u8::is_ascii_alphanumeric)
        .take(16)
        .count();
    let mut lower = [0_u8; 16];
    for (lower, octet) in lower.iter_mut().zip(name_from.bytes().take(length)) {
        *lower = octet.to_ascii_lowercase();
    }
    let name = lower
        .get(..length)
        .and_then(|name| std::str::from_utf8(name).ok())
        .unwrap_or_default();
    if is_block(name) {
        text.blank('\n');
    }
    let rest = memchr::memchr(b'>', html.as_bytes())
        .and_then(|end| html.get(end + 1..))
        .unwrap_or_default();
    match name {
        "script" | "style" if !closing => behind_element(rest, name),
        _ => rest,
    }
}

/// What follows `</name`, in any case.
fn behind_element<'a>(html: &'a str, name: &str) -> &'a str {
    let mut rest = html;
    loop {
        let behind = behind_first(rest, "</");
        if behind.is_empty() {
            return "";
        }
        if behind
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
        {
            return behind_first(behind, ">");
        }
        rest = behind;
    }
}

/// `&name;`, `&#10;`, `&#xA;`; anything else stands for itself.
fn entity<'a>(text: &mut Text<'_>, html: &'a str) -> &'a str {
    let behind = html.get(1..).unwrap_or_default();
    let length = behind
        .bytes()
        .take(12)
        .take_while(|octet| octet.is_ascii_alphanumeric() || *octet == b'#')
        .count();
    let name = behind.get(..length).unwrap_or_default();
    let Some(char) = named(name) else {
        text.char('&');
        return behind;
    };
    text.char(char);
    let behind = behind.get(length..).unwrap_or_default();
    behind.strip_prefix(';').unwrap_or(behind)
}

fn named(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code
            .ok()
            .and_then(char::from_u32)
            .filter(|char| *char != '\0');
    }
    if let Ok(found) = ENTITIES.binary_search_by(|(known, _)| (*known).cmp(name)) {
        return ENTITIES.get(found).map(|(_, char)| *char);
    }
    None
}

/// The entities found in mail; sorted by octets.
static ENTITIES: [(&str, char); 126] = [
    ("AElig", 'Æ'),
    ("Aacute", 'Á'),
    ("Acirc", 'Â'),
    ("Agrave", 'À'),
    ("Aring", 'Å'),
    ("Atilde", 'Ã'),
    ("Auml", 'Ä'),
    ("Ccedil", 'Ç'),
    ("ETH", 'Ð'),
    ("Eacute", 'É'),
    ("Ecirc", 'Ê'),
    ("Egrave", 'È'),
    ("Euml", 'Ë'),
    ("Iacute", 'Í'),
    ("Icirc", 'Î'),
    ("Igrave", 'Ì'),
    ("Iuml", 'Ï'),
    ("Ntilde", 'Ñ'),
    ("OElig", 'Œ'),
    ("Oacute", 'Ó'),
    ("Ocirc", 'Ô'),
    ("Ograve", 'Ò'),
    ("Oslash", 'Ø'),
    ("Otilde", 'Õ'),
    ("Ouml", 'Ö'),
    ("Scaron", 'Š'),
    ("THORN", 'Þ'),
    ("Uacute", 'Ú'),
    ("Ucirc", 'Û'),
    ("Ugrave", 'Ù'),
    ("Uuml", 'Ü'),
    ("Yacute", 'Ý'),
    ("aacute", 'á'),
    ("acirc", 'â'),
    ("acute", '´'),
    ("aelig", 'æ'),
    ("agrave", 'à'),
    ("amp", '&'),
    ("apos", '\''),
    ("aring", 'å'),
    ("atilde", 'ã'),
    ("auml", 'ä'),
    ("bdquo", '„'),
    ("brvbar", '¦'),
    ("bull", '•'),
    ("ccedil", 'ç'),
    ("cedil", '¸'),
    ("cent", '¢'),
    ("copy", '©'),
    ("curren", '¤'),
    ("dagger", '†'),
    ("deg", '°'),
    ("divide", '÷'),
    ("eacute", 'é'),
    ("ecirc", 'ê'),
    ("egrave", 'è'),
    ("emsp", '\u{2003}'),
    ("ensp", '\u{2002}'),
    ("eth", 'ð'),
    ("euml", 'ë'),
    ("euro", '€'),
    ("frac12", '½'),
    ("frac14", '¼'),
    ("frac34", '¾'),
    ("gt", '>'),
    ("hellip", '…'),
    ("iacute", 'í'),
    ("icirc", 'î'),
    ("iexcl", '¡'),
    ("igrave", 'ì'),
    ("iquest", '¿'),
    ("iuml", 'ï'),
    ("laquo", '«'),
    ("larr", '←'),
    ("ldquo", '“'),
    ("lsaquo", '‹'),
    ("lsquo", '‘'),
    ("lt", '<'),
    ("macr", '¯'),
    ("mdash", '—'),
    ("micro", 'µ'),
    ("middot", '·'),
    ("nbsp", ' '),
    ("ndash", '–'),
    ("not", '¬'),
    ("ntilde", 'ñ'),
    ("oacute", 'ó'),
    ("ocirc", 'ô'),
    ("oelig", 'œ'),
    ("ograve", 'ò'),
    ("ordf", 'ª'),
    ("ordm", 'º'),
    ("oslash", 'ø'),
    ("otilde", 'õ'),
    ("ouml", 'ö'),
    ("para", '¶'),
    ("permil", '‰'),
    ("plusmn", '±'),
    ("pound", '£'),
    ("quot", '"'),
    ("raquo", '»'),
    ("rarr", '→'),
    ("rdquo", '”'),
    ("reg", '®'),
    ("rsaquo", '›'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("scaron", 'š'),
    ("sect", '§'),
    ("shy", '\u{ad}'),
    ("sup1", '¹'),
    ("sup2", '²'),
    ("sup3", '³'),
    ("szlig", 'ß'),
    ("thinsp", '\u{2009}'),
    ("thorn", 'þ'),
    ("times", '×'),
    ("trade", '™'),
    ("uacute", 'ú'),
    ("ucirc", 'û'),
    ("ugrave", 'ù'),
    ("uml", '¨'),
    ("uuml", 'ü'),
    ("yacute", 'ý'),
    ("yen", '¥'),
    ("yuml", 'ÿ'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted() {
        assert!(ENTITIES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
