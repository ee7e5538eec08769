//! A file's octets without a copy of them in memory.

use rustix::fd::AsFd;
use rustix::io::Result;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A read-only view of a whole file.
pub(crate) struct Mapped {
    start: *mut std::ffi::c_void,
    length: usize,
}

impl Mapped {
    /// Map `length` octets of `file`.
    ///
    /// The file must not be truncated meanwhile: reading beyond its end would end the process. Spools and message files
    /// of a delivery are used only by us until the call that maps them has returned.
    #[allow(unsafe_code)] // The only way to parse a large message in bounded memory.
    pub(crate) fn new(file: impl AsFd, length: u64) -> Result<Self> {
        let length = usize::try_from(length).map_err(|_| rustix::io::Errno::FBIG)?;
        if length == 0 {
            return Ok(Self {
                start: std::ptr::null_mut(),
                length,
            });
        }
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                0,
            )?
        };
        Ok(Self { start, length })
    }

    #[allow(unsafe_code)]
    pub(crate) fn octets(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: `start` is valid for `length` octets until `drop`, and nobody writes to the file any more.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Mapped {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: exactly what `new` mapped; no slice outlives `self`.
            let _ = unsafe { munmap(self.start, self.length) };
        }
    }
}
