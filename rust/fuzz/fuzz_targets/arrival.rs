//! Any octets may be appended: what is kept has no bare LF and no NUL, and comes the same however it was cut.
#![no_main]

use esp_mime::Arrival;
use libfuzzer_sys::fuzz_target;

fn arrived(octets: &[u8], literal8: bool, cut: usize) -> Option<Vec<u8>> {
    let mut arrival = Arrival::new(literal8);
    let mut out = Vec::new();
    for piece in octets.chunks(cut.max(1)) {
        arrival.push(piece, &mut out).ok()?;
    }
    arrival.finish(&mut out).ok()?;
    Some(out)
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[kind, cut], message)) = octets.split_first_chunk::<2>() else {
        return;
    };
    let literal8 = kind & 1 == 1;
    let whole = arrived(message, literal8, message.len());
    assert_eq!(whole, arrived(message, literal8, usize::from(cut)));
    // What may stand as it is stands as it is.
    if Arrival::new(literal8).is_plain(message) {
        assert_eq!(whole.as_deref(), Some(message));
    }
    if let Some(kept) = whole {
        assert!(!kept.contains(&0));
        let bare = kept.iter().enumerate().any(|(at, octet)| {
            *octet == b'\n' && at.checked_sub(1).and_then(|before| kept.get(before)) != Some(&b'\r')
        });
        assert!(!bare);
    }
});
