//! The names of a mailbox's message files, one after the other.

use crate::copy::CopyError;

/// Where a name is in the `Names` that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    start: u32,
    /// Length of the Maildir base name.
    base: u16,
    /// Length of the letters + 1; 0 while the file is in `new`.
    letters: u8,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    octets: Vec<u8>,
    /// Octets of names that are no longer used.
    waste: usize,
}

impl Name {
    fn base_end(self) -> usize {
        self.start as usize + usize::from(self.base)
    }

    fn end(self) -> usize {
        self.base_end() + usize::from(self.letters).saturating_sub(1)
    }
}

impl Names {
    /// Add a name.
    ///
    /// # Errors
    /// `CopyError` when it is longer than a file name can be, or there are too many.
    pub(super) fn add(&mut self, base: &[u8], letters: Option<&[u8]>) -> Result<Name, CopyError> {
        let start = u32::try_from(self.octets.len()).map_err(|_| CopyError("too many rows"))?;
        let lengths = (
            u16::try_from(base.len()),
            u8::try_from(letters.map_or(0, |letters| letters.len() + 1)),
        );
        let (Ok(base_length), Ok(letters_length)) = lengths else {
            return Err(CopyError("a file name is too long"));
        };
        self.octets.extend_from_slice(base);
        self.octets.extend_from_slice(letters.unwrap_or_default());
        Ok(Name {
            start,
            base: base_length,
            letters: letters_length,
        })
    }

    /// Add a name of `others`.
    pub(super) fn adopt(&mut self, name: &mut Name, others: &Self) {
        let octets = others.octets.get(name.start as usize..name.end());
        name.start = u32::try_from(self.octets.len()).unwrap_or(u32::MAX);
        self.octets.extend_from_slice(octets.unwrap_or_default());
    }

    /// Maildir base name, and letters if it is in `cur`.
    pub(super) fn read(&self, name: Name) -> (&[u8], Option<&[u8]>) {
        let octets = |from: usize, to: usize| self.octets.get(from..to).unwrap_or_default();
        let (base, end) = (name.base_end(), name.end());
        let letters = (name.letters > 0).then(|| octets(base, end));
        (octets(name.start as usize, base), letters)
    }

    /// Count a name that is no longer used.
    pub(super) fn drop(&mut self, name: Name) {
        self.waste += name.end() - name.start as usize;
    }

    /// Whether it is worth writing the names again.
    pub(super) fn is_wasteful(&self) -> bool {
        self.waste > 65_536 && self.waste * 2 > self.octets.len()
    }

    /// Keep only these names.
    pub(super) fn rewrite<'a>(&mut self, kept: impl Iterator<Item = &'a mut Name>) {
        let room = self.octets.len().saturating_sub(self.waste);
        let mut anew = Self {
            octets: Vec::with_capacity(room),
            waste: 0,
        };
        for name in kept {
            anew.adopt(name, self);
        }
        *self = anew;
    }

    /// Make room for all names of `others`.
    pub(super) fn reserve(&mut self, others: &Self) {
        self.octets.reserve_exact(others.octets.len());
    }

    /// Octets of memory taken.
    pub(super) fn memory(&self) -> usize {
        self.octets.capacity()
    }
}
