//! NOTIFY's arguments.

use super::parsed::FetchItems;
use super::texts;
use esp_imap as imap;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct NotifyArguments {
    status: bool,
    groups: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct EventGroup {
    filter: &'static str,
    mailboxes: Py<PyTuple>,
    events: Option<Py<PyTuple>>,
    fetch: Option<FetchItems>,
}

pub(super) fn arguments(py: Python<'_>, notify: imap::Notify) -> PyResult<NotifyArguments> {
    let groups = notify
        .groups
        .into_iter()
        .map(|group| {
            let events = group.events.map(|events| texts(py, &events)).transpose()?;
            Py::new(
                py,
                EventGroup {
                    filter: group.filter,
                    mailboxes: texts(py, &group.mailboxes)?,
                    events,
                    fetch: group.fetch.map(FetchItems),
                },
            )
        })
        .collect::<PyResult<Vec<_>>>()?;
    Ok(NotifyArguments {
        status: notify.status,
        groups: PyTuple::new(py, groups)?.unbind(),
    })
}
