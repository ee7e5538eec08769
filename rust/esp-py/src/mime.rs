//! The Python face of `esp-mime`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// What a mailbox tells about a message without reading it again.
#[pyclass(frozen, get_all, module = "esp.native")]
pub(crate) struct Description {
    size: usize,
    envelope: Py<PyBytes>,
    bodystructure: Py<PyBytes>,
    body: Py<PyBytes>,
    sent_at: Option<f64>,
    message_id: Option<String>,
    references: Vec<String>,
    in_reply_to: Vec<String>,
}

impl Description {
    /// The Python value of a description.
    pub(crate) fn new(py: Python<'_>, description: esp_mime::Description) -> Self {
        Self {
            size: description.size,
            envelope: PyBytes::new(py, &description.envelope).unbind(),
            bodystructure: PyBytes::new(py, &description.bodystructure).unbind(),
            body: PyBytes::new(py, &description.body).unbind(),
            sent_at: description.sent_at.map(esp_mime::Date::seconds),
            message_id: description.message_id,
            references: description.references,
            in_reply_to: description.in_reply_to,
        }
    }
}

/// Describe the octets of a message.
#[pyfunction]
fn describe(py: Python<'_>, data: &[u8]) -> Description {
    let description = py.detach(|| esp_mime::describe(data));
    Description::new(py, description)
}

/// The octets of `BODY[spec]`, or `None` when the message has no such part.
#[pyfunction]
fn section<'py>(py: Python<'py>, data: &[u8], spec: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let section = esp_mime::Section::parse(spec.as_bytes())
        .ok_or_else(|| PyValueError::new_err("not a section"))?;
    let octets = py.detach(|| esp_mime::Structure::parse(data).section_octets(&section));
    Ok(octets.map(|octets| PyBytes::new(py, &octets)))
}

/// Add this face's classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Description>()?;
    module.add_function(wrap_pyfunction!(describe, module)?)?;
    module.add_function(wrap_pyfunction!(section, module)?)
}
