//! The Python interface of `esp-mime`.

use esp_mime::{Needle, Scope, SearchText, Structure};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;

/// Octets; a smaller message is parsed faster than the GIL is released and taken again.
const DETACH_FROM: usize = 16 * 1024;

/// What IMAP shows of a message without reading it again.
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

/// What is stored about a message for searching, previews and threads.
#[pyclass(frozen, get_all, module = "esp.native")]
pub(crate) struct Indexed {
    text: Py<PyBytes>,
    signature: Py<PyBytes>,
    head: Py<PyBytes>,
    preview: String,
    message_id: Option<String>,
    references: Vec<String>,
    in_reply_to: Vec<String>,
    base_subject: String,
}

struct Entry {
    text: Vec<u8>,
    signature: Vec<u8>,
    head: Vec<u8>,
    preview: String,
    threading: esp_mime::Threading,
}

fn entry(data: &[u8]) -> Entry {
    let structure = Structure::parse(data);
    let indexed = esp_mime::index(&structure);
    Entry {
        text: indexed.text.pack(),
        signature: esp_mime::signature(indexed.text.all()),
        head: esp_mime::head(&structure),
        preview: indexed.preview,
        threading: esp_mime::threading(&structure),
    }
}

impl Indexed {
    fn new(py: Python<'_>, entry: Entry) -> Self {
        Self {
            text: PyBytes::new(py, &entry.text).unbind(),
            signature: PyBytes::new(py, &entry.signature).unbind(),
            head: PyBytes::new(py, &entry.head).unbind(),
            preview: entry.preview,
            message_id: entry.threading.message_id,
            references: entry.threading.references,
            in_reply_to: entry.threading.in_reply_to,
            base_subject: entry.threading.base_subject.text,
        }
    }
}

fn detached<T: Send>(py: Python<'_>, octets: usize, work: impl FnOnce() -> T + Send) -> T {
    if octets < DETACH_FROM {
        work()
    } else {
        py.detach(work)
    }
}

fn scope(name: &str) -> PyResult<Scope<'_>> {
    match name {
        "text" => Ok(Scope::Text),
        "body" => Ok(Scope::Body),
        "headers" => Ok(Scope::Headers),
        _ => name
            .strip_prefix("field:")
            .map(Scope::Field)
            .ok_or_else(|| {
                PyValueError::new_err("where must be text, body, headers or field:<name>")
            }),
    }
}

fn bytes_of<'py>(py: Python<'py>, octets: Option<Vec<u8>>) -> Option<Bound<'py, PyBytes>> {
    octets.map(|octets| PyBytes::new(py, &octets))
}

#[pyfunction]
fn describe(py: Python<'_>, data: &[u8]) -> Description {
    let description = detached(py, data.len(), || esp_mime::describe(data));
    Description::new(py, description)
}

#[pyfunction]
fn body_section<'py>(
    py: Python<'py>,
    data: &[u8],
    spec: &str,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let section = esp_mime::Section::parse(spec.as_bytes())
        .ok_or_else(|| PyValueError::new_err(format!("not a section: {spec}")))?;
    let octets = detached(py, data.len(), || {
        Structure::parse(data).section_octets(&section)
    });
    Ok(bytes_of(py, octets))
}

#[pyfunction]
fn search_text(py: Python<'_>, data: &[u8]) -> (String, String) {
    let text = detached(py, data.len(), || esp_mime::search_text(data));
    (
        String::from_utf8_lossy(text.headers()).into_owned(),
        String::from_utf8_lossy(text.text()).into_owned(),
    )
}

#[pyfunction]
fn index_message(py: Python<'_>, data: &[u8]) -> Indexed {
    let entry = detached(py, data.len(), || entry(data));
    Indexed::new(py, entry)
}

#[pyfunction]
fn index_batch(py: Python<'_>, paths: Vec<PathBuf>) -> Vec<Option<Indexed>> {
    let entries: Vec<Option<Entry>> = py.detach(|| {
        paths
            .iter()
            .map(|path| std::fs::read(path).ok().map(|data| entry(&data)))
            .collect()
    });
    entries
        .into_iter()
        .map(|entry| entry.map(|entry| Indexed::new(py, entry)))
        .collect()
}

#[pyfunction]
#[pyo3(signature = (blobs, needle, r#where = "text"))]
fn search_batch(
    py: Python<'_>,
    blobs: Vec<Bound<'_, PyBytes>>,
    needle: &str,
    r#where: &str,
) -> PyResult<Vec<bool>> {
    let scope = scope(r#where)?;
    let blobs: Vec<&[u8]> = blobs.iter().map(|blob| blob.as_bytes()).collect();
    Ok(py.detach(|| {
        let needle = Needle::new(needle);
        let mut text = SearchText::default();
        blobs
            .iter()
            .map(|blob| text.unpack(blob) && needle.is_in(&text, scope))
            .collect()
    }))
}

#[pyfunction]
#[pyo3(signature = (paths, needle, r#where = "text"))]
fn search_files(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    needle: &str,
    r#where: &str,
) -> PyResult<Vec<Option<bool>>> {
    let scope = scope(r#where)?;
    Ok(py.detach(|| {
        let needle = Needle::new(needle);
        paths
            .iter()
            .map(|path| {
                let data = std::fs::read(path).ok()?;
                Some(needle.is_in(&esp_mime::search_text(&data), scope))
            })
            .collect()
    }))
}

#[pyfunction]
fn may_contain_batch(
    py: Python<'_>,
    signatures: Vec<Bound<'_, PyBytes>>,
    needle: &str,
) -> Vec<bool> {
    let signatures: Vec<&[u8]> = signatures
        .iter()
        .map(|signature| signature.as_bytes())
        .collect();
    py.detach(|| {
        let needle = Needle::new(needle);
        signatures
            .iter()
            .map(|signature| needle.may_be_in(signature))
            .collect()
    })
}

#[pyfunction]
fn base_subject(subject: &str) -> (String, bool) {
    let base = esp_mime::base_subject(subject.as_bytes());
    (base.text, base.is_reply)
}

#[pyfunction]
fn collation_key<'py>(py: Python<'py>, text: &str) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &esp_mime::collation_key(text))
}

#[pyfunction]
fn decode_header(value: &[u8]) -> String {
    esp_mime::decode_header(value).into_owned()
}

/// Add this interface's classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Description>()?;
    module.add_class::<Indexed>()?;
    module.add_function(wrap_pyfunction!(describe, module)?)?;
    module.add_function(wrap_pyfunction!(body_section, module)?)?;
    module.add_function(wrap_pyfunction!(search_text, module)?)?;
    module.add_function(wrap_pyfunction!(index_message, module)?)?;
    module.add_function(wrap_pyfunction!(index_batch, module)?)?;
    module.add_function(wrap_pyfunction!(search_batch, module)?)?;
    module.add_function(wrap_pyfunction!(search_files, module)?)?;
    module.add_function(wrap_pyfunction!(may_contain_batch, module)?)?;
    module.add_function(wrap_pyfunction!(base_subject, module)?)?;
    module.add_function(wrap_pyfunction!(collation_key, module)?)?;
    module.add_function(wrap_pyfunction!(decode_header, module)?)
}
