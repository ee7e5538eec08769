//! What a crash left of a journal is harmless whatever it is, and whole records come back up to the first that is none.
#![no_main]

use esp_maildir::{Kept, kept_messages};
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8; 8] = b"ESPJRNL1";
const PAGE: usize = 4096;
const HEADER: usize = 24;
const EPOCH: u64 = 7;

fn record(epoch: u64, messages: &[u8]) -> Vec<u8> {
    let mut body = messages.to_vec();
    body.resize((HEADER + body.len()).next_multiple_of(PAGE) - HEADER, 0);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&epoch.to_le_bytes());
    sum.update(&body);
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let sum = sum.finalize().to_le_bytes();
    [MAGIC, &epoch.to_le_bytes()[..], &length, &sum, &body].concat()
}

fn journal(records: &[Vec<u8>]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.resize(PAGE, 0);
    [header, records.concat()].concat()
}

/// One with a single path.
fn message(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).unwrap().to_le_bytes();
    let one = 1_u32.to_le_bytes();
    [&5_i64.to_le_bytes()[..], &one, &one, b"p", &length, octets].concat()
}

fn octets_of(messages: &[Kept]) -> usize {
    messages.iter().map(|kept| kept.octets.len()).sum()
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[kind, at, octet], rest)) = octets.split_first_chunk::<3>() else {
        return;
    };
    assert!(octets_of(&kept_messages(rest)) <= rest.len());
    assert!(octets_of(&kept_messages(&journal(&[rest.to_vec()]))) <= rest.len());

    let written = Kept {
        paths: vec!["p".to_owned()],
        modified: 5,
        octets: rest.to_vec(),
    };
    let read = kept_messages(&journal(&[record(EPOCH, &message(rest))]));
    assert_eq!(read, [written]);

    let parts = rest.chunks((rest.len() / 3).max(1));
    let mut records: Vec<_> = parts.map(|part| record(EPOCH, part)).collect();
    let kept = kept_messages(&journal(&records));
    assert!(octets_of(&kept) <= records.concat().len());
    assert!(kept.iter().all(|message| !message.paths.is_empty()));

    // What stands behind them is of an earlier use of that half.
    records.push(record(EPOCH - 1, rest));
    assert_eq!(kept_messages(&journal(&records)), kept);

    // One octet of one is not what it was.
    let torn = usize::from(kind) % records.len();
    let before = kept_messages(&journal(&records[..torn]));
    let place = usize::from(at) * 257 % records[torn].len();
    records[torn][place] ^= octet.max(1);
    let left = kept_messages(&journal(&records));
    assert_eq!(
        left,
        if torn + 1 < records.len() {
            before
        } else {
            kept
        }
    );
});
