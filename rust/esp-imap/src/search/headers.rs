//! Heads that the database does not have yet, made of the headers in the messages' files.

use super::Search;
use crate::index::{Row, Table};
use esp_mime::Structure;
use std::io::Read as _;
use std::sync::Arc;

/// Octets of a header that are read; longer ones are an attack.
const LONGEST_HEADER: u64 = 1 << 20;

impl Search {
    /// Make the heads that the database does not have yet. A message whose file is gone too has an empty one.
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
fn read_header(file: std::fs::File, data: &mut Vec<u8>) -> std::io::Result<()> {
    const PIECE: u64 = 8 * 1024;
    let mut file = file.take(LONGEST_HEADER);
    loop {
        let before = data.len();
        file.by_ref().take(PIECE).read_to_end(data)?;
        if data.len() == before {
            return Ok(());
        }
        if let Some(end) = esp_mime::header_end(data) {
            data.truncate(end);
            return Ok(());
        }
    }
}
