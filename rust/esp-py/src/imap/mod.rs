//! The Python interface of `esp-imap`.

mod append;
mod arguments;
mod commands;
mod finding;
mod mailbox;
mod names;
mod notify;
mod parsed;

use append::*;
use arguments::*;
use commands::*;
use esp_imap as imap;
use finding::*;
use mailbox::*;
use names::*;
use notify::{EventGroup, NotifyArguments};
use parsed::*;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn invalid(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn texts<'a>(
    py: Python<'_>,
    texts: impl IntoIterator<Item = &'a String, IntoIter: ExactSizeIterator>,
) -> PyResult<Py<PyTuple>> {
    Ok(PyTuple::new(py, texts)?.unbind())
}

fn octets(py: Python<'_>, octets: &[u8]) -> Py<PyBytes> {
    PyBytes::new(py, octets).unbind()
}

fn any<T: pyo3::PyClass>(
    py: Python<'_>,
    value: impl Into<PyClassInitializer<T>>,
) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, value)?.into_any())
}

#[pyfunction]
fn encode_set(numbers: Vec<u32>) -> String {
    imap::encode_set(&numbers)
}

#[pyfunction]
#[pyo3(signature = (name, utf8 = false))]
fn encode_mailbox(py: Python<'_>, name: &str, utf8: bool) -> Py<PyBytes> {
    octets(py, &imap::encode_mailbox(name, utf8))
}

#[derive(FromPyObject)]
enum Text {
    Octets(Vec<u8>),
    Unicode(String),
}

#[pyfunction]
fn encode_string(py: Python<'_>, value: Option<Text>) -> Py<PyBytes> {
    let value = value.map(|value| match value {
        Text::Octets(octets) => octets,
        Text::Unicode(text) => text.into_bytes(),
    });
    let mut out = Vec::new();
    imap::write_nstring(&mut out, value.as_deref());
    octets(py, &out)
}

#[pyfunction]
fn mailbox_to_utf7(name: &str) -> String {
    imap::mailbox_to_utf7(name)
}

#[pyfunction]
fn mailbox_from_utf7(name: &str) -> PyResult<String> {
    imap::mailbox_from_utf7(name).ok_or_else(|| invalid("Not modified UTF-7"))
}

macro_rules! classes {
    ($module:ident, $($class:ty),* $(,)?) => {
        $($module.add_class::<$class>()?;)*
    };
}

/// Add this interface's classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    classes!(
        module,
        CommandReader,
        Command,
        ContinueRequest,
        AppendHead,
        AppendLiteral,
        AppendUrl,
        AppendOctets,
        Arrival,
        MessageSection,
        BadCommand,
        RawLine,
        LoginArguments,
        AuthenticateArguments,
        IdArguments,
        EnableArguments,
        SelectArguments,
        QresyncParameter,
        CreateArguments,
        MailboxArguments,
        QuotaArguments,
        SetQuotaArguments,
        AclArguments,
        Annotations,
        GetMetadataArguments,
        SetMetadataArguments,
        ListPatterns,
        RenameArguments,
        ListArguments,
        StatusArguments,
        AppendArguments,
        ExpungeArguments,
        CopyArguments,
        FetchArguments,
        StoreArguments,
        SearchArguments,
        SortArguments,
        ThreadArguments,
        CancelUpdateArguments,
        EsearchArguments,
        MailboxFilter,
        Context,
        CompressArguments,
        NotifyArguments,
        EventGroup,
        SequenceSet,
        FetchItems,
        SearchProgram,
        ReturnOptions,
        SearchOrder,
        ContentCache,
        TextCache,
        MailboxIndex,
        View,
        StorePlan,
        Fetch,
        Search,
        SearchNeed,
    );
    module.add("ROW_COLUMNS", imap::ROW_COLUMNS)?;
    module.add("HEAD_COLUMNS", imap::HEAD_COLUMNS)?;
    module.add("SIGNATURE_COLUMNS", imap::SIGNATURE_COLUMNS)?;
    module.add("CONTENT_COLUMNS", imap::CONTENT_COLUMNS)?;
    module.add("INDEXED_COLUMNS", imap::INDEXED_COLUMNS)?;
    module.add("TEXT_COLUMNS", imap::TEXT_COLUMNS)?;
    module.add_function(wrap_pyfunction!(encode_set, module)?)?;
    module.add_function(wrap_pyfunction!(encode_mailbox, module)?)?;
    module.add_function(wrap_pyfunction!(encode_string, module)?)?;
    module.add_function(wrap_pyfunction!(mailbox_to_utf7, module)?)?;
    module.add_function(wrap_pyfunction!(mailbox_from_utf7, module)?)?;
    Ok(())
}
