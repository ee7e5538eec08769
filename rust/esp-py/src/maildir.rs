//! The Python interface of `esp-maildir`.

use crate::line::{Line, Verdict};
use crate::mime::Description;
use esp_maildir::{
    Body, Failure as StoreFailure, Item, Kept, LeftJournals as Left, Reason, Rename,
    Spool as StoreSpool, Store as Maildirs, Stored as StoredItem, Target, Writing,
};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Add this interface's classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Store>()?;
    module.add_class::<Spool>()?;
    module.add_class::<DeliverItem>()?;
    module.add_class::<Stored>()?;
    module.add_class::<Delivering>()?;
    module.add_class::<Line>()?;
    module.add_class::<Failure>()?;
    module.add_class::<Entry>()?;
    module.add_class::<LeftJournals>()?;
    module.add_class::<KeptMessage>()?;
    module.add_function(wrap_pyfunction!(sync_file_system, module)?)
}

#[pyfunction]
fn sync_file_system(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| esp_maildir::sync_file_system(&path))
        .map_err(|failure| os_error(&failure))
}

fn os_error(failure: &StoreFailure) -> PyErr {
    if failure.errno == 0 {
        return PyValueError::new_err(failure.to_string());
    }
    let text = format!(
        "{}: {}",
        failure.operation,
        std::io::Error::from_raw_os_error(failure.errno)
    );
    // Python turns it into a `FileNotFoundError` if it is one.
    PyOSError::new_err((failure.errno, text, failure.path.clone()))
}

#[pyclass(frozen, module = "esp.native")]
struct Spool {
    spool: Mutex<Option<StoreSpool>>,
}

impl Spool {
    fn with<T>(&self, act: impl FnOnce(&mut StoreSpool) -> Result<T, StoreFailure>) -> PyResult<T> {
        let mut guard = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        match guard.as_mut() {
            Some(spool) => act(spool).map_err(|failure| os_error(&failure)),
            None => Err(PyValueError::new_err(
                "the spool is closed or was delivered",
            )),
        }
    }
}

#[pymethods]
impl Spool {
    fn write(&self, py: Python<'_>, octets: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.with(|spool| spool.write(&octets)))
    }

    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.with(|spool| Ok(spool.size()))
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            drop(
                self.spool
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            )
        });
    }
}

#[derive(FromPyObject)]
enum Octets {
    #[pyo3(transparent)]
    Memory(PyBackedBytes),
    #[pyo3(transparent)]
    Spool(Py<Spool>),
}

#[pyclass(frozen, module = "esp.native")]
struct DeliverItem {
    item: Mutex<Option<Item<PyBackedBytes>>>,
}

impl DeliverItem {
    fn lock(&self) -> MutexGuard<'_, Option<Item<PyBackedBytes>>> {
        self.item.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(items: &[Py<DeliverItem>]) -> PyResult<Vec<Item<PyBackedBytes>>> {
    items
        .iter()
        .map(|item| {
            let item = item.get().lock().take();
            item.ok_or_else(|| PyValueError::new_err("an item was delivered before"))
        })
        .collect()
}

#[pymethods]
impl DeliverItem {
    #[new]
    fn new(
        prefix: PyBackedBytes,
        body: Octets,
        folders: Vec<String>,
        flags_letters: Vec<Option<String>>,
        mtime_ns: i64,
    ) -> PyResult<Self> {
        if folders.is_empty() || folders.len() != flags_letters.len() {
            return Err(PyValueError::new_err(
                "folders and flags_letters must be equally many, at least one",
            ));
        }
        let body = match body {
            Octets::Memory(octets) => Body::Memory(octets),
            Octets::Spool(spool) => match spool
                .get()
                .spool
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
            {
                Some(spool) => Body::Spool(spool),
                None => {
                    return Err(PyValueError::new_err(
                        "the spool is closed or was delivered",
                    ));
                }
            },
        };
        let targets = folders
            .into_iter()
            .zip(flags_letters)
            .map(|(folder, letters)| Target { folder, letters })
            .collect();
        let item = Item {
            prefix,
            body,
            targets,
            modified: mtime_ns,
        };
        Ok(Self {
            item: Mutex::new(Some(item)),
        })
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct Stored {
    base: String,
    description: Py<Description>,
    size: u64,
    paths: Vec<String>,
}

impl Stored {
    fn new<'py>(
        py: Python<'py>,
        stored: StoredItem<esp_mime::Description>,
    ) -> PyResult<Bound<'py, Self>> {
        let stored = Self {
            base: stored.base,
            description: Py::new(py, Description::new(py, stored.inspected))?,
            size: stored.size,
            paths: stored.paths,
        };
        Bound::new(py, stored)
    }
}

#[pyclass(frozen, module = "esp.native")]
struct Delivering {
    #[pyo3(get)]
    stored: Vec<Py<Stored>>,
    writing: Arc<Writing>,
    verdict: Arc<Verdict>,
}

#[pymethods]
impl Delivering {
    fn finish<'py>(
        &self,
        py: Python<'py>,
        line: &Line,
        success: &[u8],
        failure: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        self.verdict
            .finish(line, success.to_vec(), failure.to_vec())
            .map(|octets| PyBytes::new(py, &octets))
    }

    fn failures(&self, py: Python<'_>) -> Vec<Option<Failure>> {
        py.detach(|| self.writing.failures())
            .into_iter()
            .map(|failure| failure.map(Failure::from))
            .collect()
    }
}

#[pyclass(frozen, module = "esp.native")]
struct Failure {
    #[pyo3(get)]
    reason: &'static str,
    #[pyo3(get)]
    operation: &'static str,
    #[pyo3(get)]
    path: String,
    #[pyo3(get)]
    errno: i32,
    text: String,
}

#[pymethods]
impl Failure {
    fn __str__(&self) -> &str {
        &self.text
    }
}

impl From<StoreFailure> for Failure {
    fn from(failure: StoreFailure) -> Self {
        let text = failure.to_string();
        let StoreFailure {
            reason,
            operation,
            path,
            errno,
        } = failure;
        let reason = match reason {
            Reason::Full => "full",
            Reason::Poisoned => "poisoned",
            Reason::Missing => "missing",
            Reason::Failed => "failed",
        };
        Self {
            reason,
            operation,
            path,
            errno,
            text,
        }
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct Entry {
    part: &'static str,
    base: String,
    letters: Option<String>,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
}

impl From<esp_maildir::Entry> for Entry {
    fn from(entry: esp_maildir::Entry) -> Self {
        let esp_maildir::Entry {
            part,
            base,
            letters,
            size,
            modified,
            changed,
            inode,
        } = entry;
        Self {
            part,
            base,
            letters,
            size,
            mtime_ns: modified,
            ctime_ns: changed,
            inode,
        }
    }
}

#[pyclass(frozen, module = "esp.native")]
struct KeptMessage {
    message: Kept,
}

#[pymethods]
impl KeptMessage {
    #[getter]
    fn paths(&self) -> Vec<String> {
        self.message.paths.clone()
    }
}

#[pyclass(frozen, module = "esp.native")]
struct LeftJournals {
    left: Left,
}

#[pymethods]
impl LeftJournals {
    #[getter]
    fn count(&self) -> usize {
        self.left.count()
    }

    fn missing(&self, py: Python<'_>, number: usize) -> PyResult<Vec<KeptMessage>> {
        let missing = py
            .detach(|| self.left.missing(number))
            .map_err(|failure| os_error(&failure))?;
        Ok(missing
            .into_iter()
            .map(|message| KeptMessage { message })
            .collect())
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a list of Python's becomes a vector of its own"
    )]
    fn restore(&self, py: Python<'_>, message: &KeptMessage, paths: Vec<String>) -> PyResult<()> {
        py.detach(|| self.left.restore(&message.message, &paths))
            .map_err(|failure| os_error(&failure))
    }

    fn forget(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.left.forget())
            .map_err(|failure| os_error(&failure))
    }
}

#[pyclass(frozen, module = "esp.native")]
struct Store {
    store: Maildirs,
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (root, threads, sync, host, *, journal=false))]
    fn new(root: PathBuf, threads: usize, sync: bool, host: &str, journal: bool) -> PyResult<Self> {
        let store = Maildirs::open(&root, threads, sync, host, journal)
            .map_err(|failure| os_error(&failure))?;
        Ok(Self { store })
    }

    #[getter]
    fn poisoned(&self) -> bool {
        self.store.is_poisoned()
    }

    #[getter]
    fn journal_failure(&self) -> Option<Failure> {
        self.store.journal_failure().cloned().map(Failure::from)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.store.close());
    }

    fn left_journals(&self, py: Python<'_>) -> PyResult<LeftJournals> {
        py.detach(|| self.store.left_journals())
            .map(|left| LeftJournals { left })
            .map_err(|failure| os_error(&failure))
    }

    fn spool(&self, py: Python<'_>) -> PyResult<Spool> {
        let spool = py
            .detach(|| self.store.spool())
            .map_err(|failure| os_error(&failure))?;
        Ok(Spool {
            spool: Mutex::new(Some(spool)),
        })
    }

    fn make_folder(&self, py: Python<'_>, folder: &str) -> PyResult<()> {
        py.detach(|| self.store.make_folder(folder))
            .map_err(|failure| os_error(&failure))
    }

    fn begin(&self, py: Python<'_>, items: Vec<Py<DeliverItem>>) -> PyResult<Option<Delivering>> {
        let taken = take(&items)?;
        let verdict = Arc::new(Verdict::default());
        let given = Arc::clone(&verdict);
        let begun = py.detach(|| {
            self.store.begin(taken, esp_mime::describe, move |durable| {
                given.give(durable)
            })
        });
        match begun {
            Ok(begun) => Ok(Some(Delivering {
                stored: begun
                    .stored
                    .into_iter()
                    .map(|stored| Ok(Stored::new(py, stored)?.unbind()))
                    .collect::<PyResult<_>>()?,
                writing: begun.writing,
                verdict,
            })),
            Err(untouched) => {
                for (item, back) in untouched.into_iter().zip(&items) {
                    *back.get().lock() = Some(item);
                }
                Ok(None)
            }
        }
    }

    fn deliver<'py>(
        &self,
        py: Python<'py>,
        items: Vec<Py<DeliverItem>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let taken = take(&items)?;
        let results = py.detach(|| self.store.deliver(taken, esp_mime::describe));
        results
            .into_iter()
            .map(|result| match result {
                Ok(stored) => Ok(Stored::new(py, stored)?.into_any()),
                Err(failure) => Ok(Bound::new(py, Failure::from(failure))?.into_any()),
            })
            .collect()
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a list of Python's becomes a vector of its own"
    )]
    fn names(&self, sizes: Vec<u64>) -> Vec<String> {
        self.store.names(&sizes)
    }

    fn link(
        &self,
        py: Python<'_>,
        sources: Vec<String>,
        folder: &str,
        bases: Vec<String>,
        letters: Vec<Option<String>>,
    ) -> PyResult<Vec<bool>> {
        if sources.len() != letters.len() || sources.len() != bases.len() {
            return Err(PyValueError::new_err(
                "sources, bases and letters must be equally many",
            ));
        }
        py.detach(|| self.store.link(&sources, folder, &bases, &letters))
            .map_err(|failure| os_error(&failure))
    }

    fn scan(&self, py: Python<'_>, folder: &str) -> PyResult<Vec<Entry>> {
        let entries = py
            .detach(|| self.store.scan(folder))
            .map_err(|failure| os_error(&failure))?;
        Ok(entries.into_iter().map(Entry::from).collect())
    }

    #[pyo3(signature = (folder, base, letters, offset=0, length=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        folder: &str,
        base: &str,
        letters: Option<&str>,
        offset: u64,
        length: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let octets = py
            .detach(|| self.store.read(folder, base, letters, offset, length))
            .map_err(|failure| os_error(&failure))?;
        Ok(PyBytes::new(py, &octets))
    }

    fn rename(
        &self,
        py: Python<'_>,
        folder: &str,
        renames: Vec<(String, Option<String>, Option<String>)>,
    ) -> PyResult<Vec<Option<Failure>>> {
        let renames: Vec<_> = renames
            .into_iter()
            .map(|(base, from, to)| Rename { base, from, to })
            .collect();
        let results = py
            .detach(|| self.store.rename(folder, &renames))
            .map_err(|failure| os_error(&failure))?;
        Ok(results
            .into_iter()
            .map(|result| result.err().map(Failure::from))
            .collect())
    }

    fn unlink(&self, py: Python<'_>, paths: Vec<String>) -> Vec<Failure> {
        py.detach(|| self.store.unlink(&paths))
            .into_iter()
            .map(Failure::from)
            .collect()
    }
}
