//! What follows the name of a command, as classes: one for each variant of `esp_imap::Arguments`.

use super::parsed::{FetchItems, ReturnOptions, SearchOrder, SearchProgram, SequenceSet};
use super::{any, names, notify, octets, texts};
use esp_imap as imap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::sync::Arc;

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct LoginArguments {
    username: String,
    password: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AuthenticateArguments {
    mechanism: String,
    initial: Option<Py<PyBytes>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct IdArguments {
    fields: Option<Py<PyDict>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct EnableArguments {
    capabilities: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct SelectArguments {
    mailbox: String,
    condstore: bool,
    qresync: Option<Py<QresyncParameter>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct QresyncParameter {
    uidvalidity: u32,
    modseq: i64,
    known_uids: Option<SequenceSet>,
    known_sequence: Option<(SequenceSet, SequenceSet)>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct CreateArguments {
    mailbox: String,
    special_use: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct MailboxArguments {
    mailbox: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct QuotaArguments {
    root: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct RenameArguments {
    mailbox: String,
    new_name: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct ListArguments {
    reference: String,
    patterns: Py<PyTuple>,
    extended: bool,
    selection: Py<PyTuple>,
    returns: Py<PyTuple>,
    status: Py<PyTuple>,
    metadata: Option<Py<names::Annotations>>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct StatusArguments {
    mailbox: String,
    items: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct AppendArguments {
    mailbox: String,
    count: usize,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct ExpungeArguments {
    set: SequenceSet,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct CopyArguments {
    set: SequenceSet,
    mailbox: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct FetchArguments {
    set: SequenceSet,
    items: FetchItems,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct StoreArguments {
    set: SequenceSet,
    mode: &'static str,
    silent: bool,
    flags: i64,
    keywords: Py<PyTuple>,
    unchanged_since: Option<i64>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct SearchArguments {
    program: SearchProgram,
    returns: Option<ReturnOptions>,
    charset: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct SortArguments {
    order: SearchOrder,
    program: SearchProgram,
    returns: Option<ReturnOptions>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct CompressArguments {
    algorithm: String,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct EsearchArguments {
    scope: Option<Py<PyTuple>>,
    program: SearchProgram,
    returns: Option<ReturnOptions>,
    charset: bool,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct MailboxFilter {
    filter: &'static str,
    mailboxes: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct CancelUpdateArguments {
    tags: Py<PyTuple>,
}

#[pyclass(frozen, get_all, module = "esp.native")]
pub(super) struct ThreadArguments {
    order: SearchOrder,
    program: SearchProgram,
}

fn filters(py: Python<'_>, scope: Vec<imap::MailboxFilter>) -> PyResult<Py<PyTuple>> {
    let filters = scope
        .into_iter()
        .map(|one| {
            let filter = MailboxFilter {
                filter: one.filter,
                mailboxes: texts(py, &one.mailboxes)?,
            };
            Py::new(py, filter)
        })
        .collect::<PyResult<Vec<_>>>()?;
    Ok(PyTuple::new(py, filters)?.unbind())
}

fn set(set: imap::SequenceSet) -> SequenceSet {
    SequenceSet(Arc::new(set))
}

#[allow(clippy::too_many_lines, reason = "one arm for each shape")]
pub(super) fn arguments_to_python(
    py: Python<'_>,
    arguments: imap::Arguments,
) -> PyResult<Py<PyAny>> {
    use imap::Arguments as A;
    let sorted = |order| SearchOrder(Arc::new(order));
    match arguments {
        A::None => Ok(py.None()),
        A::Login { username, password } => any(py, LoginArguments { username, password }),
        A::Authenticate { mechanism, initial } => any(
            py,
            AuthenticateArguments {
                mechanism,
                initial: initial.map(|initial| octets(py, &initial)),
            },
        ),
        A::Id(fields) => {
            let fields = fields
                .map(|fields| {
                    let dict = PyDict::new(py);
                    for (key, value) in fields {
                        dict.set_item(key, value)?;
                    }
                    PyResult::Ok(dict.unbind())
                })
                .transpose()?;
            any(py, IdArguments { fields })
        }
        A::Enable(capabilities) => any(
            py,
            EnableArguments {
                capabilities: texts(py, &capabilities)?,
            },
        ),
        A::Select {
            mailbox,
            condstore,
            qresync,
        } => {
            let qresync = qresync
                .map(|qresync| {
                    Py::new(
                        py,
                        QresyncParameter {
                            uidvalidity: qresync.uidvalidity,
                            modseq: qresync.modseq,
                            known_uids: qresync.known_uids.map(set),
                            known_sequence: qresync
                                .known_sequence
                                .map(|(numbers, uids)| (set(numbers), set(uids))),
                        },
                    )
                })
                .transpose()?;
            any(
                py,
                SelectArguments {
                    mailbox,
                    condstore,
                    qresync,
                },
            )
        }
        A::Create {
            mailbox,
            special_use,
        } => any(
            py,
            CreateArguments {
                mailbox,
                special_use: texts(py, &special_use)?,
            },
        ),
        A::Mailbox(mailbox) => any(py, MailboxArguments { mailbox }),
        A::Esearch {
            scope,
            program,
            returns,
            charset,
        } => any(
            py,
            EsearchArguments {
                scope: scope.map(|scope| filters(py, scope)).transpose()?,
                program: SearchProgram(program),
                returns: returns.map(ReturnOptions),
                charset,
            },
        ),
        A::CancelUpdate(tags) => any(
            py,
            CancelUpdateArguments {
                tags: texts(py, &tags)?,
            },
        ),
        A::Compress(algorithm) => any(py, CompressArguments { algorithm }),
        A::Notify(notify) => any(py, notify::arguments(py, notify)?),
        A::Quota(root) => any(py, QuotaArguments { root }),
        A::Rename { mailbox, new_name } => any(py, RenameArguments { mailbox, new_name }),
        A::List(list) => any(
            py,
            ListArguments {
                reference: list.reference,
                patterns: texts(py, &list.patterns)?,
                extended: list.extended,
                selection: texts(py, &list.selection)?,
                returns: texts(py, &list.returns)?,
                status: texts(py, &list.status)?,
                metadata: list
                    .metadata
                    .map(|wanted| names::annotations(py, wanted))
                    .transpose()?,
            },
        ),
        A::SetQuota { root, limits } => any(py, names::set_quota(py, root, limits)?),
        A::Acl {
            mailbox,
            identifier,
            rights,
        } => any(py, names::acl(mailbox, identifier, rights)),
        A::GetMetadata {
            mailbox,
            annotations,
        } => any(py, names::get_metadata(py, mailbox, annotations)?),
        A::SetMetadata { mailbox, values } => any(py, names::set_metadata(py, mailbox, values)?),
        A::Status { mailbox, items } => any(
            py,
            StatusArguments {
                mailbox,
                items: texts(py, &items)?,
            },
        ),
        A::Append { mailbox, count } => any(py, AppendArguments { mailbox, count }),
        A::Expunge(uids) => any(py, ExpungeArguments { set: set(uids) }),
        A::Copy {
            set: numbers,
            mailbox,
        } => any(
            py,
            CopyArguments {
                set: set(numbers),
                mailbox,
            },
        ),
        A::Fetch {
            set: numbers,
            items,
        } => any(
            py,
            FetchArguments {
                set: set(numbers),
                items: FetchItems(items),
            },
        ),
        A::Store {
            set: numbers,
            mode,
            silent,
            flags,
            unchanged_since,
        } => any(
            py,
            StoreArguments {
                set: set(numbers),
                mode: match mode {
                    imap::StoreMode::Replace => "replace",
                    imap::StoreMode::Add => "add",
                    imap::StoreMode::Remove => "remove",
                },
                silent,
                flags: flags.bits,
                keywords: texts(py, &flags.keywords)?,
                unchanged_since,
            },
        ),
        A::Search {
            program,
            returns,
            charset,
        } => any(
            py,
            SearchArguments {
                program: SearchProgram(program),
                returns: returns.map(ReturnOptions),
                charset,
            },
        ),
        A::Sort {
            keys,
            program,
            returns,
        } => any(
            py,
            SortArguments {
                order: sorted(imap::Order::Sort(keys)),
                program: SearchProgram(program),
                returns: returns.map(ReturnOptions),
            },
        ),
        A::Thread { algorithm, program } => any(
            py,
            ThreadArguments {
                order: sorted(imap::Order::Thread(algorithm)),
                program: SearchProgram(program),
            },
        ),
    }
}
