//! The arguments of commands about mailboxes, and LIST patterns.

use super::octets;
use esp_imap as imap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct SetQuotaArguments {
    root: String,
    limits: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AclArguments {
    mailbox: String,
    identifier: String,
    rights: Option<String>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct Annotations {
    entries: Py<PyTuple>,
    max_size: Option<u64>,
    depth: Option<u32>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct GetMetadataArguments {
    mailbox: String,
    annotations: Py<Annotations>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct SetMetadataArguments {
    mailbox: String,
    values: Py<PyTuple>,
}

pub(super) fn annotations(py: Python<'_>, wanted: imap::Annotations) -> PyResult<Py<Annotations>> {
    Py::new(
        py,
        Annotations {
            entries: PyTuple::new(py, wanted.entries)?.unbind(),
            max_size: wanted.max_size,
            depth: match wanted.depth {
                imap::Depth::Zero => Some(0),
                imap::Depth::One => Some(1),
                imap::Depth::Infinity => None,
            },
        },
    )
}

pub(super) fn set_quota(
    py: Python<'_>,
    root: String,
    limits: Vec<(String, u64)>,
) -> PyResult<SetQuotaArguments> {
    let limits = PyTuple::new(py, limits)?.unbind();
    Ok(SetQuotaArguments { root, limits })
}

pub(super) fn acl(mailbox: String, identifier: String, rights: Option<String>) -> AclArguments {
    AclArguments {
        mailbox,
        identifier,
        rights,
    }
}

pub(super) fn get_metadata(
    py: Python<'_>,
    mailbox: String,
    wanted: imap::Annotations,
) -> PyResult<GetMetadataArguments> {
    Ok(GetMetadataArguments {
        mailbox,
        annotations: annotations(py, wanted)?,
    })
}

pub(super) fn set_metadata(
    py: Python<'_>,
    mailbox: String,
    values: Vec<(String, Option<Vec<u8>>)>,
) -> PyResult<SetMetadataArguments> {
    let values: Vec<(String, Option<Py<PyBytes>>)> = values
        .into_iter()
        .map(|(entry, value)| (entry, value.map(|value| octets(py, &value))))
        .collect();
    Ok(SetMetadataArguments {
        mailbox,
        values: PyTuple::new(py, values)?.unbind(),
    })
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct ListPatterns(imap::Patterns);

#[pymethods]
impl ListPatterns {
    #[new]
    fn new(patterns: Vec<String>) -> Self {
        Self(imap::Patterns::new(
            patterns.iter().map(String::as_str),
            b'/',
        ))
    }

    #[getter]
    fn wild(&self) -> usize {
        self.0.wild()
    }

    fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}
