//! The Python interface of `esp-smtp`.

use std::sync::Arc;

use esp_smtp::{
    Body, Command, Event, Fault, Limits, Mail, Message, Notify, Path, Problem, Reader, Ret, Rules,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Add this interface's classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SmtpLimits>()?;
    module.add_class::<SmtpReader>()?;
    module.add_class::<SmtpMail>()?;
    module.add_class::<SmtpRcpt>()?;
    module.add_class::<SmtpVerb>()?;
    module.add_class::<SmtpBdat>()?;
    module.add_class::<SmtpLine>()?;
    module.add_class::<SmtpProblem>()?;
    module.add_class::<SmtpPart>()?;
    module.add_class::<SmtpChunkEnd>()?;
    module.add_class::<SmtpMessage>()
}

#[pyclass(frozen, module = "esp.native")]
pub(crate) struct SmtpLimits(pub(crate) Arc<Limits>);

#[pymethods]
impl SmtpLimits {
    #[new]
    #[pyo3(signature = (*, size_limit, header_limit, authserv_id, memory_limit, memory_budget))]
    fn new(
        size_limit: u64,
        header_limit: u64,
        authserv_id: String,
        memory_limit: usize,
        memory_budget: usize,
    ) -> Self {
        let rules = Rules {
            size_limit,
            header_limit,
            authserv_id,
            strip_bcc: false,
        };
        Self(Arc::new(Limits::new(rules, memory_limit, memory_budget)))
    }

    #[getter]
    fn held(&self) -> usize {
        self.0.held()
    }
}

#[pyclass(module = "esp.native")]
pub(crate) struct SmtpReader(pub(crate) Reader);

#[pymethods]
impl SmtpReader {
    #[new]
    fn new(limits: &SmtpLimits) -> Self {
        Self(Reader::new(Arc::clone(&limits.0)))
    }

    #[getter]
    fn buffered(&self) -> usize {
        self.0.buffered()
    }

    #[pyo3(signature = (octets, /))]
    fn feed(&mut self, octets: &[u8]) {
        self.0.feed(octets);
    }

    fn next(&mut self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0
            .next_event()
            .map(|event| convert(py, event))
            .transpose()
    }

    fn expect_line(&mut self) {
        self.0.expect_line();
    }

    #[pyo3(signature = (*, strip_bcc))]
    fn begin_data(&mut self, strip_bcc: bool) {
        self.0.begin_data(strip_bcc);
    }

    #[pyo3(signature = (*, strip_bcc))]
    fn keep_chunk(&mut self, strip_bcc: bool) {
        self.0.keep_chunk(strip_bcc);
    }

    fn forget(&mut self) {
        self.0.forget();
    }

    fn discard(&mut self) -> usize {
        self.0.discard()
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(crate) struct SmtpMail {
    local_part: String,
    domain: String,
    ascii: bool,
    size: Option<u64>,
    body: Option<&'static str>,
    smtputf8: bool,
    ret: Option<&'static str>,
    envid: Option<String>,
    auth: Option<String>,
    extended: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpRcpt {
    local_part: String,
    domain: String,
    ascii: bool,
    notify: Option<&'static str>,
    orcpt: Option<(String, String)>,
    extended: bool,
}

#[pyclass(frozen, eq, eq_int, hash, module = "esp.native")]
#[derive(PartialEq, Eq, Hash)]
enum SmtpVerb {
    #[pyo3(name = "DATA")]
    Data,
    #[pyo3(name = "RSET")]
    Rset,
    #[pyo3(name = "NOOP")]
    Noop,
    #[pyo3(name = "QUIT")]
    Quit,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpBdat {
    size: u64,
    last: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpLine {
    octets: Py<PyBytes>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpProblem {
    kind: &'static str,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpPart {
    octets: Py<PyBytes>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpChunkEnd {
    kept: bool,
    last: bool,
    fault: Option<&'static str>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(crate) struct SmtpMessage {
    rest: Py<PyBytes>,
    size: u64,
    fault: Option<&'static str>,
    received: u32,
    has_date: bool,
    has_message_id: bool,
    has_from: bool,
}

impl SmtpMail {
    pub(crate) fn new(mail: Mail) -> Self {
        let (local_part, domain, ascii) = parts(mail.reverse_path);
        Self {
            local_part,
            domain,
            ascii,
            size: mail.size,
            body: mail.body.map(|body| match body {
                Body::SevenBit => "7BIT",
                Body::EightBitMime => "8BITMIME",
            }),
            smtputf8: mail.smtputf8,
            ret: mail.ret.map(|ret| match ret {
                Ret::Full => "FULL",
                Ret::Headers => "HDRS",
            }),
            envid: mail.envid,
            auth: mail.auth,
            extended: mail.extended,
        }
    }
}

impl SmtpMessage {
    pub(crate) fn new(py: Python<'_>, message: Message) -> Self {
        Self {
            rest: PyBytes::new(py, &message.rest).unbind(),
            size: message.size,
            fault: message.fault.map(fault_name),
            received: message.received,
            has_date: message.has_date,
            has_message_id: message.has_message_id,
            has_from: message.has_from,
        }
    }
}

fn convert(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Command(command) => return convert_command(py, command),
        Event::Problem(problem) => Py::new(
            py,
            SmtpProblem {
                kind: problem_name(problem),
            },
        )?
        .into_any(),
        Event::Line(line) => Py::new(
            py,
            SmtpLine {
                octets: PyBytes::new(py, &line).unbind(),
            },
        )?
        .into_any(),
        Event::Part(part) => Py::new(
            py,
            SmtpPart {
                octets: PyBytes::new(py, &part).unbind(),
            },
        )?
        .into_any(),
        Event::ChunkEnd { kept, last, fault } => Py::new(
            py,
            SmtpChunkEnd {
                kept,
                last,
                fault: fault.map(fault_name),
            },
        )?
        .into_any(),
        Event::Message(message) => Py::new(py, SmtpMessage::new(py, message))?.into_any(),
    })
}

fn convert_command(py: Python<'_>, command: Command) -> PyResult<Py<PyAny>> {
    Ok(match command {
        Command::Mail(mail) => Py::new(py, SmtpMail::new(mail))?.into_any(),
        Command::Rcpt(rcpt) => {
            let (local_part, domain, ascii) = parts(rcpt.forward_path);
            Py::new(
                py,
                SmtpRcpt {
                    local_part,
                    domain,
                    ascii,
                    notify: rcpt.notify.map(notify_name),
                    orcpt: rcpt.orcpt,
                    extended: rcpt.extended,
                },
            )?
            .into_any()
        }
        Command::Bdat { size, last } => Py::new(py, SmtpBdat { size, last })?.into_any(),
        Command::Data => Py::new(py, SmtpVerb::Data)?.into_any(),
        Command::Rset => Py::new(py, SmtpVerb::Rset)?.into_any(),
        Command::Noop => Py::new(py, SmtpVerb::Noop)?.into_any(),
        Command::Quit => Py::new(py, SmtpVerb::Quit)?.into_any(),
        Command::Other(line) => Py::new(
            py,
            SmtpLine {
                octets: PyBytes::new(py, &line).unbind(),
            },
        )?
        .into_any(),
    })
}

fn parts(path: Path) -> (String, String, bool) {
    let ascii = path.is_ascii();
    let mut domain = path.domain;
    if !domain.starts_with('[') {
        domain.make_ascii_lowercase();
    }
    (path.local_part, domain, ascii)
}

const fn notify_name(notify: Notify) -> &'static str {
    match (notify.success, notify.failure, notify.delay) {
        (false, false, false) => "NEVER",
        (true, false, false) => "SUCCESS",
        (false, true, false) => "FAILURE",
        (false, false, true) => "DELAY",
        (true, true, false) => "SUCCESS,FAILURE",
        (true, false, true) => "SUCCESS,DELAY",
        (false, true, true) => "FAILURE,DELAY",
        (true, true, true) => "SUCCESS,FAILURE,DELAY",
    }
}

const fn problem_name(problem: Problem) -> &'static str {
    match problem {
        Problem::BareLf => "bare-lf",
        Problem::BareCr => "bare-cr",
        Problem::LineTooLong => "line-too-long",
        Problem::Empty => "empty",
        Problem::MailSyntax => "mail-syntax",
        Problem::RcptSyntax => "rcpt-syntax",
        Problem::Path => "path",
        Problem::ReversePath => "reverse-path",
        Problem::Parameter => "parameter",
        Problem::UnknownParameter => "unknown-parameter",
        Problem::Argument => "argument",
        Problem::BdatSyntax => "bdat-syntax",
    }
}

const fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::BareLineEnd => "bare-line-end",
        Fault::TooLarge => "too-large",
        Fault::HeaderTooLarge => "header-too-large",
    }
}
