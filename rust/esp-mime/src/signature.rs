//! A filter over the three-octet pieces of a text: it rules out most texts without a needle, and never one that has it.

/// Bits of the table in which pieces are first entered: 16 KiB.
const LARGEST: u32 = 17;
/// Bits of the smallest signature: 64 octets.
const SMALLEST: u32 = 9;

/// The place of a piece among `2^LARGEST`; a smaller table takes it modulo its size.
#[inline]
const fn place(piece: u32) -> u32 {
    piece.wrapping_mul(0x9e37_79b1) >> (32 - LARGEST)
}

/// The pieces of `text`, each as 24 bits.
#[inline]
fn pieces(text: &[u8]) -> impl Iterator<Item = u32> + '_ {
    text.array_windows()
        .map(|&[first, second, third]| u32::from_be_bytes([0, first, second, third]))
}

/// The signature of a text: a power of two of octets, about a third of its bits set, unless the text fills the largest.
#[must_use]
pub fn signature(text: &[u8]) -> Vec<u8> {
    let bits = (u32::BITS
        - u32::try_from(text.len())
            .unwrap_or(u32::MAX)
            .leading_zeros()
        + 2)
    .clamp(SMALLEST, LARGEST);
    let mut words = vec![0_u64; 1 << (bits - 6)];
    let mask = (1_u32 << bits) - 1;
    for piece in pieces(text) {
        let place = place(piece) & mask;
        if let Some(word) = words.get_mut((place >> 6) as usize) {
            *word |= 1 << (place & 63);
        }
    }
    let smallest = 1 << (SMALLEST - 6);
    while words.len() > smallest {
        let set: u32 = words.iter().map(|word| word.count_ones()).sum();
        if set as usize > words.len() * 16 {
            break;
        }
        let half = words.len() / 2;
        let upper = words.split_off(half);
        for (low, high) in words.iter_mut().zip(upper) {
            *low |= high;
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Whether a text of this signature may contain the needle, both folded. An invalid signature means yes.
#[must_use]
pub fn may_contain(signature: &[u8], needle: &[u8]) -> bool {
    if !signature.len().is_power_of_two() {
        return true;
    }
    let mask = signature.len() - 1;
    pieces(needle).all(|piece| {
        let place = place(piece);
        signature
            .get((place >> 3) as usize & mask)
            .is_some_and(|octet| octet & (1 << (place & 7)) != 0)
    })
}
