//! SEARCH, SORT and THREAD being answered.

use super::parsed::{ReturnOptions, SearchOrder, SearchProgram};
use super::{invalid, lock, octets};
use esp_imap as imap;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Arc, Mutex};

#[pyclass(frozen, module = "esp.native")]
pub(super) struct TextCache(Arc<imap::TextCache>);

#[pymethods]
impl TextCache {
    #[new]
    #[pyo3(signature = (max_octets = 134_217_728))]
    fn new(max_octets: usize) -> Self {
        Self(Arc::new(imap::TextCache::new(max_octets)))
    }

    fn load_signatures(&self, py: Python<'_>, account: i64, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load_signatures(account, copy))
            .map_err(invalid)
    }

    fn load_texts(&self, py: Python<'_>, account: i64, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load_texts(account, copy))
            .map_err(invalid)
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct SearchNeed {
    heads: Vec<i64>,
    signatures: Vec<i64>,
    texts: Vec<i64>,
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct Search(Mutex<imap::Search>);

impl Search {
    pub(super) fn new(
        view: Arc<imap::View>,
        program: &SearchProgram,
        texts: &TextCache,
        now: i64,
        order: Option<&SearchOrder>,
        threads: &imap::ThreadContents,
    ) -> Self {
        let order = order.map_or(imap::Order::Mailbox, |order| (*order.0).clone());
        let search = imap::Search::new(view, &program.0, order, Arc::clone(&texts.0), now, threads);
        Self(Mutex::new(search))
    }
}

#[pymethods]
impl Search {
    fn step(&self, py: Python<'_>) -> PyResult<Option<SearchNeed>> {
        let need = py.detach(|| lock(&self.0).step())?;
        Ok(need.map(|need| SearchNeed {
            heads: need.heads,
            signatures: need.signatures,
            texts: need.texts,
        }))
    }

    #[getter]
    fn uids(&self) -> Vec<u32> {
        lock(&self.0).uids()
    }

    #[getter]
    fn numbers(&self) -> Vec<u32> {
        lock(&self.0).numbers()
    }

    #[getter]
    fn modseq(&self) -> i64 {
        lock(&self.0).modseq()
    }

    #[getter]
    fn leaves_out(&self) -> bool {
        lock(&self.0).leaves_out()
    }

    fn saved(&self, returns: &ReturnOptions) -> Vec<u32> {
        returns.0.saved(&lock(&self.0).uids())
    }

    #[pyo3(signature = (*, uid, tag, returns = None, mailbox = None))]
    fn response(
        &self,
        py: Python<'_>,
        uid: bool,
        tag: &str,
        returns: Option<&ReturnOptions>,
        mailbox: Option<(&[u8], u32)>,
    ) -> Py<PyBytes> {
        let told = imap::Correlation { tag, uid, mailbox };
        let response =
            py.detach(|| lock(&self.0).response(told, returns.map(|returns| &*returns.0)));
        octets(py, &response)
    }
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct Context(Mutex<imap::Context>);

#[pymethods]
impl Context {
    #[new]
    #[pyo3(signature = (search, *, uid, tag))]
    fn new(search: &Search, uid: bool, tag: &str) -> Self {
        let told = imap::Correlation {
            tag,
            uid,
            mailbox: None,
        };
        Self(Mutex::new(imap::Context::new(&lock(&search.0), told)))
    }

    fn without_expunged(&self, py: Python<'_>) -> Py<PyBytes> {
        octets(py, &lock(&self.0).without_expunged())
    }

    fn update(&self, py: Python<'_>, search: &Search) -> Py<PyBytes> {
        let response = py.detach(|| lock(&self.0).update(&lock(&search.0)));
        octets(py, &response)
    }
}
