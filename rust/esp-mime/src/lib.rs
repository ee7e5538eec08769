//! Octets of a message to offsets, headers, decoded text and IMAP wire strings.
//!
//! In: the octets of one message, however broken. Out: where its parts are ([`Structure`]), what IMAP says about it
//! ([`describe()`]), the octets of a section ([`Section`]), what a search looks at ([`SearchText`]).
//!
//! RFC 5322, 2045–2049, 2047, 2183, 2231, 3501 §7.4.2, 5256 §2.1, 6532, 8970. Nothing here reads files, knows Python or
//! decides anything. Every function is linear in its input, has a bound on depth, and cannot fail.

mod address;
mod bodystructure;
mod date;
mod describe;
mod grammar;
mod header;
mod identifiers;
mod octets;
mod params;
mod section;
mod structure;
mod wire;

pub use address::{Address, parse_list};
pub use date::{Date, parse as parse_date};
pub use describe::{Description, describe, describe_structure};
pub use header::{Field, Fields, header_end};
pub use section::{Octets, Section, SectionText, header_fields};
pub use structure::{Kind, MAX_DEPTH, MAX_PARTS, Part, Structure};

#[cfg(test)]
mod tests;
