//! Messages being received: the parts of APPEND, the conversion of their octets, sections of stored messages.

use super::parsed::SequenceSet;
use super::{invalid, lock, octets, texts};
use esp_imap as imap;
use esp_mime::Arrival as Arriving;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AppendHead {
    tag: String,
    name: &'static str,
    uid: bool,
    replaces: Option<SequenceSet>,
    mailbox: String,
    position: usize,
    part: Option<usize>,
    flags: i64,
    keywords: Py<PyTuple>,
    internal_date: Option<i64>,
}

impl AppendHead {
    fn new(py: Python<'_>, head: imap::AppendHead) -> PyResult<Py<Self>> {
        let keywords = texts(py, &head.flags.keywords)?;
        Py::new(
            py,
            Self {
                tag: head.tag,
                name: head.name,
                uid: head.uid,
                replaces: head.replaces.map(|set| SequenceSet(Arc::new(set))),
                mailbox: head.mailbox,
                position: head.position,
                part: head.part,
                flags: head.flags.bits,
                keywords,
                internal_date: head.internal_date,
            },
        )
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AppendLiteral {
    head: Py<AppendHead>,
    size: u64,
    synchronising: bool,
    binary: bool,
    utf8: bool,
}

impl AppendLiteral {
    pub(super) fn new(py: Python<'_>, literal: imap::AppendLiteral) -> PyResult<Self> {
        Ok(Self {
            head: AppendHead::new(py, literal.head)?,
            size: literal.size,
            synchronising: literal.synchronising,
            binary: literal.binary,
            utf8: literal.utf8,
        })
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AppendUrl {
    head: Py<AppendHead>,
    url: String,
}

impl AppendUrl {
    pub(super) fn new(py: Python<'_>, head: imap::AppendHead, url: String) -> PyResult<Self> {
        Ok(Self {
            head: AppendHead::new(py, head)?,
            url,
        })
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AppendOctets {
    pub(super) octets: Py<PyBytes>,
    pub(super) last: bool,
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct Arrival(Mutex<Arriving>);

#[pymethods]
impl Arrival {
    #[new]
    #[pyo3(signature = (*, literal8 = false))]
    fn new(literal8: bool) -> Self {
        Self(Mutex::new(Arriving::new(literal8)))
    }

    fn feed(&self, py: Python<'_>, octets: Py<PyBytes>) -> PyResult<Py<PyBytes>> {
        let backed: PyBackedBytes = octets.extract(py)?;
        let made = py.detach(|| {
            let mut arrival = lock(&self.0);
            if arrival.is_plain(&backed) {
                arrival.pass(&backed);
                return Ok(None);
            }
            let mut out = Vec::with_capacity(backed.len() + backed.len() / 16);
            arrival.push(&backed, &mut out).map(|()| Some(out))
        });
        match made.map_err(invalid)? {
            None => Ok(octets),
            Some(made) => Ok(super::octets(py, &made)),
        }
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let mut out = Vec::new();
        lock(&self.0).finish(&mut out).map_err(invalid)?;
        Ok(octets(py, &out))
    }
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct MessageSection(Mutex<imap::MessageSection>);

#[pymethods]
impl MessageSection {
    #[new]
    #[pyo3(signature = (folder, base, letters, section = "", partial = None))]
    fn new(
        py: Python<'_>,
        folder: PathBuf,
        base: &str,
        letters: Option<&str>,
        section: &str,
        partial: Option<(u64, u64)>,
    ) -> PyResult<Self> {
        let opened =
            py.detach(|| imap::MessageSection::open(&folder, base, letters, section, partial));
        match opened {
            Ok(section) => Ok(Self(Mutex::new(section))),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Err(invalid(error)),
            Err(error) => Err(error.into()),
        }
    }

    #[getter]
    fn size(&self) -> u64 {
        lock(&self.0).size()
    }

    fn read(&self, py: Python<'_>, wanted: usize) -> PyResult<Py<PyBytes>> {
        let read = py.detach(|| lock(&self.0).read(wanted))?;
        Ok(octets(py, &read))
    }
}
