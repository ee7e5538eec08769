//! The Python face of `esp-maildir`.

use pyo3::prelude::*;

/// Add this face's classes and functions to the module.
pub(crate) fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
