//! Durable batch delivery, slices, flag renames and scans of Maildirs.
//!
//! In: octets, folders below one root, flag letters. Out: base names and paths of files that are on the disk when the
//! call returns. The caller decides what a message means: a function passed to [`Store::deliver`] sees its octets while
//! they are in memory anyway.
//!
//! Maildir as in <https://cr.yp.to/proto/maildir.html>, names extended as in Maildir++ (`,S=<size>`).

mod deliver;
mod error;
mod files;
mod folder;
mod journal;
mod link;
mod map;
mod pool;
mod recover;
mod small;
mod spool;
mod store;

pub use deliver::{Body, Item, Stored, Target};
pub use error::{Failure, Reason};
pub use files::{Entry, Rename};
pub use journal::{Kept, kept_messages};
pub use recover::LeftJournals;
pub use small::{Underway, Writing};
pub use spool::Spool;
pub use store::{Store, sync_file_system};
