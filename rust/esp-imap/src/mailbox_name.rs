//! Mailbox names as clients write them: modified UTF-7, or UTF-8 if that was enabled (RFC 3501 §5.1.3, RFC 6855 §3).
//!
//! In: a cursor at a name, or a name or pattern already read. Out: Unicode.

use crate::cursor::{Cursor, SyntaxError};
use crate::utf7;

/// `mailbox = "INBOX" / astring`, as Unicode.
pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let start = cursor.offset();
    let name = cursor.astring_text()?;
    if !cursor.utf8 && utf7::is_second_spelling(&name) {
        return Err(SyntaxError {
            offset: start,
            expected: "a mailbox name in modified UTF-7".into(),
        });
    }
    Ok(decode(name, cursor.utf8))
}

/// A name or a pattern as Unicode; INBOX in upper case, however it was written.
pub(crate) fn decode(name: String, utf8: bool) -> String {
    if name.eq_ignore_ascii_case("INBOX") {
        return "INBOX".to_owned();
    }
    if utf8 {
        return name;
    }
    // Clients that do not know modified UTF-7 send `AT&T` or UTF-8 unchanged; it can have no other meaning.
    utf7::decode(&name).unwrap_or(name)
}
