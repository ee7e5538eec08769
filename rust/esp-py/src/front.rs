//! The Python interface of `esp_smtp::Front`.

use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use esp_smtp::{Bounds, Census, Crowded, Departure, Front, Notice, Path, Terms, Transaction};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::smtp::{SmtpLimits, SmtpMail, SmtpMessage, SmtpReader};

/// Add this interface's classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SmtpCensus>()?;
    module.add_class::<SmtpNumbers>()?;
    module.add_class::<SmtpFront>()?;
    module.add_class::<SmtpAsked>()?;
    module.add_class::<SmtpArrived>()?;
    module.add_class::<SmtpDeparture>()?;
    module.add_class::<SmtpExhausted>()?;
    module.add_class::<SmtpClosed>()
}

#[pyclass(frozen, module = "esp.native")]
struct SmtpCensus(Arc<Census>);

#[pymethods]
impl SmtpCensus {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    fn enter(
        &self,
        address: IpAddr,
        most: usize,
        most_each: Option<usize>,
    ) -> Option<&'static str> {
        let entered = self.0.enter(address, most, most_each.unwrap_or(usize::MAX));
        entered.err().map(|crowded| match crowded {
            Crowded::InAll => "all",
            Crowded::FromAddress => "address",
        })
    }

    fn leave(&self, address: IpAddr) {
        self.0.leave(address);
    }

    #[getter]
    fn total(&self) -> usize {
        self.0.total()
    }
}

#[pyclass(frozen, module = "esp.native")]
struct SmtpNumbers(Arc<AtomicU64>);

#[pymethods]
impl SmtpNumbers {
    #[new]
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[pyclass(frozen, module = "esp.native")]
struct SmtpFront(Front<Py<PyAny>>);

#[pymethods]
impl SmtpFront {
    #[new]
    #[pyo3(signature = (
        listener, *, greeting, hostname, features, lmtp, max_message_size, max_recipients, limits, census, numbers,
        most, most_each, idle, data
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        listener: i32,
        greeting: Vec<u8>,
        hostname: String,
        features: Vec<u8>,
        lmtp: bool,
        max_message_size: u64,
        max_recipients: usize,
        limits: &SmtpLimits,
        census: &SmtpCensus,
        numbers: &SmtpNumbers,
        most: usize,
        most_each: usize,
        idle: f64,
        data: f64,
    ) -> PyResult<Self> {
        if listener < 0 {
            return Err(PyOSError::new_err("The socket is closed"));
        }
        // SAFETY: not -1, and `socket.detach()` has given it up, so that nobody else closes it.
        #[allow(unsafe_code)]
        let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(listener) });
        let terms = Terms {
            greeting,
            hostname,
            features,
            lmtp,
            max_message_size,
            max_recipients,
            limits: Arc::clone(&limits.0),
        };
        let bounds = Bounds {
            most,
            most_each,
            idle: seconds(idle)?,
            data: seconds(data)?,
        };
        Front::start(
            listener,
            terms,
            bounds,
            Arc::clone(&census.0),
            Arc::clone(&numbers.0),
        )
        .map(Self)
        .map_err(|error| PyOSError::new_err(error.to_string()))
    }

    fn fileno(&self) -> i32 {
        self.0.descriptor().as_raw_fd()
    }

    fn notices(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        self.0
            .notices()
            .into_iter()
            .map(|notice| convert(py, notice))
            .collect()
    }

    #[pyo3(signature = (local_part, domain, value, *, room, lasting))]
    fn remember(
        &self,
        local_part: String,
        domain: String,
        value: Py<PyAny>,
        room: Option<u64>,
        lasting: f64,
    ) -> PyResult<()> {
        let path = Path { local_part, domain };
        let room = room.unwrap_or(u64::MAX);
        self.0
            .remember(path, Arc::new(value), room, seconds(lasting)?);
        Ok(())
    }

    fn forget(&self) {
        self.0.forget();
    }

    fn accept(&self, connection: u64, value: Py<PyAny>) {
        self.0.accept(connection, Arc::new(value));
    }

    fn leave(&self, connection: u64) {
        self.0.leave(connection);
    }

    fn reply(&self, connection: u64, reply: Vec<u8>, errors: u32) -> bool {
        self.0.reply(connection, reply, errors)
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn close(&self) {
        self.0.close();
    }

    fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.0.counts()
    }

    fn entered(&self) -> u64 {
        self.0.entered()
    }
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpAsked {
    connection: u64,
    local_part: String,
    domain: String,
    size: u64,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpArrived {
    connection: u64,
    address: String,
    hello: String,
    extended: bool,
    mail: Py<SmtpMail>,
    recipients: Vec<Py<PyAny>>,
    message: Py<SmtpMessage>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpDeparture {
    descriptor: i32,
    number: u64,
    address: String,
    entered: bool,
    late: bool,
    ended: bool,
    errors: u32,
    data_left: Option<f64>,
    reader: Py<SmtpReader>,
    hello: Option<String>,
    extended: bool,
    mail: Option<Py<SmtpMail>>,
    recipients: Vec<Py<PyAny>>,
    unsent: Py<PyBytes>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
struct SmtpExhausted {
    error: String,
}

#[pyclass(frozen, module = "esp.native")]
struct SmtpClosed;

fn convert(py: Python<'_>, notice: Notice<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    Ok(match notice {
        Notice::Recipient {
            connection,
            path,
            size,
        } => {
            let asked = SmtpAsked {
                connection,
                local_part: path.local_part,
                domain: path.domain,
                size,
            };
            Py::new(py, asked)?.into_any()
        }
        Notice::Message {
            connection,
            address,
            hello,
            extended,
            transaction,
            message,
        } => {
            let (mail, recipients) = parts(py, transaction)?;
            let arrived = SmtpArrived {
                connection,
                address: address.to_string(),
                hello,
                extended,
                mail,
                recipients,
                message: Py::new(py, SmtpMessage::new(py, message))?,
            };
            Py::new(py, arrived)?.into_any()
        }
        Notice::Departure(departure) => Py::new(py, leaving(py, *departure)?)?.into_any(),
        Notice::Exhausted(error) => {
            let error = error.to_string();
            Py::new(py, SmtpExhausted { error })?.into_any()
        }
        Notice::Closed => Py::new(py, SmtpClosed)?.into_any(),
    })
}

fn leaving(py: Python<'_>, departure: Departure<Py<PyAny>>) -> PyResult<SmtpDeparture> {
    let conversation = departure.conversation;
    let (mail, recipients) = match conversation.transaction {
        Some(transaction) => {
            let (mail, recipients) = parts(py, transaction)?;
            (Some(mail), recipients)
        }
        None => (None, Vec::new()),
    };
    Ok(SmtpDeparture {
        number: departure.number,
        address: departure.address.to_string(),
        entered: departure.entered,
        late: departure.late,
        ended: departure.ended,
        errors: departure.errors,
        data_left: departure.data_left.map(|left| left.as_secs_f64()),
        reader: Py::new(py, SmtpReader(conversation.reader))?,
        hello: conversation.hello,
        extended: conversation.extended,
        mail,
        recipients,
        unsent: PyBytes::new(py, &conversation.unsent).unbind(),
        descriptor: departure.stream.into_raw_fd(),
    })
}

type Parts = (Py<SmtpMail>, Vec<Py<PyAny>>);

fn parts(py: Python<'_>, transaction: Transaction<Py<PyAny>>) -> PyResult<Parts> {
    let Transaction { mail, recipients } = transaction;
    let recipients = recipients
        .iter()
        .map(|recipient| recipient.clone_ref(py))
        .collect();
    Ok((Py::new(py, SmtpMail::new(mail))?, recipients))
}

fn seconds(number: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(number).map_err(|error| PyValueError::new_err(error.to_string()))
}
