//! The compression of stored text: one block of LZ4, without a frame and without its length.

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// The most octets that `compress` adds for `length`, so that a vector need not grow meanwhile.
pub(crate) const fn bound(length: usize) -> usize {
    get_maximum_output_size(length)
}

/// Add `data` to `out`, compressed.
pub(crate) fn compress(data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bound(data.len()), 0);
    // The only possible error is too little room for the worst case, and that room was just made.
    let written = compress_into(data, out.get_mut(start..).unwrap_or_default()).unwrap_or(0);
    out.truncate(start + written);
}

/// Make `out` what was given to `compress`, exactly `length` octets; `None` if `data` was not made by it.
///
/// Takes `length` octets of memory whatever `data` is; the caller ensures that this is not too much.
pub(crate) fn decompress(data: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.resize(length, 0);
    (decompress_into(data, out).ok()? == length).then_some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Written by the compressor of ESP's first versions; such rows are stored for years.
    const STORED: &[u8] = b"\xff(subject: lists of parts\nfrom: ann <ann@example.org>\n=-=\x02\x00\xff\x17@dearG\x01Q\
        , thee\x01\x05d\x01\x9f is here; \x00\x08`long.\n";

    #[test]
    fn what_was_stored_by_the_first_versions_is_read() {
        let text = format!(
            "subject: lists of parts\nfrom: ann <ann@example.org>\n{}dear ann, the list of parts is here; \
             ann, the list of parts is long.\n",
            "=-".repeat(150)
        );
        let mut out = Vec::new();
        assert_eq!(decompress(STORED, text.len(), &mut out), Some(()));
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let mut out = Vec::new();
        for length in [0, 1, 420, 422, 100_000] {
            assert_eq!(decompress(STORED, length, &mut out), None, "{length}");
            assert!(out.capacity() <= 200_000);
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(data in prop::collection::vec(0_u8..4, 0..3_000), before in 0..3_usize) {
            let mut packed = vec![7; before];
            compress(&data, &mut packed);
            prop_assert!(packed.len() <= before + bound(data.len()));
            let mut out = vec![1, 2, 3];
            prop_assert_eq!(decompress(packed.get(before..).unwrap(), data.len(), &mut out), Some(()));
            prop_assert_eq!(out, data);
        }

        #[test]
        fn any_octets_with_any_length_are_read_or_refused(
            data in prop::collection::vec(any::<u8>(), 0..200), length in 0..20_000_usize
        ) {
            let mut out = Vec::new();
            let read = decompress(&data, length, &mut out).is_some();
            prop_assert!(!read || out.len() == length);
        }

        #[test]
        fn damage_is_survived(at in 0..STORED.len(), octet: u8, length in 0..1_000_usize) {
            let mut data = STORED.to_vec();
            *data.get_mut(at).unwrap() = octet;
            let mut out = Vec::new();
            let read = decompress(&data, length, &mut out).is_some();
            prop_assert!(!read || out.len() == length);
        }
    }
}
