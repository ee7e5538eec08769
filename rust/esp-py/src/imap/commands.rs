//! A client's octets as events: commands, messages being received, and what is answered at once.

use super::append::{AppendLiteral, AppendOctets, AppendUrl};
use super::arguments::arguments_to_python;
use super::{any, octets};
use esp_imap as imap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct Command {
    tag: String,
    name: &'static str,
    uid: bool,
    arguments: Py<PyAny>,
}

#[pyclass(frozen, module = "esp.native")]
pub(super) struct ContinueRequest;

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct BadCommand {
    tag: Option<String>,
    response: String,
    unsaved: bool,
    fatal: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct RawLine {
    octets: Py<PyBytes>,
}

#[pyclass(module = "esp.native")]
pub(super) struct CommandReader(imap::CommandReader);

#[pymethods]
impl CommandReader {
    #[new]
    #[pyo3(signature = (*, max_line = 65_536, max_literal = 65_536, max_append = 67_108_864, max_annotation = 32_768))]
    fn new(max_line: usize, max_literal: usize, max_append: u64, max_annotation: u64) -> Self {
        Self(imap::CommandReader::new(imap::Limits {
            line: max_line,
            literals: max_literal,
            append: max_append,
            annotation: max_annotation,
        }))
    }

    fn feed(&mut self, octets: &[u8]) {
        self.0.feed(octets);
    }

    fn next(&mut self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if self.0.deciding() {
            return Err(PyRuntimeError::new_err(
                "accept() or refuse() the message literal first",
            ));
        }
        self.0
            .next_event()
            .map(|event| to_python(py, event))
            .transpose()
    }

    fn accept(&mut self) -> PyResult<()> {
        if self.0.accept() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("there is no message literal"))
    }

    fn refuse(&mut self) -> PyResult<()> {
        if self.0.refuse() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("there is no message literal"))
    }

    fn expect_line(&mut self) {
        self.0.expect_line();
    }

    fn discard(&mut self) -> usize {
        self.0.discard()
    }

    #[getter]
    fn buffered(&self) -> usize {
        self.0.buffered()
    }

    #[getter]
    fn utf8(&self) -> bool {
        self.0.utf8
    }

    #[setter]
    fn set_utf8(&mut self, value: bool) {
        self.0.utf8 = value;
    }
}

fn to_python(py: Python<'_>, event: imap::Event) -> PyResult<Py<PyAny>> {
    match event {
        imap::Event::Command(command) => {
            let arguments = arguments_to_python(py, command.arguments)?;
            any(
                py,
                Command {
                    tag: command.tag,
                    name: command.name,
                    uid: command.uid,
                    arguments,
                },
            )
        }
        imap::Event::Continue => any(py, ContinueRequest),
        imap::Event::AppendLiteral(literal) => any(py, AppendLiteral::new(py, literal)?),
        imap::Event::AppendUrl { head, url } => any(py, AppendUrl::new(py, head, url)?),
        imap::Event::AppendOctets {
            octets: message,
            last,
        } => any(
            py,
            AppendOctets {
                octets: octets(py, &message),
                last,
            },
        ),
        imap::Event::Bad { refusal, fatal } => any(
            py,
            BadCommand {
                tag: refusal.tag,
                response: refusal.response,
                unsaved: refusal.unsaved,
                fatal,
            },
        ),
        imap::Event::Line(line) => any(
            py,
            RawLine {
                octets: octets(py, &line),
            },
        ),
    }
}
