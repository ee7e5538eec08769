//! Threads of messages (RFC 5256 §3: ORDEREDSUBJECT, REFERENCES; draft-ietf-morg-inthread: REFS).
//!
//! In: what is known about each message, in the order of the mailbox. Out: trees. Any set of references makes a tree:
//! links that would close a circle are not made. Nothing recurses, for a chain of replies may be as long as the
//! mailbox.

use crate::cache::KeyHasher;
use crate::cursor::{Cursor, SyntaxError};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

/// The algorithm by which messages are threaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By subject, with the oldest message above all others.
    OrderedSubject,
    /// By `References`, then by subject.
    References,
    /// By `References` alone; the thread with the newest message comes last.
    Refs,
}

impl Algorithm {
    /// `thread-alg` (RFC 5256 §5).
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        cursor.named(
            "a threading algorithm",
            &[
                ("ORDEREDSUBJECT", Self::OrderedSubject),
                ("REFERENCES", Self::References),
                ("REFS", Self::Refs),
            ],
        )
    }
}

/// What threading needs to know about a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message<'a> {
    pub(crate) id: Option<u64>,
    pub(crate) references: Vec<u64>,
    /// The collation key of the base subject.
    pub(crate) subject: &'a [u8],
    pub(crate) is_reply: bool,
    /// Seconds (RFC 5256 §2.2).
    pub(crate) sent: i64,
    /// INTERNALDATE
    pub(crate) arrival: i64,
}

/// A message, or a place where one should be (RFC 5256: a dummy).
#[derive(Debug, Clone, Default)]
struct Node {
    /// Its position among the messages.
    message: Option<usize>,
    parent: Option<usize>,
    /// Whether it was ever a parent: only then can it be above another.
    above: bool,
    children: Vec<usize>,
}

/// Trees of nodes.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

type Ids = HashMap<u64, usize, BuildHasherDefault<KeyHasher>>;

impl Threads {
    /// Thread messages.
    pub(crate) fn new(messages: &[Message<'_>], algorithm: Algorithm) -> Self {
        if algorithm == Algorithm::OrderedSubject {
            return Self::by_subject(messages);
        }
        let mut threads = Self::default();
        threads.link(messages);
        threads.prune();
        // Grandchildren before children: only a dummy's date depends on its children, and dummies are roots by now.
        threads.sort_children(messages);
        if algorithm == Algorithm::References {
            threads.sort_roots(messages);
            threads.gather_subjects(messages);
            threads.sort_children(messages);
            threads.sort_roots(messages);
        } else {
            threads.sort_roots_by_newest(messages);
        }
        threads
    }

    fn get(&self, node: usize) -> &Node {
        static NONE: Node = Node {
            message: None,
            parent: None,
            above: false,
            children: Vec::new(),
        };
        self.nodes.get(node).unwrap_or(&NONE)
    }

    fn add(&mut self, message: Option<usize>) -> usize {
        self.nodes.push(Node {
            message,
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    fn set_parent(&mut self, node: usize, parent: Option<usize>) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.parent = parent;
        }
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            parent.above = true;
        }
    }

    fn by_subject(messages: &[Message<'_>]) -> Self {
        let mut threads = Self::default();
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_by_key(|at| messages.get(*at).map(|message| (message.sent, *at)));
        let mut subjects: HashMap<&[u8], usize> = HashMap::new();
        // By date, so that the first message of a subject is its oldest, and threads are sorted by their oldest
        // message.
        for at in order {
            let subject = messages.get(at).map_or(&[][..], |message| message.subject);
            let node = threads.add(Some(at));
            let root = *subjects.entry(subject).or_insert(node);
            if root == node {
                threads.roots.push(node);
            } else if let Some(root) = threads.nodes.get_mut(root) {
                root.children.push(node);
            }
        }
        threads
    }

    /// Step 1: a node for each identifier; its parent is the one named before it.
    fn link(&mut self, messages: &[Message<'_>]) {
        let mut ids = Ids::default();
        for (at, message) in messages.iter().enumerate() {
            let taken = message.id.and_then(|id| ids.get(&id).copied());
            let node = match taken {
                Some(node) if self.get(node).message.is_none() => node,
                // A second message with the same identifier counts as one without.
                Some(_) => self.add(None),
                None => self.add(None),
            };
            if taken.is_none()
                && let Some(id) = message.id
            {
                ids.insert(id, node);
            }
            if let Some(node) = self.nodes.get_mut(node) {
                node.message = Some(at);
            }
            let mut last = None;
            for id in &message.references {
                let reference = match ids.get(id) {
                    Some(reference) => *reference,
                    None => {
                        let reference = self.add(None);
                        ids.insert(*id, reference);
                        reference
                    }
                };
                if let Some(parent) = last
                    && self.get(reference).parent.is_none()
                    && self.may_be_under(reference, parent)
                {
                    self.set_parent(reference, Some(parent));
                }
                last = Some(reference);
            }
            // Others may have named its parent from a truncated list; its own references count.
            if self.get(node).parent != last || last.is_none() {
                self.set_parent(node, None);
                if let Some(parent) = last
                    && self.may_be_under(node, parent)
                {
                    self.set_parent(node, Some(parent));
                }
            }
        }
        for node in 0..self.nodes.len() {
            match self.get(node).parent {
                Some(parent) => {
                    if let Some(parent) = self.nodes.get_mut(parent) {
                        parent.children.push(node);
                    }
                }
                // Step 2
                None => self.roots.push(node),
            }
        }
    }

    /// Whether `node` is neither above `parent` nor the same.
    fn may_be_under(&self, node: usize, parent: usize) -> bool {
        if node == parent {
            return false;
        }
        if !self.get(node).above {
            return true;
        }
        let mut above = self.get(parent).parent;
        while let Some(ancestor) = above {
            if ancestor == node {
                return false;
            }
            above = self.get(ancestor).parent;
        }
        true
    }

    /// Nodes below the roots, each after its parent.
    fn downwards(&self) -> Vec<usize> {
        let mut order = self.roots.clone();
        let mut next = 0;
        while let Some(node) = order.get(next) {
            order.extend_from_slice(&self.get(*node).children);
            next += 1;
        }
        order
    }

    /// Step 3: remove dummies, and put their children in their place; a dummy with several stays at the root.
    fn prune(&mut self) {
        let order = self.downwards();
        for node in order.into_iter().rev() {
            let children = self.replaced(&self.get(node).children);
            if let Some(node) = self.nodes.get_mut(node) {
                node.children = children;
            }
        }
        let mut roots = Vec::with_capacity(self.roots.len());
        for root in std::mem::take(&mut self.roots) {
            let node = self.get(root);
            if node.message.is_none() && node.children.len() < 2 {
                roots.extend_from_slice(&node.children);
            } else {
                roots.push(root);
            }
        }
        self.roots = roots;
    }

    /// The nodes, each dummy replaced by its children, which are pruned already.
    fn replaced(&self, nodes: &[usize]) -> Vec<usize> {
        let mut result = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let found = self.get(node);
            match found.message {
                Some(_) => result.push(node),
                None => result.extend_from_slice(&found.children),
            }
        }
        result
    }

    /// The message that represents a node: for a dummy, that of its first child.
    fn face(&self, node: usize) -> Option<usize> {
        let node = self.get(node);
        node.message
            .or_else(|| self.get(*node.children.first()?).message)
    }

    /// By date, then by the order of the mailbox.
    fn rank(&self, messages: &[Message<'_>], node: usize) -> (i64, usize) {
        let at = self.face(node).unwrap_or(usize::MAX);
        (
            messages.get(at).map_or(i64::MAX, |message| message.sent),
            at,
        )
    }

    fn sort_children(&mut self, messages: &[Message<'_>]) {
        for node in 0..self.nodes.len() {
            if self.get(node).children.len() < 2 {
                continue;
            }
            let Some(found) = self.nodes.get_mut(node) else {
                continue;
            };
            let mut children = std::mem::take(&mut found.children);
            children.sort_by_cached_key(|child| self.rank(messages, *child));
            if let Some(found) = self.nodes.get_mut(node) {
                found.children = children;
            }
        }
    }

    /// Step 4
    fn sort_roots(&mut self, messages: &[Message<'_>]) {
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_cached_key(|root| self.rank(messages, *root));
        self.roots = roots;
    }

    fn sort_roots_by_newest(&mut self, messages: &[Message<'_>]) {
        let mut newest: Vec<(i64, usize)> = vec![(i64::MIN, 0); self.nodes.len()];
        for node in self.downwards().into_iter().rev() {
            let found = self.get(node);
            let own = found
                .message
                .and_then(|at| Some((messages.get(at)?.arrival, at)));
            let best = found
                .children
                .iter()
                .filter_map(|child| newest.get(*child).copied())
                .chain(own)
                .max();
            if let (Some(best), Some(slot)) = (best, newest.get_mut(node)) {
                *slot = best;
            }
        }
        self.roots.sort_by_key(|root| newest.get(*root).copied());
    }

    /// Step 5: join threads of the same subject.
    fn gather_subjects(&mut self, messages: &[Message<'_>]) {
        let subject_of = |threads: &Self, root: usize| {
            let message = threads.face(root).and_then(|at| messages.get(at))?;
            (!message.subject.is_empty()).then_some((message.subject, message.is_reply))
        };
        let mut table: HashMap<&[u8], usize> = HashMap::new();
        for &root in &self.roots {
            let Some((subject, is_reply)) = subject_of(self, root) else {
                continue;
            };
            let known = *table.entry(subject).or_insert(root);
            let known_is_reply = subject_of(self, known).is_some_and(|(_, is_reply)| is_reply);
            let is_dummy = self.get(root).message.is_none();
            if self.get(known).message.is_some() && (is_dummy || (known_is_reply && !is_reply)) {
                table.insert(subject, root);
            }
        }
        let mut gone = HashSet::new();
        for root in self.roots.clone() {
            let Some((subject, is_reply)) = subject_of(self, root) else {
                continue;
            };
            let Some(known) = table.get(subject).copied().filter(|known| *known != root) else {
                continue;
            };
            let known_is_dummy = self.get(known).message.is_none();
            let known_is_reply = subject_of(self, known).is_some_and(|(_, is_reply)| is_reply);
            let moved = if self.get(root).message.is_none() && known_is_dummy {
                self.get(root).children.clone()
            } else {
                vec![root]
            };
            gone.insert(root);
            if known_is_dummy || (is_reply && !known_is_reply) {
                if let Some(known) = self.nodes.get_mut(known) {
                    known.children.extend(moved);
                }
            } else {
                gone.insert(known);
                let dummy = self.add(None);
                if let Some(dummy) = self.nodes.get_mut(dummy) {
                    dummy.children = vec![known, root];
                }
                self.roots.push(dummy);
                table.insert(subject, dummy);
            }
        }
        self.roots.retain(|root| !gone.contains(root));
    }

    /// Append the threads as `thread-list`s, each message by its number.
    pub(crate) fn write(&self, numbers: &[u32], out: &mut Vec<u8>) {
        enum Step {
            Open(usize),
            /// Members that follow the first one of a list.
            Below(usize),
            Close,
        }
        let mut steps: Vec<Step> = self
            .roots
            .iter()
            .rev()
            .map(|root| Step::Open(*root))
            .collect();
        while let Some(step) = steps.pop() {
            let node = match step {
                Step::Close => {
                    out.push(b')');
                    continue;
                }
                Step::Open(node) => {
                    out.push(b'(');
                    steps.push(Step::Close);
                    node
                }
                Step::Below(node) => {
                    out.push(b' ');
                    node
                }
            };
            let found = self.get(node);
            let number = found.message.and_then(|at| numbers.get(at));
            if let Some(number) = number {
                crate::wire::number(out, *number);
            }
            match found.children.as_slice() {
                [] => {}
                [only] if number.is_some() => steps.push(Step::Below(*only)),
                children => {
                    if number.is_some() {
                        out.push(b' ');
                    }
                    steps.extend(children.iter().rev().map(|child| Step::Open(*child)));
                }
            }
        }
    }
}
