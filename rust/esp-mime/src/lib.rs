//! Octets of a message to offsets, headers, decoded text and IMAP wire strings.
//!
//! In: the octets of one message, however broken. Out: where its parts are ([`Structure`]), what IMAP shows about it
//! ([`describe()`]), the octets of a section ([`Section`]), what searches look at ([`SearchText`]),
//! what sorting and threading look at ([`head()`]).
//!
//! RFC 5322, 2045–2049, 2047, 2183, 2231, 3501 §7.4.2, 5051, 5256 §2.1, 5957 §3, 6532, 8970. Nothing here reads files,
//! knows Python or decides anything. Every function is linear in its input, has a bound on depth, and cannot fail.

mod address;
mod arrival;
mod bodystructure;
mod charset;
mod collation;
mod date;
mod describe;
mod encoded_word;
mod fold;
mod grammar;
mod head;
mod header;
mod html;
mod identifiers;
mod octets;
mod pack;
mod params;
mod section;
mod signature;
mod structure;
mod subject;
mod text;
mod transfer;
mod wire;

pub use address::{Address, parse_list};
pub use arrival::{Arrival, MisplacedNul};
pub use charset::decode_text;
pub use collation::collation_key;
pub use date::{Date, parse as parse_date};
pub use describe::{Description, Threading, describe, describe_structure, threading};
pub use encoded_word::decode as decode_header;
pub use fold::fold;
pub use head::{HEAD_FIELDS, Head, HeadKey, head};
pub use header::{Field, Fields, header_end};
pub use section::{Octets, Section, SectionText, header_fields};
pub use signature::{may_contain, signature};
pub use structure::{Kind, MAX_DEPTH, MAX_PARTS, Part, Structure};
pub use subject::{BaseSubject, base_subject};
pub use text::{Indexed, Needle, Scope, SearchText, index, preview, search_text};
pub use transfer::{decode_base64, decode_quoted_printable};

#[cfg(test)]
mod tests;
