//! Mailboxes as sessions see them: index, view, and what is answered from them.

use super::finding::{Search, TextCache};
use super::parsed::{FetchItems, SearchOrder, SearchProgram, SequenceSet};
use super::{invalid, lock, octets, texts};
use esp_imap as imap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[pyclass(frozen, module = "esp.native")]
pub(super) struct ContentCache(Arc<imap::ContentCache>);

#[pymethods]
impl ContentCache {
    #[new]
    #[pyo3(signature = (max_octets = 67_108_864))]
    fn new(max_octets: usize) -> Self {
        Self(Arc::new(imap::ContentCache::new(max_octets)))
    }

    fn load(&self, py: Python<'_>, account: i64, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load(account, copy)).map_err(invalid)
    }

    fn load_indexed(&self, py: Python<'_>, account: i64, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load_indexed(account, copy))
            .map_err(invalid)
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct MailboxIndex(Arc<imap::MailboxIndex>);

#[pymethods]
impl MailboxIndex {
    #[new]
    fn new(account: i64, mailbox: i64, folder: PathBuf, uidvalidity: u32) -> Self {
        Self(Arc::new(imap::MailboxIndex::new(
            account,
            mailbox,
            folder,
            uidvalidity,
        )))
    }

    fn feed(&self, py: Python<'_>, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.feed(copy)).map_err(invalid)
    }

    fn keep<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>, i64, u32) {
        let (octets, modseq, uidnext) = py.detach(|| self.0.keep());
        (PyBytes::new(py, &octets), modseq, uidnext)
    }

    fn feed_kept(&self, py: Python<'_>, octets: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.feed_kept(octets)).map_err(invalid)
    }

    #[pyo3(signature = (*, modseq, uidnext, keywords, expunged = Vec::new(), changed = Vec::new(), complete = false), text_signature = "(self, /, *, modseq, uidnext, keywords, expunged=(), changed=(), complete=False)")]
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments on the Python side"
    )]
    fn commit(
        &self,
        py: Python<'_>,
        modseq: i64,
        uidnext: u32,
        keywords: Vec<String>,
        expunged: Vec<String>,
        changed: Vec<String>,
        complete: bool,
    ) -> PyResult<()> {
        py.detach(|| {
            self.0.commit(imap::MailboxState {
                modseq,
                uidnext,
                keywords: &keywords,
                expunged: &expunged,
                changed: &changed,
                complete,
            })
        })
        .map_err(invalid)
    }

    #[getter]
    fn fed_modseq(&self) -> i64 {
        self.0.fed_modseq()
    }

    fn abandon(&self) {
        self.0.abandon();
    }

    fn load_heads(&self, py: Python<'_>, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load_heads(copy)).map_err(invalid)
    }

    #[getter]
    fn account(&self) -> i64 {
        self.0.account
    }

    #[getter]
    fn mailbox(&self) -> i64 {
        self.0.mailbox
    }

    #[getter]
    fn uidvalidity(&self) -> u32 {
        self.0.uidvalidity
    }

    #[getter]
    fn takes_recent(&self) -> bool {
        self.0.takes_recent()
    }

    fn grant_recent(&self, first: u32, last: u32) {
        self.0.grant_recent(first, last);
    }

    fn leave_recent(&self, first: u32) {
        self.0.leave_recent(first);
    }

    #[getter]
    fn uidnext(&self) -> u32 {
        self.0.uidnext()
    }

    #[getter]
    fn modseq(&self) -> i64 {
        self.0.modseq()
    }

    #[getter]
    fn keywords(&self, py: Python<'_>) -> PyResult<Py<PyTuple>> {
        texts(py, self.0.keywords().iter())
    }

    #[getter]
    fn messages(&self) -> usize {
        self.0.messages()
    }

    #[getter]
    fn views(&self) -> usize {
        self.0.views()
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }

    fn keyword_bits(&self, py: Python<'_>, keywords: Vec<String>) -> PyResult<(i64, Py<PyTuple>)> {
        let (bits, others) = self.0.keyword_bits(&keywords);
        Ok((bits, texts(py, &others)?))
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct StorePlan {
    uids: Vec<u32>,
    changing: Vec<u32>,
    modified: Vec<u32>,
    modified_numbers: Vec<u32>,
    vanished: bool,
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct View {
    view: Arc<imap::View>,
    index: Py<MailboxIndex>,
}

#[pymethods]
impl View {
    #[new]
    #[pyo3(signature = (index, *, read_only = false, recent_from = 4_294_967_295, settable = -1), text_signature = "(index, *, read_only=False, recent_from=4294967295, settable=-1)")]
    fn new(
        index: Bound<'_, MailboxIndex>,
        read_only: bool,
        recent_from: u32,
        settable: i64,
    ) -> Self {
        let view = imap::View::new(Arc::clone(&index.get().0), read_only, recent_from);
        let _ = view.permit(settable);
        Self {
            view: Arc::new(view),
            index: index.unbind(),
        }
    }

    fn opening(&self, py: Python<'_>) -> Py<PyBytes> {
        octets(py, &self.view.opening())
    }

    #[pyo3(signature = (*, expunges = true, uid = false, announce = Vec::new(), silent = Vec::new(), silent_modseq = 0, silent_after = 0, hold_messages = false, hold_flags = false), text_signature = "(self, /, *, expunges=True, uid=False, announce=(), silent=(), silent_modseq=0, silent_after=0, hold_messages=False, hold_flags=False)")]
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments on the Python side"
    )]
    fn sync(
        &self,
        py: Python<'_>,
        expunges: bool,
        uid: bool,
        announce: Vec<u32>,
        silent: Vec<u32>,
        silent_modseq: i64,
        silent_after: i64,
        hold_messages: bool,
        hold_flags: bool,
    ) -> Py<PyBytes> {
        octets(
            py,
            &self.view.sync(&imap::Sync {
                expunges,
                hold_messages,
                hold_flags,
                uid,
                announce,
                silent,
                silent_modseq,
                silent_after,
            }),
        )
    }

    #[getter]
    fn settable(&self) -> i64 {
        self.view.settable()
    }

    fn permit(&self, py: Python<'_>, settable: i64) -> Py<PyBytes> {
        octets(py, &self.view.permit(settable))
    }

    #[getter]
    fn told(&self) -> i64 {
        self.view.told_modseq()
    }

    fn enable_condstore(&self) {
        self.view.enable_condstore();
    }

    fn enable_imap4rev2(&self) {
        self.view.enable_imap4rev2();
    }

    #[getter]
    fn last_uid(&self) -> u32 {
        self.view.last_uid()
    }

    fn enable_uidonly(&self) {
        self.view.enable_uidonly();
    }

    fn enable_qresync(&self) {
        self.view.enable_qresync();
    }

    #[getter]
    fn index(&self, py: Python<'_>) -> Py<MailboxIndex> {
        self.index.clone_ref(py)
    }

    #[getter]
    fn read_only(&self) -> bool {
        self.view.read_only
    }

    #[getter]
    fn messages(&self) -> usize {
        self.view.messages()
    }

    #[getter]
    fn recent(&self) -> usize {
        self.view.recent()
    }

    #[pyo3(signature = (set, *, uid))]
    fn uids(&self, set: &SequenceSet, uid: bool) -> PyResult<Vec<u32>> {
        self.view.uids(&set.0, uid).map_err(invalid)
    }

    #[pyo3(signature = (set, *, uid))]
    fn has_vanished(&self, set: &SequenceSet, uid: bool) -> bool {
        self.view.has_vanished(&set.0, uid)
    }

    #[pyo3(signature = (expunged, *, uids = None, matched = None))]
    fn vanished_earlier(
        &self,
        py: Python<'_>,
        expunged: Option<Vec<String>>,
        uids: Option<&SequenceSet>,
        matched: Option<(Bound<'_, SequenceSet>, Bound<'_, SequenceSet>)>,
    ) -> PyResult<Py<PyBytes>> {
        let response = self
            .view
            .vanished_earlier(
                expunged.as_deref(),
                uids.map(|uids| &*uids.0),
                matched
                    .as_ref()
                    .map(|(numbers, uids)| (&*numbers.get().0, &*uids.get().0)),
            )
            .map_err(invalid)?;
        Ok(octets(py, &response))
    }

    #[pyo3(signature = (set = None))]
    fn deleted(&self, set: Option<&SequenceSet>) -> Vec<u32> {
        self.view.deleted(set.map(|set| &*set.0))
    }

    fn save(&self, uids: Vec<u32>) {
        self.view.save(&uids);
    }

    #[pyo3(signature = (set, *, uid, mode, bits, unchanged_since = None))]
    fn store(
        &self,
        set: &SequenceSet,
        uid: bool,
        mode: &str,
        bits: i64,
        unchanged_since: Option<i64>,
    ) -> PyResult<StorePlan> {
        let mode = match mode {
            "replace" => imap::StoreMode::Replace,
            "add" => imap::StoreMode::Add,
            "remove" => imap::StoreMode::Remove,
            _ => return Err(invalid("mode is replace, add or remove")),
        };
        let plan = self
            .view
            .store(&set.0, uid, mode, bits, unchanged_since)
            .map_err(invalid)?;
        Ok(StorePlan {
            uids: plan.uids,
            changing: plan.changing,
            modified: plan.modified,
            modified_numbers: plan.modified_numbers,
            vanished: plan.vanished,
        })
    }

    #[pyo3(signature = (set, items, *, uid, contents, unasked = false))]
    fn fetch(
        &self,
        set: &SequenceSet,
        items: &FetchItems,
        uid: bool,
        contents: &ContentCache,
        unasked: bool,
    ) -> PyResult<Fetch> {
        imap::Fetch::new(
            Arc::clone(&self.view),
            &set.0,
            Arc::clone(&items.0),
            uid,
            Arc::clone(&contents.0),
        )
        .map(|fetch| if unasked { fetch.unasked() } else { fetch })
        .map(|fetch| Fetch(Mutex::new(fetch)))
        .map_err(invalid)
    }

    #[pyo3(signature = (program, texts, *, now, order = None, threads = imap::ThreadContents::new()), text_signature = "(self, /, program, texts, *, now, order=None, threads={})")]
    fn search(
        &self,
        program: &SearchProgram,
        texts: &TextCache,
        now: i64,
        order: Option<&SearchOrder>,
        threads: imap::ThreadContents,
    ) -> Search {
        Search::new(Arc::clone(&self.view), program, texts, now, order, &threads)
    }
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct Fetch(Mutex<imap::Fetch>);

#[pymethods]
impl Fetch {
    #[getter]
    fn unseen(&self) -> Vec<u32> {
        lock(&self.0).unseen().to_vec()
    }

    #[pyo3(signature = (max_octets = 131_072))]
    fn step(&self, py: Python<'_>, max_octets: usize) -> PyResult<Option<Py<PyAny>>> {
        match py.detach(|| lock(&self.0).step(max_octets))? {
            None => Ok(None),
            Some(imap::Step::Octets(response)) => Ok(Some(octets(py, &response).into_any())),
            Some(imap::Step::Contents(ids)) => Ok(Some(ids.into_pyobject(py)?.unbind())),
        }
    }

    fn step_cached(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        // The GIL is kept: a thread that releases it for some microseconds may wait much longer to get it back.
        let response = lock(&self.0).step_cached()?;
        Ok(octets(py, &response))
    }

    #[getter]
    fn ended(&self) -> bool {
        lock(&self.0).ended()
    }

    #[getter]
    fn missing(&self) -> Vec<u32> {
        lock(&self.0).missing().to_vec()
    }

    #[getter]
    fn undecodable(&self) -> Vec<u32> {
        lock(&self.0).undecodable().to_vec()
    }
}
