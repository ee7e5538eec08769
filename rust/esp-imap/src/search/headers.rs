//! Heads that the database does not have yet, made from the headers in the messages' files.

use super::Search;
use crate::index::{Row, Table};
use esp_mime::Structure;
use std::io::Read as _;
use std::sync::Arc;

/// Octets of a header that are read; a longer one is an attack.
const LONGEST_HEADER: u64 = 1 << 20;

impl Search {
    /// Make the heads that the database does not have yet. A message whose file is gone, too, gets an empty one.
    pub(super) fn read_heads(&mut self, positions: &[usize]) -> std::io::Result<()> {
        let view = Arc::clone(&self.view);
        let unread: Vec<Row> = {
            let table = view.index().read();
            self.rows(&table, positions)
                .filter(|(_, row)| !has_head(&table, row.content))
                .map(|(_, row)| *row)
                .collect()
        };
        let mut data = Vec::new();
        for row in unread {
            data.clear();
            if let Some(file) = self.files.open(view.index(), &row)? {
                read_header(file, &mut data)?;
            }
            let head = esp_mime::head(&Structure::parse(&data));
            view.index().write().heads.insert(row.content, &head);
        }
        Ok(())
    }
}

pub(super) fn has_head(table: &Table, content: i64) -> bool {
    table.heads.contains(content)
}

/// Read the octets of a file up to the end of its header.
fn read_header(file: impl std::io::Read, data: &mut Vec<u8>) -> std::io::Result<()> {
    let mut piece = 8 * 1024;
    let mut file = file.take(LONGEST_HEADER);
    loop {
        let before = data.len();
        file.by_ref().take(piece).read_to_end(data)?;
        if data.len() == before {
            return Ok(());
        }
        if let Some(end) = esp_mime::header_end(data) {
            data.truncate(end);
            return Ok(());
        }
        // As much again as was read: each time, all octets are searched from the beginning.
        piece = data.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Counts how often it is read.
    struct Endless(usize);

    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_header_is_read_up_to_its_end() {
        let mut data = Vec::new();
        for long in [1, 8_192, 8_189, 100_000] {
            let header = format!("A: {}\r\n\r\n", "x".repeat(long));
            data.clear();
            read_header(format!("{header}body").as_bytes(), &mut data).unwrap();
            assert_eq!(data, header.as_bytes(), "{long}");
        }
        data.clear();
        read_header(b"A: b".as_slice(), &mut data).unwrap();
        assert_eq!(data, b"A: b");
    }

    #[test]
    fn a_header_without_end_is_looked_at_a_few_times() {
        let (mut file, mut data) = (Endless(0), Vec::new());
        read_header(&mut file, &mut data).unwrap();
        assert_eq!(data.len() as u64, LONGEST_HEADER);
        assert!(file.0 < 100, "{}", file.0);
    }
}
