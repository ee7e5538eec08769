//! Commands about messages: COPY, FETCH, STORE, and those that search (RFC 3501 §6.4, 5256, 5267, 6203, 7162, 7377).

use super::{Arguments, Read, Reader, StoreMode};
use crate::fetch_items::FetchItems;
use crate::flags::FlagList;
use crate::returns::Returns;
use crate::scope::MailboxFilter;
use crate::search_program::SearchProgram;
use crate::set::SequenceSet;
use crate::sort::{SortBy, SortKey};
use crate::thread::Algorithm;
use std::sync::Arc;

impl Reader<'_, '_> {
    fn set(&mut self) -> Read<SequenceSet> {
        let set = SequenceSet::read(self.cursor)?;
        self.cursor.space()?;
        Ok(set)
    }

    pub(super) fn copy(&mut self) -> Read<Arguments> {
        let set = self.set()?;
        let mailbox = self.mailbox()?;
        Ok(Arguments::Copy { set, mailbox })
    }

    pub(super) fn fetch(&mut self) -> Read<Arguments> {
        let set = self.set()?;
        let items = Arc::new(FetchItems::read(self.cursor)?);
        Ok(Arguments::Fetch { set, items })
    }

    /// `"STORE" SP sequence-set [SP "(" "UNCHANGEDSINCE" SP n ")"] SP ["+" / "-"] "FLAGS" [".SILENT"] SP flags`.
    pub(super) fn store(&mut self) -> Read<Arguments> {
        let set = self.set()?;
        let mut unchanged_since = None;
        if self.cursor.take_octet(b'(') {
            if !self.cursor.take_word("UNCHANGEDSINCE") {
                return Err(self.cursor.error("UNCHANGEDSINCE").into());
            }
            self.cursor.space()?;
            unchanged_since = Some(self.cursor.modseq()?);
            self.cursor.expect(b')')?;
            self.cursor.space()?;
        }
        let mode = if self.cursor.take_octet(b'+') {
            StoreMode::Add
        } else if self.cursor.take_octet(b'-') {
            StoreMode::Remove
        } else {
            StoreMode::Replace
        };
        let silent = if self.cursor.take_word("FLAGS.SILENT") {
            true
        } else if self.cursor.take_word("FLAGS") {
            false
        } else {
            return Err(self.cursor.error("FLAGS or FLAGS.SILENT").into());
        };
        self.cursor.space()?;
        let flags = FlagList::read_store(self.cursor)?;
        Ok(Arguments::Store {
            set,
            mode,
            silent,
            flags,
            unchanged_since,
        })
    }

    fn returns(&mut self) -> Read<Option<Arc<Returns>>> {
        let returns = Returns::read(self.cursor)?.map(Arc::new);
        self.saves = returns
            .as_ref()
            .is_some_and(|returns| returns.options.contains(&"SAVE"));
        Ok(returns)
    }

    /// `"CANCELUPDATE" 1*(SP quoted)` (RFC 5267 §5).
    pub(super) fn cancel_update(&mut self) -> Read<Arguments> {
        let mut tags = vec![self.cursor.string_text()?];
        while self.cursor.take_octet(b' ') {
            tags.push(self.cursor.string_text()?);
        }
        Ok(Arguments::CancelUpdate(tags))
    }

    /// `[return] search-program`, and whether that names a charset.
    fn criteria(&mut self) -> Read<(Option<Arc<Returns>>, bool, Arc<SearchProgram>)> {
        let returns = self.returns()?;
        let charset = self.cursor.clone().take_word("CHARSET");
        let program = Arc::new(SearchProgram::read(self.cursor)?);
        self.check_relevancy(wants_scores(returns.as_deref()), &program)?;
        Ok((returns, charset, program))
    }

    pub(super) fn search(&mut self) -> Read<Arguments> {
        let (returns, charset, program) = self.criteria()?;
        Ok(Arguments::Search {
            program,
            returns,
            charset,
        })
    }

    /// `"ESEARCH" [SP scope] [SP return] SP search-program` (RFC 7377 §3).
    pub(super) fn esearch(&mut self) -> Read<Arguments> {
        let scope = MailboxFilter::read_scope(self.cursor)?;
        let (returns, charset, program) = self.criteria()?;
        Ok(Arguments::Esearch {
            scope,
            program,
            returns,
            charset,
        })
    }

    /// `"SORT" [SP return] SP "(" sort-key *(SP sort-key) ")" SP charset SP search-keys` (RFC 5256 §5).
    pub(super) fn sort(&mut self) -> Read<Arguments> {
        let returns = self.returns()?;
        let keys = SortKey::read_list(self.cursor)?;
        self.cursor.space()?;
        let program = Arc::new(SearchProgram::read_sort(self.cursor)?);
        let scored = keys.iter().any(|key| key.by == SortBy::Relevancy);
        self.check_relevancy(scored || wants_scores(returns.as_deref()), &program)?;
        Ok(Arguments::Sort {
            keys,
            program,
            returns,
        })
    }

    /// RFC 6203 §4 and §6: neither the option nor the sort key RELEVANCY may be used without the search key FUZZY.
    fn check_relevancy(&self, wanted: bool, program: &SearchProgram) -> Read<()> {
        if wanted && !program.fuzzy() {
            return Err(self.cursor.error("FUZZY where RELEVANCY is wanted").into());
        }
        Ok(())
    }

    pub(super) fn thread(&mut self) -> Read<Arguments> {
        let algorithm = Algorithm::read(self.cursor)?;
        self.cursor.space()?;
        let program = Arc::new(SearchProgram::read_sort(self.cursor)?);
        Ok(Arguments::Thread { algorithm, program })
    }
}

fn wants_scores(returns: Option<&Returns>) -> bool {
    returns.is_some_and(|returns| returns.has("RELEVANCY"))
}
