//! A fast compression for stored text: the block format of LZ4 (a token of two lengths, literals, a 16-bit offset).

const MIN_MATCH: usize = 4;
/// The last octets are always literals, as the format wants.
const TAIL: usize = 12;
const HASH_BITS: u32 = 12;
const WINDOW: usize = 65_535;

#[inline]
fn four(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?
        .first_chunk::<4>()
        .map(|octets| u32::from_le_bytes(*octets))
}

#[inline]
fn eight(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..at + 8)?
        .first_chunk::<8>()
        .map(|octets| u64::from_le_bytes(*octets))
}

#[inline]
const fn slot(value: u32) -> usize {
    (value.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

/// How many octets at `a` and `b` (behind `a`) are the same, up to `end`.
fn common(data: &[u8], mut a: usize, mut b: usize, end: usize) -> usize {
    let start = b;
    while b + 8 <= end {
        let (Some(x), Some(y)) = (eight(data, a), eight(data, b)) else {
            break;
        };
        if x != y {
            return b - start + ((x ^ y).trailing_zeros() / 8) as usize;
        }
        a += 8;
        b += 8;
    }
    while b < end && data.get(a) == data.get(b) {
        a += 1;
        b += 1;
    }
    b - start
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 255 {
        out.push(255);
        length -= 255;
    }
    out.push(u8::try_from(length).unwrap_or(0));
}

fn nibble(length: usize) -> u8 {
    u8::try_from(length.min(15)).unwrap_or(15)
}

/// Add `data` to `out`, compressed.
pub(crate) fn compress(data: &[u8], out: &mut Vec<u8>) {
    let mut table = [0_u32; 1 << HASH_BITS];
    let end = data.len().saturating_sub(TAIL);
    let (mut at, mut literal, mut misses) = (1_usize, 0_usize, 0_usize);
    while at < end {
        let Some(value) = four(data, at) else {
            break;
        };
        let Some(entry) = table.get_mut(slot(value)) else {
            break;
        };
        let before = *entry as usize;
        *entry = u32::try_from(at).unwrap_or(0);
        if before == 0 || at - before > WINDOW || four(data, before) != Some(value) {
            at += 1 + (misses >> 5);
            misses += 1;
            continue;
        }
        misses = 0;
        let matched = MIN_MATCH
            + common(
                data,
                before + MIN_MATCH,
                at + MIN_MATCH,
                data.len().saturating_sub(5).max(at + MIN_MATCH),
            );
        let literals = data.get(literal..at).unwrap_or_default();
        let extra = matched - MIN_MATCH;
        out.push(nibble(literals.len()) << 4 | nibble(extra));
        if literals.len() >= 15 {
            length(out, literals.len() - 15);
        }
        out.extend_from_slice(literals);
        out.extend_from_slice(&u16::try_from(at - before).unwrap_or(0).to_le_bytes());
        if extra >= 15 {
            length(out, extra - 15);
        }
        at += matched;
        literal = at;
    }
    let literals = data.get(literal..).unwrap_or_default();
    out.push(nibble(literals.len()) << 4);
    if literals.len() >= 15 {
        length(out, literals.len() - 15);
    }
    out.extend_from_slice(literals);
}

fn read_length(data: &mut &[u8], nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let (octet, rest) = data.split_first()?;
            *data = rest;
            length = length.checked_add(usize::from(*octet))?;
            if *octet != 255 {
                break;
            }
        }
    }
    Some(length)
}

/// Octets copied at once where it does not matter that some are too many.
const STRIDE: usize = 16;

/// Make `out` what `compress` was given, exactly `length` octets; `None` when `data` is nothing it made.
pub(crate) fn decompress(mut data: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.resize(length + STRIDE, 0);
    let mut at = 0_usize;
    loop {
        let (token, rest) = data.split_first()?;
        data = rest;
        let literals = read_length(&mut data, token >> 4)?;
        if literals > length - at {
            return None;
        }
        if literals <= STRIDE
            && let Some(text) = data.first_chunk::<STRIDE>()
        {
            *out.get_mut(at..)?.first_chunk_mut::<STRIDE>()? = *text;
        } else {
            out.get_mut(at..at + literals)?
                .copy_from_slice(data.get(..literals)?);
        }
        at += literals;
        data = data.get(literals..)?;
        if data.is_empty() {
            out.truncate(length);
            return (at == length).then_some(());
        }
        let (offset, rest) = data.split_first_chunk::<2>()?;
        data = rest;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let mut matched = read_length(&mut data, token & 15)?.checked_add(MIN_MATCH)?;
        let from = at.checked_sub(offset)?;
        if offset == 0 || matched > length - at {
            return None;
        }
        if offset >= STRIDE && matched <= STRIDE {
            let text = *out.get(from..)?.first_chunk::<STRIDE>()?;
            *out.get_mut(at..)?.first_chunk_mut::<STRIDE>()? = text;
            at += matched;
            continue;
        }
        // A match may reach into what it makes itself.
        while matched > 0 {
            let chunk = matched.min(at - from);
            out.copy_within(from..from + chunk, at);
            at += chunk;
            matched -= chunk;
        }
    }
}
