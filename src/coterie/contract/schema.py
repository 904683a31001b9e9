"""The contract as a whole: parties, nodes, data, model, training, trust."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from coterie.address import Address, AddressText
from coterie.contract.complete import check_node_kind
from coterie.contract.data import DataSection
from coterie.contract.expiry import Moment, moment
from coterie.contract.keras_model import KerasModelSection
from coterie.contract.model import ModelSection
from coterie.contract.section import Section
from coterie.contract.start import StartSection, check_start
from coterie.contract.tensorflow import TensorFlowSection
from coterie.contract.training import EnclaveSection, LimitsSection, TrainingSection
from coterie.contract.trust import RoleTrust, TrustSection
from coterie.errors import ContractInvalid
from coterie.kinds import Mode, Role, TeeKind

# gRPC's messages are below 2 GiB; this leaves room for small fields.
MAX_STEP_BYTES = (1 << 31) - (1 << 21)

# Bound on a worker's share of a step, as a multiple of the average. Steps grow like this if one
# party has nearly all rows, so that no worker is alone in a step: ps/core/schedule.py.
UNEVEN = 8

# Every shard owns whole slices of the table: parameters/sharding.py.
MAX_SHARDS = 64

PublicKey = Annotated[str, Field(pattern=r"^ed25519:[0-9a-f]{64}$")]

# A DNS label (RFC 1123): node names become host names in certificates.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


def _model_kind(value: object) -> str:
    """The kind of a ``[model]`` section; the DLRM if it does not say."""
    if isinstance(value, dict):
        return str(value.get("kind", "dlrm"))
    return str(getattr(value, "kind", "dlrm"))


AnyModelSection = ModelSection | KerasModelSection
_OneModelSection = Annotated[
    Annotated[ModelSection, Tag("dlrm")] | Annotated[KerasModelSection, Tag("keras")],
    Discriminator(
        _model_kind,
        custom_error_type="model_kind",
        custom_error_message='model.kind must be "dlrm" or "keras"',
    ),
]


class Party(Section):
    """A company.

    Attributes:
        name: Its name in this contract.
        key: Its Ed25519 public key, ``ed25519:`` and 64 hex digits. Contracts with the simulated
            TEE may omit it: ``coterie run`` then makes a temporary key.
        next_key: A key that is accepted beside ``key`` from the start, so that the party can change
            to it without a new contract.
        key_not_after: When ``key`` is no longer accepted, as ``2027-01-31T12:00:00Z``; what was
            signed with it is refused from then on.
    """

    LATER = frozenset({"next_key", "key_not_after"})

    name: Name
    key: PublicKey | None = None
    next_key: PublicKey | None = None
    key_not_after: Moment | None = None

    def keys_at(self, at: datetime | None) -> tuple[str, ...]:
        """The keys that are valid at a time, as the contract spells them; all keys for None."""
        ended = (
            at is not None and self.key_not_after is not None and at > moment(self.key_not_after)
        )
        keys = (None if ended else self.key, self.next_key)
        return tuple(key for key in keys if key is not None)

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if self.key is None and (self.next_key or self.key_not_after):
            raise ValueError("next_key and key_not_after are for a party that has a key")
        if self.key is not None and self.next_key == self.key:
            raise ValueError("next_key is the key itself: make another one")
        return self


class Node(Section):
    """One process with one TEE and one key.

    Attributes:
        name: Unique in the contract.
        role: Its task.
        party: The party that runs it.
        address: ``HOST:PORT`` where it listens: an untrusted hint, outside of the digest. Only
            for nodes that listen.
        tee: The kind of TEE that it runs in: one that its role lists, which has to be named where the
            role lists several.
    """

    LATER = frozenset({"tee"})

    name: Name
    role: Role
    party: Name
    address: AddressText | None = None
    tee: TeeKind | None = None

    @field_validator("address")
    @classmethod
    def _next_port_is_there(cls, value: Address | None) -> Address | None:
        if value is not None:
            try:
                value.following()
            except ContractInvalid as error:
                raise ValueError(f"{error.what}: choose {error.expected}") from error
        return value


class ResultsSection(Section):
    """Who gets what comes out of a run.

    Attributes:
        model_parties: Parties that get the trained model; absent: the parties that own data.
        optimizer_state: Whether they get the optimizers' state too: a later run needs it to
            continue as if none had ended.
        traces: Whether hosts may have their nodes send traces to an OpenTelemetry collector: what
            each step and handshake was and how long it took, never data or losses.
    """

    LATER = frozenset({"optimizer_state", "traces"})

    model_parties: (
        Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=1024)] | None
    ) = None
    optimizer_state: bool = False
    traces: bool = False


class Contract(Section):
    """The file that all parties agree on.

    Attributes:
        format: Version of this schema.
        name: Name of the joint training. It is part of the digest.
        mode: ``hfl``: every worker owns its data; ``sdt``: the chief owns all of it.
        parties: The companies.
        nodes: Their nodes: the processes of a run.
        data: Columns, table sizes, hashing.
        model: Sizes of the DLRM, or a Keras model of your own.
        training: Optimizers, batch, epochs, seed.
        limits: Bounds on time and size.
        results: Who gets the trained model.
        enclave: Size of SGX enclaves.
        trust: Which evidence is accepted.
        tensorflow: Present if the nodes run a TensorFlow program, not Coterie's own training.
        start: The model from which the run starts; absent: it begins with parameters from the seed.
    """

    LATER = frozenset({"tensorflow", "start"})

    format: Literal[1]
    name: Name
    mode: Mode
    parties: Annotated[tuple[Party, ...], Field(strict=False, min_length=1, max_length=1024)]
    nodes: Annotated[tuple[Node, ...], Field(strict=False, min_length=2, max_length=1024)]
    data: DataSection = DataSection()
    model: _OneModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    limits: LimitsSection = LimitsSection()
    results: ResultsSection = ResultsSection()
    enclave: EnclaveSection = EnclaveSection()
    trust: TrustSection
    tensorflow: TensorFlowSection | None = None
    start: StartSection | None = None

    @model_validator(mode="after")
    def _nodes_fit_the_mode(self) -> Self:
        for what, names in (
            ("party", [p.name for p in self.parties]),
            ("node", [n.name for n in self.nodes]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} names must be unique: {', '.join(sorted(names))}")
        known = {party.name for party in self.parties}
        for node in self.nodes:
            if node.party not in known:
                raise ValueError(
                    f"node {node.name} belongs to party {node.party!r}, which is not in [[parties]]"
                )
        self._check_roles()
        self._check_recipients(known)
        self._check_start(known)
        self._check_message_size()
        for role in sorted({node.role for node in self.nodes}):
            if self.trust.roles.of(role) is None:
                raise ValueError(f"[trust.roles.{role}] is missing, but nodes have this role")
        for node in self.nodes:
            where, listed = f"trust.roles.{node.role}", self.trust.tables(node.role)
            check_node_kind(node.name, node.tee, where, listed)
        if self.trust.signatures_demanded:
            for party in self.parties:
                if party.key is None:
                    raise ValueError(
                        f"party {party.name} has no key: only simulated parties may, and only where "
                        "trust.demand_signatures is not set"
                    )
        return self

    def _check_roles(self) -> None:
        servers, workers, chiefs = (self.by_role(role) for role in ("ps", "worker", "chief"))
        hfl = self.mode == "hfl"
        if self.tensorflow is not None and hfl != bool(self.tensorflow.operations):
            raise ValueError(
                "tensorflow.operations is needed in mode hfl, where workers of several parties run graphs "
                "on one parameter server"
                if hfl
                else "tensorflow.operations is for mode hfl: remove it"
            )
        least = 1 if self.tensorflow is None or hfl else 0
        if not least <= len(servers) <= MAX_SHARDS:
            raise ValueError(
                f"a contract needs {least} to {MAX_SHARDS} nodes with role ps, not {len(servers)}"
            )
        if not workers:
            raise ValueError("a contract needs at least one node with role worker")
        if self.mode == "hfl":
            if chiefs:
                raise ValueError(f"mode hfl has no chief: remove {chiefs[0].name} or use sdt")
            owners = [worker.party for worker in workers]
            if len(set(owners)) != len(owners):
                raise ValueError("mode hfl needs one worker per party: each owns its party's data")
        elif len(chiefs) != 1:
            raise ValueError(f"mode sdt needs exactly one node with role chief, not {len(chiefs)}")
        self._check_absence(len(workers))
        for node in self.nodes:
            if node.address is not None and not self.listens(node):
                raise ValueError(
                    f"node {node.name} has an address, but a {node.role} in mode {self.mode} "
                    "only dials out: remove it"
                )

    def listens(self, node: Node) -> bool:
        """Whether a node may listen: servers, SDT's workers, and any in SDT's TensorFlow clusters."""
        return node.role == "ps" or (
            self.mode == "sdt" and (self.tensorflow is not None or node.role == "worker")
        )

    def _check_recipients(self, known: set[str]) -> None:
        named = self.results.model_parties or ()
        if len(set(named)) != len(named):
            raise ValueError(f"results.model_parties must be unique: {', '.join(sorted(named))}")
        for party in named:
            if party not in known:
                raise ValueError(
                    f"results.model_parties names {party!r}, which is not in [[parties]]"
                )
            if self._recipient(party) is None:
                raise ValueError(
                    f"results.model_parties names {party}, which has no worker and no chief: "
                    "nobody could take the model for it"
                )

    def _check_start(self, known: set[str]) -> None:
        start = self.start
        if start is None:
            return
        if self.tensorflow is not None:
            raise ValueError("[start] is for Coterie's own training: remove it or [tensorflow]")
        if start.party is not None and start.party not in known:
            raise ValueError(f"start.party names {start.party!r}, which is not in [[parties]]")
        if self.start_giver() is None:
            raise ValueError(
                f"start.party names {start.party}, which has no worker and no chief: nobody could "
                "give the start for it"
            )
        check_start(start, self.data, self.training, self.model.kind)

    def _check_absence(self, workers: int) -> None:
        quorum = self.limits.quorum
        if self.mode == "sdt":
            if quorum is not None:
                raise ValueError("limits.quorum is for mode hfl: in sdt all data is one owner's")
            if self.training.party_weight < 1:
                raise ValueError("training.party_weight is for mode hfl: sdt has one data owner")
        elif quorum is not None and not workers // 2 < quorum <= workers:
            raise ValueError(
                f"limits.quorum must be a strict majority of the {workers} workers "
                f"({workers // 2 + 1} to {workers}), not {quorum}"
            )

    def _check_message_size(self) -> None:
        octets = self.step_bytes(self.training.step_examples)
        if octets > MAX_STEP_BYTES:
            raise ValueError(
                f"a step's message may need {octets} bytes, more than {MAX_STEP_BYTES}: "
                "lower training.batch, training.local_steps, model.embedding_dim or the widths of the model"
            )

    @property
    def most_step_examples(self) -> int:
        """Largest number of examples of one worker in a step; shares follow the parties' rows."""
        training, workers = self.training, len(self.by_role("worker"))
        return training.step_examples * (UNEVEN * workers if len(self.data_owners()) > 1 else 1)

    def step_bytes(self, examples: int) -> int:
        """Size of the largest message of a step in which a worker has ``examples`` examples."""
        rows = min(examples * len(self.data.categorical), self.data.total_rows)
        # As int8, a row of one value has a scale beside it.
        return 4 * self.exchanged_dense + rows * (8 + max(4 * self.exchanged_width, 5))

    @property
    def updates_before(self) -> int:
        """Number of updates that the model holds before the run's first step."""
        return self.start.step if self.start is not None else 0

    @property
    def optimizer_updates_before(self) -> int:
        """Number of these updates that the optimizers' state has seen."""
        return self.start.step - self.start.optimizers_began if self.start is not None else 0

    @property
    def exchanged_dense(self) -> int:
        """Numbers in a step's messages for dense parameters, then the workers' optimizer's sums."""
        parameters = self.model.dense_parameters(self.data)
        return sum(parameter.size for parameter in parameters) + self.exchanged_sums

    @property
    def exchanged_sums(self) -> int:
        """Numbers in a step's messages for the workers' optimizer's sums of dense parameters."""
        parameters = self.model.dense_parameters(self.data)
        local = self.training.local_training
        return local.dense.sums(parameter.shape for parameter in parameters) if local else 0

    @property
    def exchanged_width(self) -> int:
        """Numbers per row in a step's messages: its values, then the workers' optimizer's state."""
        local, dim = self.training.local_training, self.model.embedding_dim
        return dim + (local.rows.state_width(dim) if local else 0)

    @property
    def node_names(self) -> tuple[str, ...]:
        """The names of all nodes, in contract order."""
        return tuple(node.name for node in self.nodes)

    @property
    def party_names(self) -> tuple[str, ...]:
        """The names of all parties, in contract order."""
        return tuple(party.name for party in self.parties)

    def node(self, name: str) -> Node:
        """The node of this name.

        Raises:
            ContractInvalid: The contract has no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise _unnamed("node", name, self.node_names)

    def party(self, name: str) -> Party:
        """The party of this name.

        Raises:
            ContractInvalid: The contract has no such party.
        """
        for party in self.parties:
            if party.name == name:
                return party
        raise _unnamed("party", name, self.party_names)

    def kind_of(self, node: Node) -> TeeKind:
        """The one kind of TEE that a node may run in."""
        if node.tee is not None:
            return node.tee
        return next(iter(self.trust.tables(node.role)), self.trust.tee)

    def table_of(self, node: Node) -> RoleTrust:
        """What a node must show."""
        return self.trust.tables(node.role)[self.kind_of(node)]

    def by_role(self, role: Role) -> tuple[Node, ...]:
        """The nodes with one role, in contract order (workers are summed in this order)."""
        return tuple(node for node in self.nodes if node.role == role)

    def data_owners(self) -> tuple[Node, ...]:
        """The nodes that open a data set: HFL's workers, SDT's chief."""
        return self.by_role("worker" if self.mode == "hfl" else "chief")

    def model_recipients(self) -> tuple[Node, ...]:
        """The nodes that receive the trained model, one per receiving party, in contract order.

        It is the party's chief if it has one, otherwise its first worker.
        """
        parties = self.results.model_parties
        named = {node.party for node in self.data_owners()} if parties is None else set(parties)
        found = (self._recipient(party.name) for party in self.parties if party.name in named)
        return tuple(node for node in found if node is not None)

    @property
    def gives_optimizer_state(self) -> bool:
        """Whether the optimizers' state exists and is given out with the model."""
        return self.results.optimizer_state and self.training.keeps_state

    def start_giver(self) -> Node | None:
        """The node that sends the model that the run starts from; None without a start."""
        if self.start is None:
            return None
        if self.start.party is not None:
            return self._recipient(self.start.party)
        return self.model_recipients()[0]

    def receipt_keeper(self) -> Node:
        """The node that writes the receipt: the first server, or the chief of a cluster without one."""
        return (*self.by_role("ps"), *self.by_role("chief"))[0]

    def tensorflow_peers(self, node: Node) -> tuple[Node, ...]:
        """The nodes with which a node's TensorFlow speaks, in contract order.

        In mode hfl parameter servers and workers speak with each other, and not among themselves:
        workers are of different parties.
        """
        return tuple(
            one
            for one in self.nodes
            if one != node and (self.mode == "sdt" or one.role != node.role)
        )

    def _recipient(self, party: str) -> Node | None:
        candidates = (*self.by_role("chief"), *self.by_role("worker"))
        return next((node for node in candidates if node.party == party), None)


def _unnamed(kind: str, name: str, names: tuple[str, ...]) -> ContractInvalid:
    what, remedy = f"the contract has no {kind} {name[:100]!r}", f"name a {kind} of this contract"
    return ContractInvalid.unknown(what, name, names, remedy)
