//! The Python face of `esp-imap`.

use esp_imap as imap;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

#[pyclass(frozen, get_all, module = "esp.native")]
struct Command {
    tag: String,
    name: &'static str,
    uid: bool,
    arguments: Py<PyAny>,
}

#[pyclass(frozen, module = "esp.native")]
struct ContinueRequest;

#[pyclass(frozen, get_all, module = "esp.native")]
struct AppendLiteral {
    tag: String,
    mailbox: String,
    position: usize,
    flags: i64,
    keywords: Py<PyTuple>,
    internal_date: Option<i64>,
    size: u64,
    synchronising: bool,
    binary: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct AppendOctets {
    octets: Py<PyBytes>,
    last: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct BadCommand {
    tag: Option<String>,
    response: String,
    fatal: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct RawLine {
    octets: Py<PyBytes>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct LoginArguments {
    username: String,
    password: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct AuthenticateArguments {
    mechanism: String,
    initial: Option<Py<PyBytes>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct IdArguments {
    fields: Option<Py<PyDict>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct EnableArguments {
    capabilities: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SelectArguments {
    mailbox: String,
    condstore: bool,
    qresync: Option<Py<QresyncParameter>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct QresyncParameter {
    uidvalidity: u32,
    modseq: i64,
    known_uids: Option<SequenceSet>,
    known_sequence: Option<(SequenceSet, SequenceSet)>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct CreateArguments {
    mailbox: String,
    special_use: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct MailboxArguments {
    mailbox: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct QuotaArguments {
    root: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct RenameArguments {
    mailbox: String,
    new_name: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct ListArguments {
    reference: String,
    patterns: Py<PyTuple>,
    extended: bool,
    selection: Py<PyTuple>,
    returns: Py<PyTuple>,
    status: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct StatusArguments {
    mailbox: String,
    items: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct AppendArguments {
    mailbox: String,
    count: usize,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct ExpungeArguments {
    set: SequenceSet,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct CopyArguments {
    set: SequenceSet,
    mailbox: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct FetchArguments {
    set: SequenceSet,
    items: FetchItems,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct StoreArguments {
    set: SequenceSet,
    mode: &'static str,
    silent: bool,
    flags: i64,
    keywords: Py<PyTuple>,
    unchanged_since: Option<i64>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SearchArguments {
    program: SearchProgram,
    returns: Option<Py<PyTuple>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SortArguments {
    keys: Py<PyTuple>,
    program: SearchProgram,
    returns: Option<Py<PyTuple>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct ThreadArguments {
    algorithm: String,
    program: SearchProgram,
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
struct SequenceSet(Arc<imap::SequenceSet>);

#[pymethods]
impl SequenceSet {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        imap::SequenceSet::parse(text.as_bytes())
            .map(|set| Self(Arc::new(set)))
            .map_err(invalid)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    #[getter]
    fn saved(&self) -> bool {
        self.0.saved()
    }
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
struct FetchItems(Arc<imap::FetchItems>);

#[pymethods]
impl FetchItems {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        imap::FetchItems::parse(text.as_bytes())
            .map(|items| Self(Arc::new(items)))
            .map_err(invalid)
    }

    #[getter]
    fn reads_files(&self) -> bool {
        self.0.reads_files()
    }

    #[getter]
    fn sets_seen(&self) -> bool {
        self.0.sets_seen
    }

    #[getter]
    fn modseq(&self) -> bool {
        self.0.modseq()
    }

    #[getter]
    fn changed_since(&self) -> Option<i64> {
        self.0.changed_since
    }

    #[getter]
    fn vanished(&self) -> bool {
        self.0.vanished
    }
}

#[pyclass(frozen, module = "esp.native")]
#[derive(Clone)]
struct SearchProgram(Arc<imap::SearchProgram>);

#[pymethods]
impl SearchProgram {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        match imap::SearchProgram::parse(text.as_bytes()) {
            Ok(program) => Ok(Self(Arc::new(program))),
            Err(imap::SearchError::Syntax(error)) => Err(invalid(error)),
            Err(imap::SearchError::Charset) => Err(invalid("Unknown charset")),
        }
    }

    #[getter]
    fn needs_text(&self) -> bool {
        self.0.needs_text()
    }

    #[getter]
    fn modseq(&self) -> bool {
        self.0.modseq()
    }
}

#[pyclass(module = "esp.native")]
struct CommandReader(imap::CommandReader);

#[pymethods]
impl CommandReader {
    #[new]
    #[pyo3(signature = (*, max_line = 65_536, max_literal = 65_536, max_append = 67_108_864))]
    fn new(max_line: usize, max_literal: usize, max_append: u64) -> Self {
        Self(imap::CommandReader::new(imap::Limits {
            line: max_line,
            literals: max_literal,
            append: max_append,
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

fn any<T: pyo3::PyClass>(
    py: Python<'_>,
    value: impl Into<PyClassInitializer<T>>,
) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, value)?.into_any())
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
        imap::Event::AppendLiteral(literal) => {
            let keywords = texts(py, &literal.flags.keywords)?;
            any(
                py,
                AppendLiteral {
                    tag: literal.tag,
                    mailbox: literal.mailbox,
                    position: literal.position,
                    flags: literal.flags.bits,
                    keywords,
                    internal_date: literal.internal_date,
                    size: literal.size,
                    synchronising: literal.synchronising,
                    binary: literal.binary,
                },
            )
        }
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

fn set(set: imap::SequenceSet) -> SequenceSet {
    SequenceSet(Arc::new(set))
}

#[allow(clippy::too_many_lines, reason = "one arm for each shape")]
fn arguments_to_python(py: Python<'_>, arguments: imap::Arguments) -> PyResult<Py<PyAny>> {
    use imap::Arguments as A;
    let returns =
        |returns: Option<Vec<String>>| returns.map(|returns| texts(py, &returns)).transpose();
    match arguments {
        A::None => Ok(py.None()),
        A::Login { username, password } => any(py, LoginArguments { username, password }),
        A::Authenticate { mechanism, initial } => any(
            py,
            AuthenticateArguments {
                mechanism,
                initial: initial.map(|initial| octets(py, &initial)),
            },
        ),
        A::Id(fields) => {
            let fields = fields
                .map(|fields| {
                    let dict = PyDict::new(py);
                    for (key, value) in fields {
                        dict.set_item(key, value)?;
                    }
                    PyResult::Ok(dict.unbind())
                })
                .transpose()?;
            any(py, IdArguments { fields })
        }
        A::Enable(capabilities) => any(
            py,
            EnableArguments {
                capabilities: texts(py, &capabilities)?,
            },
        ),
        A::Select {
            mailbox,
            condstore,
            qresync,
        } => {
            let qresync = qresync
                .map(|qresync| {
                    Py::new(
                        py,
                        QresyncParameter {
                            uidvalidity: qresync.uidvalidity,
                            modseq: qresync.modseq,
                            known_uids: qresync.known_uids.map(set),
                            known_sequence: qresync
                                .known_sequence
                                .map(|(numbers, uids)| (set(numbers), set(uids))),
                        },
                    )
                })
                .transpose()?;
            any(
                py,
                SelectArguments {
                    mailbox,
                    condstore,
                    qresync,
                },
            )
        }
        A::Create {
            mailbox,
            special_use,
        } => any(
            py,
            CreateArguments {
                mailbox,
                special_use: texts(py, &special_use)?,
            },
        ),
        A::Mailbox(mailbox) => any(py, MailboxArguments { mailbox }),
        A::Quota(root) => any(py, QuotaArguments { root }),
        A::Rename { mailbox, new_name } => any(py, RenameArguments { mailbox, new_name }),
        A::List(list) => any(
            py,
            ListArguments {
                reference: list.reference,
                patterns: texts(py, &list.patterns)?,
                extended: list.extended,
                selection: texts(py, &list.selection)?,
                returns: texts(py, &list.returns)?,
                status: texts(py, &list.status)?,
            },
        ),
        A::Status { mailbox, items } => any(
            py,
            StatusArguments {
                mailbox,
                items: texts(py, &items)?,
            },
        ),
        A::Append { mailbox, count } => any(py, AppendArguments { mailbox, count }),
        A::Expunge(uids) => any(py, ExpungeArguments { set: set(uids) }),
        A::Copy {
            set: numbers,
            mailbox,
        } => any(
            py,
            CopyArguments {
                set: set(numbers),
                mailbox,
            },
        ),
        A::Fetch {
            set: numbers,
            items,
        } => any(
            py,
            FetchArguments {
                set: set(numbers),
                items: FetchItems(items),
            },
        ),
        A::Store {
            set: numbers,
            mode,
            silent,
            flags,
            unchanged_since,
        } => any(
            py,
            StoreArguments {
                set: set(numbers),
                mode: match mode {
                    imap::StoreMode::Replace => "replace",
                    imap::StoreMode::Add => "add",
                    imap::StoreMode::Remove => "remove",
                },
                silent,
                flags: flags.bits,
                keywords: texts(py, &flags.keywords)?,
                unchanged_since,
            },
        ),
        A::Search {
            program,
            returns: options,
        } => any(
            py,
            SearchArguments {
                program: SearchProgram(program),
                returns: returns(options)?,
            },
        ),
        A::Sort {
            keys,
            program,
            returns: options,
        } => any(
            py,
            SortArguments {
                keys: PyTuple::new(py, keys)?.unbind(),
                program: SearchProgram(program),
                returns: returns(options)?,
            },
        ),
        A::Thread { algorithm, program } => any(
            py,
            ThreadArguments {
                algorithm,
                program: SearchProgram(program),
            },
        ),
    }
}

#[pyclass(frozen, module = "esp.native")]
struct ContentCache(Arc<imap::ContentCache>);

#[pymethods]
impl ContentCache {
    #[new]
    #[pyo3(signature = (max_octets = 67_108_864))]
    fn new(max_octets: usize) -> Self {
        Self(Arc::new(imap::ContentCache::new(max_octets)))
    }

    fn load(&self, py: Python<'_>, account: i64, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load(account, copy)).map_err(invalid)
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }
}

#[pyclass(frozen, module = "esp.native")]
struct TextCache(Arc<imap::TextCache>);

#[pymethods]
impl TextCache {
    #[new]
    #[pyo3(signature = (max_octets = 134_217_728))]
    fn new(max_octets: usize) -> Self {
        Self(Arc::new(imap::TextCache::new(max_octets)))
    }

    fn load(&self, py: Python<'_>, account: i64, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load(account, copy)).map_err(invalid)
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }
}

#[pyclass(frozen, module = "esp.native")]
struct MailboxIndex(Arc<imap::MailboxIndex>);

#[pymethods]
impl MailboxIndex {
    #[new]
    fn new(account: i64, mailbox: i64, folder: PathBuf, uidvalidity: u32) -> Self {
        Self(Arc::new(imap::MailboxIndex::new(
            account,
            mailbox,
            folder,
            uidvalidity,
        )))
    }

    fn feed(&self, py: Python<'_>, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.feed(copy)).map_err(invalid)
    }

    #[pyo3(signature = (*, modseq, uidnext, keywords, expunged = Vec::new()), text_signature = "(self, /, *, modseq, uidnext, keywords, expunged=())")]
    fn commit(
        &self,
        py: Python<'_>,
        modseq: i64,
        uidnext: u32,
        keywords: Vec<String>,
        expunged: Vec<String>,
    ) -> PyResult<()> {
        py.detach(|| self.0.commit(modseq, uidnext, keywords, &expunged))
            .map_err(invalid)
    }

    fn abandon(&self) {
        self.0.abandon();
    }

    fn load_sent(&self, py: Python<'_>, copy: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.load_sent(copy)).map_err(invalid)
    }

    #[getter]
    fn account(&self) -> i64 {
        self.0.account
    }

    #[getter]
    fn mailbox(&self) -> i64 {
        self.0.mailbox
    }

    #[getter]
    fn uidvalidity(&self) -> u32 {
        self.0.uidvalidity
    }

    #[getter]
    fn uidnext(&self) -> u32 {
        self.0.uidnext()
    }

    #[getter]
    fn modseq(&self) -> i64 {
        self.0.modseq()
    }

    #[getter]
    fn keywords(&self, py: Python<'_>) -> PyResult<Py<PyTuple>> {
        texts(py, self.0.keywords().iter())
    }

    #[getter]
    fn messages(&self) -> usize {
        self.0.messages()
    }

    #[getter]
    fn views(&self) -> usize {
        self.0.views()
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }

    fn keyword_bits(&self, py: Python<'_>, keywords: Vec<String>) -> PyResult<(i64, Py<PyTuple>)> {
        let (bits, others) = self.0.keyword_bits(&keywords);
        Ok((bits, texts(py, &others)?))
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct StorePlan {
    uids: Vec<u32>,
    changing: Vec<u32>,
    modified: Vec<u32>,
    modified_numbers: Vec<u32>,
    vanished: bool,
}

#[pyclass(frozen, module = "esp.native")]
struct View {
    view: Arc<imap::View>,
    index: Py<MailboxIndex>,
}

#[pymethods]
impl View {
    #[new]
    #[pyo3(signature = (index, *, read_only = false, recent_from = 4_294_967_295))]
    fn new(index: Bound<'_, MailboxIndex>, read_only: bool, recent_from: u32) -> Self {
        let view = imap::View::new(Arc::clone(&index.get().0), read_only, recent_from);
        Self {
            view: Arc::new(view),
            index: index.unbind(),
        }
    }

    fn opening(&self, py: Python<'_>) -> Py<PyBytes> {
        octets(py, &self.view.opening())
    }

    #[pyo3(signature = (*, expunges = true, uid = false, announce = Vec::new(), silent = Vec::new(), silent_modseq = 0), text_signature = "(self, /, *, expunges=True, uid=False, announce=(), silent=(), silent_modseq=0)")]
    fn sync(
        &self,
        py: Python<'_>,
        expunges: bool,
        uid: bool,
        announce: Vec<u32>,
        silent: Vec<u32>,
        silent_modseq: i64,
    ) -> Py<PyBytes> {
        octets(
            py,
            &self.view.sync(&imap::Sync {
                expunges,
                uid,
                announce,
                silent,
                silent_modseq,
            }),
        )
    }

    #[getter]
    fn pending(&self) -> bool {
        self.view.pending()
    }

    fn enable_condstore(&self) {
        self.view.enable_condstore();
    }

    fn enable_qresync(&self) {
        self.view.enable_qresync();
    }

    #[getter]
    fn index(&self, py: Python<'_>) -> Py<MailboxIndex> {
        self.index.clone_ref(py)
    }

    #[getter]
    fn read_only(&self) -> bool {
        self.view.read_only
    }

    #[getter]
    fn messages(&self) -> usize {
        self.view.messages()
    }

    #[getter]
    fn recent(&self) -> usize {
        self.view.recent()
    }

    #[getter]
    fn recent_taken(&self) -> u32 {
        self.view.recent_taken()
    }

    #[pyo3(signature = (set, *, uid))]
    fn uids(&self, set: &SequenceSet, uid: bool) -> PyResult<Vec<u32>> {
        self.view.uids(&set.0, uid).map_err(invalid)
    }

    #[pyo3(signature = (set, *, uid))]
    fn has_vanished(&self, set: &SequenceSet, uid: bool) -> bool {
        self.view.has_vanished(&set.0, uid)
    }

    #[pyo3(signature = (set = None))]
    fn deleted(&self, set: Option<&SequenceSet>) -> Vec<u32> {
        self.view.deleted(set.map(|set| &*set.0))
    }

    fn save(&self, uids: Vec<u32>) {
        self.view.save(&uids);
    }

    #[pyo3(signature = (set, *, uid, mode, bits, unchanged_since = None))]
    fn store(
        &self,
        set: &SequenceSet,
        uid: bool,
        mode: &str,
        bits: i64,
        unchanged_since: Option<i64>,
    ) -> PyResult<StorePlan> {
        let mode = match mode {
            "replace" => imap::StoreMode::Replace,
            "add" => imap::StoreMode::Add,
            "remove" => imap::StoreMode::Remove,
            _ => return Err(invalid("mode is replace, add or remove")),
        };
        let plan = self
            .view
            .store(&set.0, uid, mode, bits, unchanged_since)
            .map_err(invalid)?;
        Ok(StorePlan {
            uids: plan.uids,
            changing: plan.changing,
            modified: plan.modified,
            modified_numbers: plan.modified_numbers,
            vanished: plan.vanished,
        })
    }

    #[pyo3(signature = (set, items, *, uid, contents))]
    fn fetch(
        &self,
        set: &SequenceSet,
        items: &FetchItems,
        uid: bool,
        contents: &ContentCache,
    ) -> PyResult<Fetch> {
        imap::Fetch::new(
            Arc::clone(&self.view),
            &set.0,
            Arc::clone(&items.0),
            uid,
            Arc::clone(&contents.0),
        )
        .map(|fetch| Fetch(Mutex::new(fetch)))
        .map_err(invalid)
    }

    #[pyo3(signature = (program, texts, *, now))]
    fn search(&self, program: &SearchProgram, texts: &TextCache, now: i64) -> PyResult<Search> {
        imap::Search::new(
            Arc::clone(&self.view),
            &program.0,
            Arc::clone(&texts.0),
            now,
        )
        .map(|search| Search(Mutex::new(search)))
        .map_err(invalid)
    }
}

#[pyclass(frozen, module = "esp.native")]
struct Fetch(Mutex<imap::Fetch>);

#[pymethods]
impl Fetch {
    #[getter]
    fn unseen(&self) -> Vec<u32> {
        lock(&self.0).unseen().to_vec()
    }

    #[pyo3(signature = (max_octets = 131_072))]
    fn step(&self, py: Python<'_>, max_octets: usize) -> PyResult<Option<Py<PyAny>>> {
        match py.detach(|| lock(&self.0).step(max_octets))? {
            None => Ok(None),
            Some(imap::Step::Octets(response)) => Ok(Some(octets(py, &response).into_any())),
            Some(imap::Step::Contents(ids)) => Ok(Some(ids.into_pyobject(py)?.unbind())),
        }
    }

    #[getter]
    fn missing(&self) -> Vec<u32> {
        lock(&self.0).missing().to_vec()
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SearchNeed {
    sent: Vec<i64>,
    text: Vec<i64>,
}

#[pyclass(frozen, module = "esp.native")]
struct Search(Mutex<imap::Search>);

#[pymethods]
impl Search {
    fn step(&self, py: Python<'_>) -> PyResult<Option<SearchNeed>> {
        let need = py.detach(|| lock(&self.0).step())?;
        Ok(need.map(|need| SearchNeed {
            sent: need.sent,
            text: need.text,
        }))
    }

    #[getter]
    fn uids(&self) -> Vec<u32> {
        lock(&self.0).uids()
    }

    #[getter]
    fn numbers(&self) -> Vec<u32> {
        lock(&self.0).numbers()
    }

    #[getter]
    fn modseq(&self) -> i64 {
        lock(&self.0).modseq()
    }

    #[pyo3(signature = (*, uid, tag, returns = None))]
    fn response(
        &self,
        py: Python<'_>,
        uid: bool,
        tag: &str,
        returns: Option<Vec<String>>,
    ) -> Py<PyBytes> {
        octets(py, &lock(&self.0).response(uid, tag, returns.as_deref()))
    }
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

#[pyfunction]
#[pyo3(signature = (pattern, name, delimiter = '/'), text_signature = "(pattern, name, delimiter='/')")]
fn list_matches(pattern: &str, name: &str, delimiter: char) -> bool {
    imap::list_matches(pattern, name, delimiter)
}

macro_rules! classes {
    ($module:ident, $($class:ty),* $(,)?) => {
        $($module.add_class::<$class>()?;)*
    };
}

/// Add this face's classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    classes!(
        module,
        CommandReader,
        Command,
        ContinueRequest,
        AppendLiteral,
        AppendOctets,
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
        SequenceSet,
        FetchItems,
        SearchProgram,
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
    module.add("SENT_COLUMNS", imap::SENT_COLUMNS)?;
    module.add("CONTENT_COLUMNS", imap::CONTENT_COLUMNS)?;
    module.add("TEXT_COLUMNS", imap::TEXT_COLUMNS)?;
    module.add_function(wrap_pyfunction!(encode_set, module)?)?;
    module.add_function(wrap_pyfunction!(encode_mailbox, module)?)?;
    module.add_function(wrap_pyfunction!(encode_string, module)?)?;
    module.add_function(wrap_pyfunction!(mailbox_to_utf7, module)?)?;
    module.add_function(wrap_pyfunction!(mailbox_from_utf7, module)?)?;
    module.add_function(wrap_pyfunction!(list_matches, module)?)?;
    Ok(())
}
