//! The only crate that knows Python: converts values, releases the GIL, maps errors.

mod front;
mod imap;
mod line;
mod maildir;
mod mime;
mod smtp;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    mime::register(module)?;
    smtp::register(module)?;
    front::register(module)?;
    imap::register(module)?;
    maildir::register(module)
}
