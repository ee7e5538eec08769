//! A connection that a thread without Python may write to.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Seconds; a peer that reads nothing for so long will not read any more.
const PATIENCE: i64 = 60;

#[pyclass(frozen, module = "esp.native")]
pub(crate) struct Line(Arc<OwnedFd>);

#[pymethods]
impl Line {
    #[new]
    fn new(descriptor: i32) -> PyResult<Self> {
        if descriptor < 0 {
            return Err(os_error(Errno::BADF));
        }
        // SAFETY: not -1, and Python keeps it open during the call.
        #[allow(unsafe_code)]
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        descriptor
            .try_clone_to_owned()
            .map(|own| Self(Arc::new(own)))
            .map_err(|error| PyOSError::new_err(error.to_string()))
    }

    fn send(&self, octets: &[u8]) -> PyResult<usize> {
        send_some(&self.0, octets).map_err(os_error)
    }

    fn shut(&self) {
        // If it is shut already, nothing is left to do.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

fn os_error(error: Errno) -> PyErr {
    PyOSError::new_err((error.raw_os_error(), "The connection takes nothing"))
}

/// Send as much as there is room for.
fn send_some(socket: &OwnedFd, octets: &[u8]) -> Result<usize, Errno> {
    loop {
        match send(socket, octets, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            result => return result,
        }
    }
}

fn send_all(socket: &OwnedFd, mut octets: &[u8]) -> Result<(), Errno> {
    let patience = Timespec {
        tv_sec: PATIENCE,
        tv_nsec: 0,
    };
    while !octets.is_empty() {
        let sent = send_some(socket, octets)?;
        octets = octets.get(sent..).unwrap_or_default();
        if sent == 0 {
            match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&patience)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Octets to send once an outcome is known: one text for success, one for failure. Either may come first.
#[derive(Default)]
pub(crate) struct Verdict(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Open,
    Awaited(Arc<OwnedFd>, Ends),
    Given(bool),
}

struct Ends {
    success: Vec<u8>,
    failure: Vec<u8>,
}

impl Ends {
    fn by(self, succeeded: bool) -> Vec<u8> {
        if succeeded {
            self.success
        } else {
            self.failure
        }
    }
}

impl Verdict {
    /// Have one of the texts sent when the outcome is given; if it is known already, return that text instead.
    pub(crate) fn finish(
        &self,
        line: &Line,
        success: Vec<u8>,
        failure: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let ends = Ends { success, failure };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Given(succeeded) = *state {
            return Some(ends.by(succeeded));
        }
        *state = State::Awaited(Arc::clone(&line.0), ends);
        None
    }

    /// Give the outcome.
    pub(crate) fn give(&self, succeeded: bool) {
        let before = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, State::Given(succeeded))
        };
        if let State::Awaited(line, ends) = before
            && send_all(&line, &ends.by(succeeded)).is_err()
        {
            // So that the reader learns that nothing more will come.
            let _ = shutdown(&line, Shutdown::Both);
        }
    }
}
