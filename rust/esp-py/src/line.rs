//! A connection that a thread without Python may write to.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// A peer that reads nothing for so many seconds will not read any more.
const PATIENCE: i64 = 60;

#[pyclass(frozen, module = "esp.native")]
pub(crate) struct Line(Arc<OwnedFd>);

#[pymethods]
impl Line {
    #[new]
    fn new(descriptor: i32) -> Self {
        #[allow(unsafe_code)] // `os.dup()` made it for us: nobody else has it.
        Self(Arc::new(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    fn shut(&self) {
        // One that is shut already is what was wanted.
        let _ = shutdown(&self.0, Shutdown::Both);
    }

    fn send(&self, octets: &[u8]) -> PyResult<usize> {
        send_some(&self.0, octets).map_err(|error| {
            PyOSError::new_err((error.raw_os_error(), "The connection takes nothing"))
        })
    }
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

/// Send it all, waiting for room; whoever reads the connection learns that it was lost.
fn send_all(socket: &OwnedFd, mut octets: &[u8]) -> Result<(), Errno> {
    let patience = Timespec {
        tv_sec: PATIENCE,
        tv_nsec: 0,
    };
    while !octets.is_empty() {
        let sent = send_some(socket, octets)?;
        octets = octets.get(sent..).unwrap_or_default();
        if sent == 0 && poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&patience))? == 0 {
            return Err(Errno::TIMEDOUT);
        }
    }
    Ok(())
}

/// What is to be sent when something has succeeded, or failed; known before that or after.
#[derive(Default)]
pub(crate) struct Verdict(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Open,
    Awaited {
        line: Arc<OwnedFd>,
        success: Vec<u8>,
        failure: Vec<u8>,
    },
    Given(bool),
}

impl Verdict {
    /// Send one or the other: when the verdict is given, or now, if it was.
    pub(crate) fn send(&self, line: &Line, success: Vec<u8>, failure: Vec<u8>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Given(succeeded) = *state else {
            *state = State::Awaited {
                line: Arc::clone(&line.0),
                success,
                failure,
            };
            return;
        };
        drop(state);
        let octets = if succeeded { success } else { failure };
        let _ = send_all(&line.0, &octets);
    }

    /// Give it.
    pub(crate) fn give(&self, succeeded: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Given(succeeded));
        drop(state);
        if let State::Awaited {
            line,
            success,
            failure,
        } = before
        {
            let octets = if succeeded { success } else { failure };
            let _ = send_all(&line, &octets);
        }
    }
}
