"""Status: the shape of the API's answer to how everything is; see `models`."""

from typing import Annotated

from pydantic import Field

from blofin_agent.domain.symbol_coverage import Health
from blofin_agent.status.health_summary import RecoveryState
from blofin_agent.status.snapshot import StatusSnapshot
from blofin_agent.web.models import CountsModel, Model, Number, Share, Time, WindowModel


class BudgetModel(Model):
    """Requests that count in one of BloFin's windows, by every process on this store."""

    window: str = Field(examples=["60s"])
    seconds: Number
    used: Number
    limit: Number = Field(
        description="what the agent allows itself now: its share of BloFin's limit less a reserve"
    )


class SuspensionModel(Model):
    """BloFin suspended this address: no request is sent before `until`."""

    until: Time
    banned: bool = Field(description="whether it is the firewall's ban (403)")
    reason: str


class ConnectionModel(Model):
    """A websocket connection. `since`: when it came into this state."""

    name: str
    connected: bool
    symbols: Number
    subscribed: Number
    since: Time
    lost: str = Field(description="why it was lost last; empty when it never was")


class OutlookModel(Model):
    """What is being done about what is missing."""

    state: RecoveryState
    eta_seconds: Annotated[float, Field(ge=0)] = Field(
        description="least time to fetch all that the gaps need"
    )
    next_pass: Time | None = Field(description="null while a pass goes on")


class FleetModel(Model):
    """The agents that share the symbols. All other figures are of this agent's symbols alone."""

    agents: Number
    owned: Number = Field(description="symbols that this agent keeps complete")
    orphaned: Number = Field(description="symbols that some agent is to watch and none keeps")
    budget_load: Annotated[float, Field(ge=0)] = Field(
        description="requests that the symbols kept from this address may need, over those allowed"
    )
    others: dict[str, str] = Field(description="the other agents, and where their pages are")


class PassesModel(Model):
    """When the last pass over all symbols ended; null before the first one."""

    last: Time | None
    last_success: Time | None


class StatusModel(Model):
    """How everything is."""

    version: str
    now: Time
    ready: bool
    not_ready: list[str] = Field(description="why it is not ready, in words")
    health: Health
    reason: str = Field(description="why the health is what it is, in one sentence")
    bar: str
    window: WindowModel
    symbols: Number
    below_good: Number = Field(description="symbols below 99.5 %")
    below_warn: Number = Field(description="symbols below 97 %")
    total: CountsModel
    healing: OutlookModel
    passes: PassesModel
    budget: list[BudgetModel]
    budget_share: Share = Field(
        description="how much of BloFin's limits the agent takes; less than 1 after a 429 that "
        "another program behind the address seems to have caused"
    )
    budget_note: str = Field(description="why the share is less than 1, in words; else empty")
    suspension: SuspensionModel | None
    connections: list[ConnectionModel]
    store_up: bool
    fleet: FleetModel | None = Field(description="null where no other agent can share the symbols")

    @classmethod
    def of(
        cls, overview: StatusSnapshot, version: str, bar: str, not_ready: list[str]
    ) -> "StatusModel":
        """Make it of the board's overview."""
        held, fleet_status = overview.suspended, overview.fleet_status
        return cls(
            version=version,
            now=overview.now,
            ready=not not_ready,
            not_ready=not_ready,
            health=overview.verdict.health,
            reason=overview.verdict.reason,
            bar=bar,
            window=WindowModel.of(overview.window),
            symbols=overview.symbols,
            below_good=overview.below_good,
            below_warn=overview.below_warn,
            total=CountsModel(coverage=overview.total.ratio, **overview.total._asdict()),
            healing=OutlookModel(
                state=overview.outlook.recovery,
                eta_seconds=overview.outlook.eta_seconds,
                next_pass=overview.next_pass,
            ),
            passes=PassesModel(
                last=_ms(overview.last_pass), last_success=_ms(overview.last_success)
            ),
            budget=[
                BudgetModel(window=one.label, seconds=one.seconds, used=one.used, limit=one.limit)
                for one in overview.budget
            ],
            budget_share=overview.share,
            budget_note=overview.share_note,
            suspension=None
            if held is None
            else SuspensionModel(until=held.until, banned=held.banned, reason=held.reason),
            connections=[
                ConnectionModel(
                    **{name: getattr(link, name) for name in ConnectionModel.model_fields}
                )
                for link in overview.links
            ],
            store_up=overview.store_up,
            fleet=None
            if fleet_status is None
            else FleetModel(
                agents=fleet_status.agents,
                owned=fleet_status.owned,
                orphaned=fleet_status.orphaned,
                budget_load=fleet_status.load,
                others=dict(fleet_status.others),
            ),
        )


def _ms(seconds: float) -> int | None:
    """Return a Prometheus time as ms, None for 0."""
    return round(seconds * 1000) or None
