"""Whose an address is: the question of every RCPT and MAIL, answered from memory where possible.

In: an address as the client wrote it. Out: a `Resolution` (`core.routing`), whether an account owns an address, and
how much it may keep. An account or alias of exactly this name comes first, then the name without its tag (RFC 5233),
then the domain's catch-all. An alias comes before an account of the same name, so that it can lead both elsewhere
and to the account itself. What was found is remembered for seconds and dropped when `esp:directory` says that
something changed. A name that was not found is never remembered, since a user created a moment ago must receive mail.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from esp.core import rights
from esp.core.address import Address, fold, parse
from esp.core.errors import LimitError, UnavailableError
from esp.core.expiring import Expiring
from esp.core.principal import AccountId
from esp.core.quota import Quota
from esp.core.rights import Rights
from esp.core.routing import Disabled, Local, LocalTarget, NoSuchUser, Remote, Resolution
from esp.storage import maildir
from esp.storage.postgres import acl, mailboxes
from esp.storage.postgres import directory as rows
from esp.storage.postgres.directory import Match
from esp.storage.postgres.pool import Connection, Database

REMEMBERED = 10.0
QUOTA_REMEMBERED = 1.0
"""Seconds; used only for the early answer at RCPT, the delivery itself counts exactly."""
CAPACITY = 20_000
NOBODY = AccountId(0)
"""No account has this id."""
MAX_DEPTH = 10
MAX_ADDRESSES = 1000
"""Addresses that one address may lead to."""


AliasKey = tuple[str, str]
"""Domain and local part of an alias, as its row has them."""


class _Step(msgspec.Struct, frozen=True):
    """An address to look up, and the aliases that led to it."""

    address: Address
    path: tuple[tuple[str, str], ...] = ()


class _Found(msgspec.Struct, frozen=True):
    """The best match for an address of one of our domains."""

    key: tuple[str, str]
    """Domain and local part that matched."""
    match: Match


class _NotOurs(msgspec.Struct, frozen=True):
    """The domain is not ours."""


class Directory:
    """Answers from PostgreSQL, and from a small memory of its own process."""

    def __init__(
        self,
        database: Database,
        *,
        recipient_delimiter: str = "+",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._delimiter = recipient_delimiter
        self._clock = clock
        self._local: Expiring[Address, Local] = Expiring(CAPACITY)
        self._owned: Expiring[tuple[AccountId, Address], bool] = Expiring(CAPACITY)
        self._quotas: Expiring[AccountId, Quota] = Expiring(CAPACITY)

    def forget(self) -> None:
        """Drop all that is remembered; call this for each message on `esp:directory`."""
        self._local.clear()
        self._owned.clear()
        self._quotas.clear()

    def remembered(self, recipient: Address) -> tuple[tuple[LocalTarget, ...], list[Quota]] | None:
        """Return the inboxes of a recipient and their accounts' quotas, if all of it is remembered.

        Also `None` for an address whose mail goes elsewhere too, and if a tag may name a mailbox (`folder`).
        """
        now = self._clock()
        local = self._local.get(recipient, now)
        if local is None or local.forwards:
            return None
        quotas: list[Quota] = []
        for target in local.targets:
            quota = self._quotas.get(target.account, now)
            if quota is None or target.detail:
                return None
            quotas.append(quota)
        return local.targets, quotas

    async def resolve(self, recipient: Address) -> Resolution:
        """Return where mail for `recipient` goes.

        Raises:
            LimitError: its aliases lead to too many addresses.
            UnavailableError: the database does not answer.
        """
        remembered = self._local.get(recipient, self._clock())
        if remembered is not None:
            return remembered
        generation = self._local.generation
        resolution = await self._follow(recipient)
        if isinstance(resolution, Local) and generation == self._local.generation:
            self._local.put(recipient, resolution, self._clock() + REMEMBERED)
        return resolution

    async def postmaster(self) -> Resolution:
        """Return where mail for `<postmaster>` without a domain goes (RFC 5321 §4.5.1).

        That is the postmaster of our first domain, or an administrator, so that somebody reads it.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._database.connection() as connection:
            domain, administrator = await rows.postmaster(connection)
        for address in (Address("postmaster", domain) if domain else None, administrator):
            resolution = await self.resolve(address) if address is not None else NoSuchUser()
            if isinstance(resolution, Local):
                return resolution
        return NoSuchUser()

    async def owns(self, account: AccountId, address: Address) -> bool:
        """Return whether the account may send as `address`.

        It may send as itself, with any tag, and as an alias that leads to it. An address that is an account
        belongs to that account alone, even if an alias of the same name also leads to others.

        Raises:
            UnavailableError: the database does not answer.
        """
        remembered = self._owned.get((account, address), self._clock())
        if remembered is not None:
            return remembered
        generation = self._owned.generation
        owned = await self._owns(account, address)
        if owned and generation == self._owned.generation:
            self._owned.put((account, address), owned, self._clock() + REMEMBERED)
        return owned

    async def quota(self, account: AccountId) -> Quota:
        """Return how much the account keeps (as of a second ago at most) and may keep.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database does not answer.
        """
        remembered = self._quotas.get(account, self._clock())
        if remembered is not None:
            return remembered
        generation = self._quotas.generation
        async with self._database.connection() as connection:
            quota = await rows.quota(connection, account)
        if generation == self._quotas.generation:
            lasting = REMEMBERED if quota.unlimited else QUOTA_REMEMBERED
            self._quotas.put(account, quota, self._clock() + lasting)
        return quota

    async def folder(self, target: LocalTarget, poster: AccountId | None) -> LocalTarget:
        """Return the mailbox that the tag of an address names if the poster may send to it, otherwise the inbox.

        RFC 4314 §2.1, right `p`. Mail from outside counts as posted by `anyone`.

        Args:
            target: an inbox that a tagged address leads to.
            poster: who sends; `None` for an unknown sender.

        Raises:
            UnavailableError: the database does not answer.
        """
        if not target.detail:
            return target
        async with self._database.connection() as connection:
            mailbox = await mailboxes.by_detail(connection, target.account, target.detail)
            if mailbox is None or (mailbox.acl_version == 0 and poster != target.account):
                return target
            if poster is None:
                grants = (await acl.grants(connection, [mailbox.id])).get(mailbox.id, [])
                granted = rights.effective([g for g in grants if g.account is None], NOBODY, owner=False)
            else:
                grants = (await acl.grants_for(connection, [mailbox.id], poster)).get(mailbox.id, [])
                granted = rights.effective(grants, poster, owner=poster == target.account)
        if Rights.POST not in granted:
            return target
        return msgspec.structs.replace(
            target, mailbox=mailbox.id, folder=maildir.folder(mailbox.home, mailbox.directory)
        )

    def _detail(self, address: Address, found: "_Found") -> str:
        base, tag = address.split(self._delimiter)
        # Not if the whole local part is the account's, and the delimiter only a character in it.
        return tag if tag is not None and fold(base.local_part) == found.key[1] else ""

    async def _owns(self, account: AccountId, address: Address) -> bool:
        (found,) = await self._look_up([address])
        if not isinstance(found, _Found) or not found.match.domain_enabled:
            return False
        if found.match.account is not None:
            return found.match.account == account and found.match.account_enabled is True
        resolution = await self.resolve(address)
        return isinstance(resolution, Local) and any(t.account == account for t in resolution.targets)

    async def _follow(self, recipient: Address) -> Resolution:
        targets: dict[AccountId, LocalTarget] = {}
        forwards: dict[Address, None] = {}
        expanded: set[tuple[str, str]] = set()
        disabled = False
        steps = [_Step(recipient)]
        looked_up = 0
        while steps:
            looked_up += len(steps)
            if looked_up > MAX_ADDRESSES or len(steps[0].path) > MAX_DEPTH:
                raise LimitError("The alias leads to too many addresses")
            following: list[_Step] = []
            for step, found in zip(steps, await self._look_up([s.address for s in steps]), strict=True):
                if isinstance(found, _NotOurs):
                    forwards[step.address] = None
                    continue
                if found is None:
                    continue
                match = found.match
                # An alias that leads back to itself means the account of that name, if there is one.
                if match.targets is not None and match.domain_enabled and found.key not in step.path:
                    if found.key not in expanded:
                        expanded.add(found.key)
                        following += [_Step(parse(t), (*step.path, found.key)) for t in match.targets]
                elif not match.domain_enabled or match.account_enabled is False:
                    disabled = True
                elif match.account is not None:
                    targets[match.account] = _target(match, self._detail(step.address, found))
            steps = following
        if recipient in forwards:
            return Remote()
        if targets or forwards:
            return Local(tuple(targets.values()), tuple(forwards))
        return Disabled() if disabled else NoSuchUser()

    async def _look_up(self, addresses: Sequence[Address]) -> "list[_Found | _NotOurs | None]":
        """Return the best match of each address, `None` if the domain is ours and has no such name."""
        questions = [_names(address, self._delimiter) for address in addresses]
        local_parts = [name for names in questions for name in names]
        owners = [index for index, names in enumerate(questions) for _ in names]
        answers: list[_Found | _NotOurs | None] = [_NotOurs() for _ in addresses]
        if not local_parts:
            return answers
        async with self._database.connection() as connection:
            matches = await rows.matches(connection, local_parts, [addresses[i].domain for i in owners])
        for match in matches:
            index = owners[match.wanted]
            if isinstance(answers[index], _Found):
                continue
            if match.account is None and match.targets is None and match.domain_enabled:
                answers[index] = None
            else:
                answers[index] = _Found((match.domain, local_parts[match.wanted]), match)
        return answers


async def nobodys(
    connection: Connection, leads: Mapping[AliasKey, Sequence[Address]], delimiter: str
) -> dict[AliasKey, list[Address]]:
    """Return the targets of aliases that are of our domains, but of no account, alias or catch-all there.

    Aliases without such a target are left out. A target that only the alias itself would take counts as nobody's.
    """
    questions = [
        (key, address, name)
        for key, addresses in leads.items()
        for address in dict.fromkeys(addresses)
        for name in _names(address, delimiter)
    ]
    found = await rows.matches(
        connection, [name for _, _, name in questions], [address.domain for _, address, _ in questions]
    )
    # For each address of our domains, whether somebody takes it.
    taken: dict[tuple[AliasKey, Address], bool] = {}
    for match in found:
        key, address, name = questions[match.wanted]
        by_alias = match.targets is not None and key != (match.domain, name)
        taken[key, address] = taken.get((key, address), False) or match.account is not None or by_alias
    left: dict[AliasKey, list[Address]] = {}
    for (key, address), somebodys in taken.items():
        if not somebodys:
            left.setdefault(key, []).append(address)
    return left


def means(written: Address, meant: Address, delimiter: str) -> bool:
    """Tell whether `written` is another way to write the local part `meant`; if that is empty, its catch-all."""
    return meant.local_part in _names(written, delimiter)


def _names(address: Address, delimiter: str) -> list[str]:
    """Return the local parts to look for, best first; the catch-all is kept under an empty one."""
    if address.literal:
        return []
    base, tag = address.split(delimiter)
    names = [address.local_part] if tag is None else [address.local_part, base.local_part]
    # An empty local part can be written ("") but belongs to nobody: it must not find the catch-all by its key.
    return [fold(name) for name in names if name] + [""]


def _target(match: Match, detail: str) -> LocalTarget:
    assert match.account is not None
    assert match.maildir is not None
    if match.inbox is None:
        # The account is being created or rebuilt: a moment later the mailbox is there.
        raise UnavailableError("The mailbox is not ready")
    assert match.local_part is not None
    address = Address(match.local_part, match.domain)
    return LocalTarget(match.account, match.inbox, match.maildir, str(address), detail)
