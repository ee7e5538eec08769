//! Which header fields of a message are remembered: those that matter for it or for its structure.

use std::ops::Range;

/// A field by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
    References,
    MimeVersion,
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentDisposition,
    ContentLanguage,
    ContentLocation,
    ContentMd5,
}

impl Tag {
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let chosen = |known: &str, tag: Self| is(known).then_some(tag);
        match name.len() {
            2 => chosen("To", Self::To).or_else(|| chosen("Cc", Self::Cc)),
            3 => chosen("Bcc", Self::Bcc),
            4 => chosen("From", Self::From).or_else(|| chosen("Date", Self::Date)),
            6 => chosen("Sender", Self::Sender),
            7 => chosen("Subject", Self::Subject),
            8 => chosen("Reply-To", Self::ReplyTo),
            10 => chosen("Message-ID", Self::MessageId)
                .or_else(|| chosen("References", Self::References))
                .or_else(|| chosen("Content-ID", Self::ContentId)),
            11 => chosen("In-Reply-To", Self::InReplyTo)
                .or_else(|| chosen("Content-MD5", Self::ContentMd5)),
            12 => chosen("Content-Type", Self::ContentType)
                .or_else(|| chosen("MIME-Version", Self::MimeVersion)),
            16 => chosen("Content-Language", Self::ContentLanguage)
                .or_else(|| chosen("Content-Location", Self::ContentLocation)),
            19 => chosen("Content-Disposition", Self::ContentDisposition)
                .or_else(|| chosen("Content-Description", Self::ContentDescription)),
            25 => chosen("Content-Transfer-Encoding", Self::ContentTransferEncoding),
            _ => None,
        }
    }

    /// Whether it is about one part (RFC 2045 §3), not about a message.
    pub(super) const fn is_of_part(self) -> bool {
        matches!(
            self,
            Self::ContentType
                | Self::ContentTransferEncoding
                | Self::ContentId
                | Self::ContentDescription
                | Self::ContentDisposition
                | Self::ContentLanguage
                | Self::ContentLocation
                | Self::ContentMd5
        )
    }
}

/// A field of a message, and where its body is.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) tag: Tag,
    pub(super) value: Range<usize>,
}
