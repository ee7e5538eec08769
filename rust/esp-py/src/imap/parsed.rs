//! Values that are parsed once and then handed back to Rust as they are: sets of messages, fetch items, search
//! programs.
//!
//! In: text, or what came with a command. Out: to Python only what it needs for decisions.

use super::invalid;
use esp_imap as imap;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
pub(super) struct SequenceSet(pub(super) Arc<imap::SequenceSet>);

#[pymethods]
impl SequenceSet {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        imap::SequenceSet::parse(text.as_bytes())
            .map(|set| Self(Arc::new(set)))
            .map_err(invalid)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    #[getter]
    fn saved(&self) -> bool {
        self.0.saved()
    }
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
pub(super) struct FetchItems(pub(super) Arc<imap::FetchItems>);

#[pymethods]
impl FetchItems {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        imap::FetchItems::parse(text.as_bytes())
            .map(|items| Self(Arc::new(items)))
            .map_err(invalid)
    }

    #[getter]
    fn reads_files(&self) -> bool {
        self.0.reads_files()
    }

    #[getter]
    fn modseq(&self) -> bool {
        self.0.modseq()
    }

    #[getter]
    fn changed_since(&self) -> Option<i64> {
        self.0.changed_since
    }

    #[getter]
    fn vanished(&self) -> bool {
        self.0.vanished
    }

    #[getter]
    fn partial(&self) -> bool {
        self.0.partial.is_some()
    }

    #[getter]
    fn needs_contents(&self) -> bool {
        self.0.needs_contents()
    }

    #[getter]
    fn needs_indexed(&self) -> bool {
        self.0.needs_indexed()
    }

    #[getter]
    fn makes_indexed(&self) -> bool {
        self.0.makes_indexed()
    }
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
pub(super) struct SearchProgram(pub(super) Arc<imap::SearchProgram>);

#[pymethods]
impl SearchProgram {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        match imap::SearchProgram::parse(text.as_bytes()) {
            Ok(program) => Ok(Self(Arc::new(program))),
            Err(imap::SearchError::Syntax(error)) => Err(invalid(error)),
            Err(imap::SearchError::Charset) => Err(invalid("Unknown charset")),
            Err(imap::SearchError::Text) => {
                Err(invalid("Text is not in the charset of the search"))
            }
        }
    }

    #[getter]
    fn numbers(&self) -> bool {
        self.0.numbers()
    }

    #[getter]
    fn needs_selected(&self) -> bool {
        self.0.needs_selected()
    }

    #[getter]
    fn threads(&self) -> Vec<i64> {
        self.0.threads()
    }

    #[getter]
    fn needs_text(&self) -> bool {
        self.0.needs_text()
    }

    #[getter]
    fn modseq(&self) -> bool {
        self.0.modseq()
    }
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
pub(super) struct ReturnOptions(pub(super) Arc<imap::Returns>);

#[pymethods]
impl ReturnOptions {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        imap::Returns::parse(text)
            .map(|returns| Self(Arc::new(returns)))
            .map_err(invalid)
    }

    #[getter]
    fn options(&self, py: Python<'_>) -> PyResult<Py<PyTuple>> {
        Ok(PyTuple::new(py, self.0.options.iter())?.unbind())
    }

    #[getter]
    fn silent(&self) -> bool {
        self.0.is_silent()
    }

    #[getter]
    fn fetch(&self) -> Option<FetchItems> {
        self.0.fetch.clone().map(FetchItems)
    }

    fn __contains__(&self, option: &str) -> bool {
        self.0.has(option)
    }
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
pub(super) struct SearchOrder(pub(super) Arc<imap::Order>);

#[pymethods]
impl SearchOrder {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        imap::Order::parse(text)
            .map(|order| Self(Arc::new(order)))
            .map_err(invalid)
    }
}
