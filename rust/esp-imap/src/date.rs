//! Dates of the grammar (RFC 3501 §9) and days of the calendar.

/// Microseconds in a day.
pub(crate) const DAY: i64 = 86_400_000_000;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Days from 1970-01-01 to a day of the Gregorian calendar, or `None` if there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=last).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// `(year, month 1–12, day)` of a day since 1970-01-01.
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (
        year_of_era + era * 400 + carry,
        usize::try_from(month).unwrap_or(1),
        day,
    )
}

fn digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<i64> {
    (lengths.contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn day_month_year(text: &str, day_lengths: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let mut fields = text.split('-');
    let (day, month, year) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let month = MONTHS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(month))?
        + 1;
    days(
        digits(year, 4..=4)?,
        i64::try_from(month).ok()?,
        digits(day.trim_start(), day_lengths)?,
    )
}

/// `date-text = date-day "-" date-month "-" date-year`, as days since the epoch.
pub(crate) fn parse_date(text: &[u8]) -> Option<i64> {
    day_month_year(std::str::from_utf8(text).ok()?, 1..=2)
}

/// `date-time` without its quotes, as microseconds since the epoch.
pub(crate) fn parse_date_time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut fields = text.trim_start().split(' ');
    let (date, time, zone) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let day = day_month_year(date, 1..=2)?;
    let mut fields = time.split(':');
    let mut part = |limit: i64| digits(fields.next()?, 2..=2).filter(|value| *value <= limit);
    let seconds = part(23)? * 3600 + part(59)? * 60 + part(60)?;
    if fields.next().is_some() {
        return None;
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let offset = digits(zone.get(1..)?, 4..=4)?;
    if offset % 100 > 59 {
        return None;
    }
    let offset = sign * (offset / 100 * 3600 + offset % 100 * 60);
    Some((day * 86_400 + seconds - offset) * 1_000_000)
}

/// Append `date-time` with its quotes, in UTC.
pub(crate) fn write_date_time(out: &mut Vec<u8>, micros: i64) {
    let (year, month, day) = civil(micros.div_euclid(DAY));
    let seconds = micros.rem_euclid(DAY) / 1_000_000;
    let two = |value: i64| {
        [
            b'0' + u8::try_from(value / 10 % 10).unwrap_or(0),
            b'0' + u8::try_from(value % 10).unwrap_or(0),
        ]
    };
    let [tens, ones] = two(day);
    // date-day-fixed = (SP DIGIT) / 2DIGIT
    out.extend_from_slice(&[b'"', if tens == b'0' { b' ' } else { tens }, ones, b'-']);
    out.extend_from_slice(
        MONTHS
            .get(month.wrapping_sub(1))
            .unwrap_or(&"Jan")
            .as_bytes(),
    );
    out.push(b'-');
    let year = year.clamp(0, 9999);
    out.extend_from_slice(&two(year / 100));
    out.extend_from_slice(&two(year % 100));
    out.push(b' ');
    out.extend_from_slice(&two(seconds / 3600));
    out.push(b':');
    out.extend_from_slice(&two(seconds / 60 % 60));
    out.push(b':');
    out.extend_from_slice(&two(seconds % 60));
    out.extend_from_slice(b" +0000\"");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_epoch_and_a_leap_day() {
        assert_eq!(parse_date(b"1-Jan-1970"), Some(0));
        assert_eq!(parse_date(b"29-feb-2024"), Some(19_782));
        assert_eq!(parse_date(b"29-Feb-2023"), None);
        assert_eq!(parse_date(b"31-Apr-2023"), None);
        assert_eq!(parse_date(b"1-Foo-2023"), None);
        assert_eq!(parse_date(b"1-Jan-23"), None);
    }

    #[test]
    fn the_zone_counts() {
        assert_eq!(
            parse_date_time(b"17-Jul-1996 02:44:25 -0700"),
            Some(837_596_665_000_000)
        );
        assert_eq!(parse_date_time(b" 1-Jan-1970 01:00:00 +0100"), Some(0));
        assert_eq!(parse_date_time(b"17-Jul-1996 24:44:25 -0700"), None);
    }

    proptest! {
        #[test]
        fn a_written_date_reads_the_same(seconds in -2_000_000_000i64..20_000_000_000) {
            let mut out = Vec::new();
            write_date_time(&mut out, seconds * 1_000_000);
            let text = out.get(1..out.len() - 1).unwrap();
            prop_assert_eq!(parse_date_time(text), Some(seconds * 1_000_000));
        }
    }
}
