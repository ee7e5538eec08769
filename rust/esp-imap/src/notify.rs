//! What NOTIFY asks for (RFC 5465 §8).

use crate::cursor::{Cursor, SyntaxError};
use crate::fetch_items::FetchItems;
use crate::scope::MailboxFilter;
use std::sync::Arc;

/// `notify-set`; NOTIFY NONE has no groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notify {
    /// Whether STATUS responses are wanted now.
    pub status: bool,
    /// Not empty for SET.
    pub groups: Vec<EventGroup>,
}

/// `event-group`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventGroup {
    /// `filter-mailboxes`, upper case.
    pub filter: &'static str,
    /// The mailboxes for SUBTREE and MAILBOXES.
    pub mailboxes: Vec<String>,
    /// In upper case, including unknown ones; `None` for NONE.
    pub events: Option<Vec<String>>,
    /// The fetch items of MessageNew; they never set `\Seen`.
    pub fetch: Option<Arc<FetchItems>>,
}

/// `"SET" [SP "STATUS"] SP event-group *(SP event-group) / "NONE"`.
pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Notify, SyntaxError> {
    let mut notify = Notify::default();
    if cursor.take_word("NONE") {
        return Ok(notify);
    }
    if !cursor.take_word("SET") {
        return Err(cursor.error("SET or NONE"));
    }
    cursor.space()?;
    notify.status = cursor.take_word("STATUS");
    if notify.status {
        cursor.space()?;
    }
    loop {
        notify.groups.push(group(cursor)?);
        if !cursor.take_octet(b' ') {
            return Ok(notify);
        }
    }
}

/// `"(" filter-mailboxes SP events ")"`.
fn group(cursor: &mut Cursor<'_>) -> Result<EventGroup, SyntaxError> {
    cursor.expect(b'(')?;
    let MailboxFilter { filter, mailboxes } = MailboxFilter::read(cursor)?;
    if filter == "SUBTREE-ONE" {
        return Err(cursor.error("a filter of RFC 5465"));
    }
    cursor.space()?;
    let mut group = EventGroup {
        filter,
        mailboxes,
        events: None,
        fetch: None,
    };
    if !cursor.take_word("NONE") {
        let mut events = Vec::new();
        if cursor.peek() == Some(b'(') {
            cursor.list(false, |cursor| group.event(cursor, &mut events))?;
        } else {
            // The example of §3.1, and clients that follow it, omit these parentheses.
            group.event(cursor, &mut events)?;
            while cursor.take_octet(b' ') {
                group.event(cursor, &mut events)?;
            }
        }
        group.events = Some(events);
    }
    cursor.expect(b')')?;
    Ok(group)
}

impl EventGroup {
    fn event(
        &mut self,
        cursor: &mut Cursor<'_>,
        events: &mut Vec<String>,
    ) -> Result<(), SyntaxError> {
        let event = cursor.word("an event")?;
        let mut attributes = cursor.clone();
        if event == "MESSAGENEW" && attributes.take_octet(b' ') && attributes.peek() == Some(b'(') {
            cursor.space()?;
            if !self.filter.starts_with("SELECTED") {
                return Err(cursor.error("no items to fetch from a mailbox that is not selected"));
            }
            self.fetch = Some(Arc::new(FetchItems::read_peeking(cursor)?));
        }
        events.push(event);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Notify, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let notify = read(&mut cursor)?;
        cursor.end()?;
        Ok(notify)
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let notify = parse(
            "set status (selected MessageNew (uid body.peek[header.fields (from to subject)]) MessageExpunge) \
             (subtree Lists MessageNew)",
        );
        let groups: Vec<_> = notify
            .iter()
            .flat_map(|notify| &notify.groups)
            .map(|group| {
                let items = group.fetch.as_ref().map(|items| items.items.len());
                let events = group.events.as_ref().map(|events| events.join(" "));
                (group.filter, group.mailboxes.join(" "), events, items)
            })
            .collect();
        let both = Some("MESSAGENEW MESSAGEEXPUNGE".to_owned());
        let new = Some("MESSAGENEW".to_owned());
        assert_eq!(
            groups,
            [
                ("SELECTED", String::new(), both, Some(2)),
                ("SUBTREE", "Lists".to_owned(), new, None),
            ]
        );
        assert_eq!(notify.map(|notify| notify.status), Ok(true));
    }

    #[test]
    fn items_to_fetch_never_set_seen() {
        let notify = parse("SET (SELECTED (MessageNew (BODY[]) MessageExpunge))");
        let items = notify
            .ok()
            .and_then(|notify| notify.groups.first()?.fetch.clone());
        assert_eq!(items.map(|items| items.sets_seen), Some(false));
    }

    #[test]
    fn what_is_no_notify_is_refused() {
        for bad in [
            "",
            "SET",
            "SET STATUS",
            "SET ()",
            "SET (SELECTED)",
            "SET (SELECTED ())",
            "SET (FROBNICATE NONE)",
            "SET (SUBTREE (MessageNew))",
            "SET (PERSONAL (MessageNew (UID) MessageExpunge))",
            "NONE x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in [
            "NONE",
            "SET (PERSONAL NONE)",
            "SET (MAILBOXES (a b) (MessageNew MessageExpunge X-New))",
            "SET (SELECTED-DELAYED (MessageNew MessageExpunge)) (INBOXES (MailboxName))",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }
}
