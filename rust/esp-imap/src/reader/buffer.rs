//! Octets of a connection that are not read yet, and where the current command and its current line begin in them.

#[derive(Debug, Default)]
pub(super) struct Buffer {
    octets: Vec<u8>,
    /// Where the current command, line or literal begins.
    start: usize,
    /// Where its current line begins.
    line: usize,
    /// From where to search for a line end.
    scan: usize,
    /// Octets of literals in line with the current command.
    literals: usize,
}

/// Where a line ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineEnd {
    /// Before CR LF, or LF alone.
    pub(super) end: usize,
    /// Where the next line begins.
    pub(super) next: usize,
}

impl Buffer {
    pub(super) fn feed(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Octets not read yet.
    pub(super) fn len(&self) -> usize {
        self.octets.len() - self.start
    }

    /// Drop everything, and free its memory.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Octets of literals in line with the current command.
    pub(super) fn literals(&self) -> usize {
        self.literals
    }

    /// A new command, line or literal begins at `at`.
    pub(super) fn begin(&mut self, at: usize) {
        self.start = at;
        self.line = at;
        self.scan = at;
        self.literals = 0;
        if self.start >= self.octets.len() {
            self.octets.clear();
            (self.start, self.line, self.scan) = (0, 0, 0);
            if self.octets.capacity() > 65_536 {
                self.octets = Vec::new();
            }
        } else if self.start * 2 >= self.octets.len() {
            // Moves no more octets than were read since the last time, so the total stays linear.
            self.octets.drain(..self.start);
            (self.start, self.line, self.scan) = (0, 0, 0);
        }
    }

    /// The current command goes on after a literal of `size` octets that begins at `at`.
    pub(super) fn begin_behind_literal(&mut self, at: usize, size: usize) {
        // From now on searches for a line end after the literal, and not before all of the literal is there.
        self.literals += size;
        self.line = at + size;
        self.scan = self.line;
    }

    /// Whether the current line has begun: the literal before it is there.
    pub(super) fn line_begun(&self) -> bool {
        self.octets.len() >= self.line
    }

    /// Octets from the beginning of the command to `end`.
    pub(super) fn command(&self, end: usize) -> &[u8] {
        self.octets.get(self.start..end).unwrap_or_default()
    }

    /// The first octets of the command, as many as there are.
    pub(super) fn first(&self, octets: usize) -> &[u8] {
        self.command(self.octets.len().min(self.start + octets))
    }

    /// Octets of the current line to `end`.
    pub(super) fn line(&self, end: usize) -> &[u8] {
        self.octets.get(self.line..end).unwrap_or_default()
    }

    /// Take `count` octets, which are there; they are copied only if there are others around them.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        let end = self.start + count;
        let octets = if self.start == 0 && end == self.octets.len() {
            std::mem::take(&mut self.octets)
        } else {
            self.command(end).to_vec()
        };
        self.begin(end);
        octets
    }

    /// Skip `count` octets, which are there.
    pub(super) fn skip(&mut self, count: usize) {
        self.begin(self.start + count);
    }

    /// The end of the current line, once it is there.
    pub(super) fn line_end(&mut self) -> Option<LineEnd> {
        let rest = self.octets.get(self.scan..).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', rest) else {
            self.scan = self.octets.len();
            return None;
        };
        let lf = self.scan + length;
        let line = self.line(lf);
        let cr = usize::from(line.ends_with(b"\r"));
        Some(LineEnd {
            end: self.line + line.len() - cr,
            next: lf + 1,
        })
    }

    /// Whether the command being read, without its literals, is longer than `than`, whether or not its end has come.
    pub(super) fn is_longer(&self, than: usize) -> bool {
        let rest = self.octets.get(self.scan..).unwrap_or_default();
        let seen =
            memchr::memchr(b'\n', rest).map_or(self.octets.len(), |length| self.scan + length);
        seen - self.start > than + self.literals
    }
}
