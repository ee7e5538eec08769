"""Whose an address is, without PostgreSQL; `tests/contracts` holds it to what the real one does."""

import asyncio

import msgspec

from esp.core.address import Address
from esp.core.errors import NotFoundError, UnavailableError
from esp.core.mailbox import MailboxId
from esp.core.principal import AccountId
from esp.core.quota import Quota
from esp.core.routing import Disabled, Local, LocalTarget, NoSuchUser, Remote, Resolution

DOMAIN = "example.test"


def _inbox(account: int, name: str) -> LocalTarget:
    return LocalTarget(AccountId(account), MailboxId(account), f"{DOMAIN}/{name}", f"{name}@{DOMAIN}")


ALICE, BOB, ADMIN, FULL, SMALL = (
    _inbox(number, name) for number, name in enumerate(("alice", "bob", "admin", "full", "small"), 1)
)
UNLIMITED = Quota(0, None, 0, None)
BOX = MailboxId(101)
"""Alice's mailbox `box`, where only she may post."""


class FakeDirectory:
    """Knows alice, bob, team (both), admin, full, small, off and elsewhere; `down` does not answer."""

    def __init__(self) -> None:
        self.quotas: dict[int, Quota] = {
            **dict.fromkeys((ALICE.account, BOB.account, ADMIN.account), UNLIMITED),
            FULL.account: Quota(100, 100, 1, None),
            SMALL.account: Quota(0, 1000, 0, None),
        }

    def remembered(self, recipient: Address) -> tuple[tuple[LocalTarget, ...], list[Quota]] | None:
        # As if bob had had mail a moment ago; of all others nothing is known.
        if recipient == Address("bob", DOMAIN):
            return (BOB,), [self.quotas[BOB.account]]
        return None

    async def resolve(self, recipient: Address) -> Resolution:
        if recipient.domain != DOMAIN:
            return Remote()
        base, tag = recipient.split("+")
        match base.local_part.lower():
            case "team":
                return Local((ALICE, BOB))
            case "off":
                return Disabled()
            case "elsewhere":
                return Local((), (Address("x", "other.test"),))
            case "down":
                await asyncio.sleep(0)
                raise UnavailableError("The database does not answer")
            case name:
                for target in (ALICE, BOB, ADMIN, FULL, SMALL):
                    if target.address == f"{name}@{DOMAIN}":
                        return Local((msgspec.structs.replace(target, detail=tag or ""),))
                return NoSuchUser()

    async def postmaster(self) -> Resolution:
        return Local((ADMIN,))

    async def folder(self, target: LocalTarget, poster: AccountId | None) -> LocalTarget:
        if (target.account, target.detail, poster) == (ALICE.account, "box", ALICE.account):
            return msgspec.structs.replace(target, mailbox=BOX, folder=f"{target.folder}/.box")
        return target

    async def quota(self, account: AccountId) -> Quota:
        if account not in self.quotas:
            raise NotFoundError("Account does not exist")
        return self.quotas[account]

    async def owns(self, account: AccountId, address: Address) -> bool:
        resolution = await self.resolve(address)
        return isinstance(resolution, Local) and any(t.account == account for t in resolution.targets)
