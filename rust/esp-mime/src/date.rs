//! `Date` (RFC 5322 §3.3 and §4.3), as found in mail.

use crate::octets::within;

/// A moment and the zone it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub timestamp: i64,
    /// East of UTC.
    pub offset_minutes: i32,
}

impl Date {
    /// Seconds since 1970-01-01 00:00 UTC as a float, for Python.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "years have four digits")]
    pub const fn seconds(self) -> f64 {
        self.timestamp as f64
    }

    /// The day as written, in days since 1970-01-01: `SENTON` and the like disregard time and zone (RFC 3501 §6.4.4).
    #[must_use]
    pub const fn day(self) -> i64 {
        (self.timestamp + self.offset_minutes as i64 * 60).div_euclid(86_400)
    }
}

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

struct Words<'a> {
    data: &'a [u8],
    pos: usize,
}

impl<'a> Words<'a> {
    /// The next run of letters and digits, or a sign with what follows it; comments are skipped.
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut depth = 0_usize;
        while let Some(&octet) = self.data.get(self.pos) {
            match octet {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ if depth == 0
                    && (octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-')) =>
                {
                    break;
                }
                _ => {}
            }
            self.pos += 1;
        }
        let start = self.pos;
        let mut kind = self.data.get(start)?;
        if matches!(kind, b'+' | b'-') {
            self.pos += 1;
            kind = self.data.get(self.pos)?;
        }
        let digits = kind.is_ascii_digit();
        while self.data.get(self.pos).is_some_and(|octet| {
            if digits {
                octet.is_ascii_digit()
            } else {
                octet.is_ascii_alphabetic()
            }
        }) {
            self.pos += 1;
        }
        Some(within(self.data, start..self.pos))
    }

    fn number(&mut self) -> Option<(i64, usize)> {
        number(self.next()?)
    }

    /// A number without a sign, which would be a zone.
    fn time(&mut self) -> Option<(i64, usize)> {
        let start = self.pos;
        let word = self.next()?;
        if matches!(word.first(), Some(b'+' | b'-')) {
            self.pos = start;
            return None;
        }
        number(word)
    }
}

fn number(word: &[u8]) -> Option<(i64, usize)> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some((value, digits.len()))
}

fn month(word: &[u8]) -> Option<i64> {
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let name = word.get(..3)?.to_ascii_lowercase();
    (1..)
        .zip(MONTHS)
        .find(|(_, month)| *month == name)
        .map(|(number, _)| number)
}

/// `zone = (FWS ("+" / "-") 4DIGIT) / obs-zone`; an unknown zone is UTC.
fn zone(word: &[u8]) -> i32 {
    match word {
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let Some((value, 4)) = number(digits) else {
                return 0;
            };
            let Ok(value) = i32::try_from(value) else {
                return 0;
            };
            let minutes = value / 100 * 60 + value % 100;
            if minutes >= 24 * 60 {
                return 0;
            }
            if *sign == b'-' { -minutes } else { minutes }
        }
        [first, second, b'T' | b't'] => {
            let base = match first.to_ascii_uppercase() {
                b'E' => -5,
                b'C' => -6,
                b'M' => -7,
                b'P' => -8,
                _ => return 0,
            };
            match second.to_ascii_uppercase() {
                b'D' => (base + 1) * 60,
                b'S' => base * 60,
                _ => 0,
            }
        }
        // RFC 5322 §4.3: the military letters were defined wrongly and say nothing
        _ => 0,
    }
}

/// `date-time = [day-of-week ","] day month year hour ":" minute [":" second] [zone]`, any separators.
///
/// Also the order of `asctime` (`Mon Jan  1 12:00:00 2024`), which old software wrote. A day without a time, or with one
/// that is none, begins at 00:00:00 (RFC 5256 §2.2).
#[must_use]
pub fn parse(value: &[u8]) -> Option<Date> {
    let mut words = Words {
        data: value,
        pos: 0,
    };
    let mut word = words.next()?;
    let mut day_first = None;
    if word.first().is_some_and(u8::is_ascii_alphabetic) && month(word).is_none() {
        word = words.next()?;
    }
    if word.first().is_some_and(u8::is_ascii_digit) {
        day_first = Some(number(word)?);
        word = words.next()?;
    }
    let month = month(word)?;
    let ((day, day_digits), mut year) = match day_first {
        Some(day) => (day, Some(words.number()?)),
        None => (words.number()?, None),
    };
    let hour = words.time();
    let minute = hour.and_then(|_| words.time());
    let mut second = 0;
    let mut last = words.next();
    if let Some(word) = last
        && word.first().is_some_and(u8::is_ascii_digit)
        && let Some((value, 1..=2)) = number(word)
    {
        second = value;
        last = words.next();
    }
    if year.is_none() {
        year = last.and_then(number);
        last = words.next();
    }
    let (year, year_digits) = year?;
    // RFC 5322 §4.3: two digits 00–49 are 20yy, 50–99 and three digits count from 1900
    let year = match year_digits {
        2 if year < 50 => year + 2000,
        2 | 3 => year + 1900,
        4 => year,
        _ => return None,
    };
    if !(1..=31).contains(&day) || day_digits > 2 || !(1900..=9999).contains(&year) {
        return None;
    }
    let time = match (hour, minute) {
        (Some((hour @ 0..24, _)), Some((minute @ 0..60, _))) if second <= 60 => {
            hour * 3600 + minute * 60 + second.min(59)
        }
        _ => 0,
    };
    let offset_minutes = last.map_or(0, zone);
    let local = days(year, month, day) * 86_400 + time;
    Some(Date {
        timestamp: local - i64::from(offset_minutes) * 60,
        offset_minutes,
    })
}
