"""The session with a coordinator: dial in, say hello, then one loop over whole frames.

Everything happens in one task, one frame after the other, so that there is nothing to lock. A frame of prepares becomes one
transaction of the store and one frame of votes.
"""

import asyncio
import logging
import os
from collections import OrderedDict
from typing import Iterable, Iterator, Optional

import grpc
from handfast.v1 import participant_pb2 as wire
from handfast.v1.participant_pb2_grpc import ParticipantsStub

from .store import ABORTED, COMMITTED, CONTRARY, DONE, HAZARD, PREPARED, READ_ONLY, REFUSED, Branch, Seen, Store, Vote

PROTOCOL_VERSION = 1
HANDSHAKE_SECONDS = 10.0
GOODBYE_SECONDS = 2.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0
# A peer that was silent for this many heartbeats is gone.
SILENT_HEARTBEATS = 3
# The longest first frame: the coordinator's limit is not known before its welcome.
HELLO_BYTES = 32 << 10
LONGEST_FRAME_BYTES = 64 << 20
# Longest words of a vote or an acknowledgement; the rest is cut off.
WORDS = 1000
# What a message costs in its frame beside its own bytes.
TAG_BYTES = 8
# Votes that leave no trace in the store, kept so that a prepare that comes again gets the same vote.
KEPT_VOTES = 65_536

VOTES = {PREPARED: wire.VOTE_KIND_PREPARED, READ_ONLY: wire.VOTE_KIND_READ_ONLY, REFUSED: wire.VOTE_KIND_REFUSED}
DECISIONS = {wire.DECISION_KIND_COMMIT: COMMITTED, wire.DECISION_KIND_ABORT: ABORTED}
ACKS = {DONE: wire.ACK_KIND_DONE, HAZARD: wire.ACK_KIND_HAZARD, CONTRARY: wire.ACK_KIND_CONTRARY}

OPTIONS = [
    ("grpc.max_receive_message_length", LONGEST_FRAME_BYTES),
    # How long to wait between two dials is decided here, not by state that the library shares between channels.
    ("grpc.use_local_subchannel_pool", 1),
]

log = logging.getLogger("stock")


class Lost(Exception):
    """The session is over; dial again."""


# InvalidStateError is the library's way to say that a stream had ended before something was written to it.
LOST = (Lost, asyncio.TimeoutError, asyncio.InvalidStateError)


class Participant:
    """Takes part under a name, at one coordinator, until it is stopped."""

    def __init__(self, store: Store, resource: str, coordinator: str):
        self.store = store
        self.resource = resource
        self.coordinator = coordinator
        self.instance = os.urandom(16)
        # What this process was told and had nothing to write with. Hello shows it all the same.
        self.told: dict[bytes, Seen] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Dials again and again. A lost session decides nothing: what is promised stays promised."""
        wait = FIRST_WAIT_SECONDS
        while not stopped.is_set():
            session = Session(self, stopped)
            try:
                async with grpc.aio.insecure_channel(self.coordinator, options=OPTIONS) as channel:
                    await session.run(channel)
                    return
            except grpc.aio.AioRpcError as error:
                log.warning("no session (%s); dialing again", error.details())
            except LOST as error:
                log.warning("no session (%s); dialing again", str(error) or "no answer in time")
            if session.was_welcome:
                wait = FIRST_WAIT_SECONDS
            try:
                await asyncio.wait_for(stopped.wait(), wait)
            except asyncio.TimeoutError:
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def hello(self) -> wire.Hello:
        seen = self.store.seen()
        for of_log, told in self.told.items():
            seen[of_log] = max(told, seen.get(of_log, told))
        return wire.Hello(
            resource=self.resource,
            store_id=self.store.id,
            generation=self.store.generation,
            instance_id=self.instance,
            attached=True,
            seen=[wire.Seen(log_id=of_log, epoch=seen.epoch, lsn=seen.lsn) for of_log, seen in seen.items()],
            protocol_version=PROTOCOL_VERSION,
            software="python-participant/1",
        )


class Session:
    """One session from dialing to its end."""

    def __init__(self, participant: Participant, stopped: asyncio.Event):
        self.participant = participant
        self.store = participant.store
        self.stopped = stopped
        self.was_welcome = False
        self.recent: OrderedDict[Branch, Vote] = OrderedDict()

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Returns when the process is to stop, and raises when the session is lost."""
        self.call = ParticipantsStub(channel).Session()
        try:
            await self.handshake()
            await self.loop()
        finally:
            self.call.cancel()

    async def handshake(self) -> None:
        """Hello and the scan go first. The handshake is recovery: every promise of an earlier life is in that scan."""
        frames = list(frames_of(HELLO_BYTES, lines=self.lines(), scan=True))
        frames[0].hello.CopyFrom(self.participant.hello())
        self.heartbeat = HANDSHAKE_SECONDS
        for frame in frames:
            await self.write(frame)
        first = await asyncio.wait_for(self.call.read(), HANDSHAKE_SECONDS)
        if first is grpc.aio.EOF or not first.HasField("welcome"):
            raise Lost("the coordinator did not say welcome")
        welcome = first.welcome
        self.log_id, self.epoch, self.lsn = welcome.log_id, welcome.epoch, welcome.durable_lsn
        self.frame_bytes = max(welcome.limits.frame_bytes, 4096)
        self.heartbeat = max(welcome.limits.heartbeat_ms, 10) / 1000
        self.scan_period = max(welcome.limits.scan_period_ms, 10) / 1000
        self.was_welcome = True
        log.info("session is up, epoch %d", self.epoch)
        await self.take(first)

    async def loop(self) -> None:
        """Reads frames; between them heartbeats, scans, and the end of patience."""
        now = asyncio.get_running_loop().time
        self.sent_at = heard_at = now()
        scan_at = now() + self.scan_period
        stopped = asyncio.ensure_future(self.stopped.wait())
        reading = asyncio.ensure_future(self.call.read())
        try:
            while True:
                silent_at = heard_at + SILENT_HEARTBEATS * self.heartbeat
                timer_at = min(scan_at, silent_at, self.sent_at + self.heartbeat / 2)
                await asyncio.wait(
                    {reading, stopped}, timeout=max(0, timer_at - now()), return_when=asyncio.FIRST_COMPLETED)
                if stopped.done():
                    return await self.say_goodbye(reading)
                if reading.done():
                    frame = reading.result()
                    if frame is grpc.aio.EOF:
                        raise Lost("the stream ended")
                    heard_at = now()
                    reading = asyncio.ensure_future(self.call.read())
                    await self.take(frame)
                elif now() >= silent_at:
                    raise Lost("the coordinator is silent")
                if now() >= scan_at:
                    scan_at = now() + self.scan_period
                    await self.send(lines=self.lines(), scan=True)
                if now() >= self.sent_at + self.heartbeat / 2:
                    await self.write(wire.SessionRequest())
        finally:
            reading.cancel()
            stopped.cancel()

    async def take(self, frame: wire.SessionResponse) -> None:
        """Takes the fields of a frame in the order of their numbers."""
        self.lsn = max(self.lsn, frame.durable_lsn)
        told = self.participant.told
        told[self.log_id] = max(Seen(self.epoch, self.lsn), told.get(self.log_id, Seen(0, 0)))
        if frame.prepares:
            await self.send(votes=self.prepare(frame.prepares))
        if frame.decisions:
            await self.send(acks=self.decide(frame.decisions))
        for answer in frame.answers:
            if answer.kind in (wire.ANSWER_KIND_FINISHED, wire.ANSWER_KIND_FORGOTTEN):
                log.error("HELD: %s is prepared here and over at the coordinator; call an operator", answer.transaction_id.hex())
            # Every other answer, known or not: it is no decision, so the branch stays as it is.
        if frame.forgets:
            self.store.forget([self.branch(forget) for forget in frame.forgets])
        if frame.HasField("goodbye"):
            raise Lost(f"the coordinator said goodbye: {frame.goodbye.reason}")

    def prepare(self, prepares: Iterable[wire.Prepare]) -> Iterator[wire.Vote]:
        """Votes, once the promises are durable."""
        votes: dict[Branch, Vote] = {}
        asked: list[tuple[Branch, bytes]] = []
        for prepare in prepares:
            branch = self.branch(prepare)
            if branch in self.recent:
                votes[branch] = self.recent[branch]
            elif prepare.HasField("operation"):
                asked.append((branch, prepare.operation))
            else:
                votes[branch] = Vote(REFUSED, "NOT_INTERACTIVE", "this resource takes one-shot operations only")
        if asked:
            answers = self.store.prepare(asked, Seen(self.epoch, self.lsn))
            votes.update(zip([branch for branch, _ in asked], answers))
        for prepare in prepares:
            branch = self.branch(prepare)
            vote = votes[branch]
            if vote.kind != PREPARED:
                self.keep(branch, vote)
            yield wire.Vote(
                transaction_id=branch.transaction, branch=branch.number,
                kind=VOTES[vote.kind], reason=vote.reason, message=vote.message[:WORDS])

    def decide(self, decisions: Iterable[wire.Decision]) -> Iterator[wire.Ack]:
        """Acknowledges, once the effects are durable."""
        # A kind that is not known here is not carried out, and so not acknowledged.
        known = [decision for decision in decisions if decision.kind in DECISIONS]
        if not known:
            return
        decided = [(self.branch(decision), DECISIONS[decision.kind]) for decision in known]
        answers = self.store.finish(decided, Seen(self.epoch, self.lsn))
        for decision, (branch, _), (kind, evidence) in zip(known, decided, answers):
            self.keep(branch, Vote(REFUSED, "FENCED", "the branch was decided already"))
            yield wire.Ack(
                transaction_id=branch.transaction, branch=branch.number,
                decision=decision.kind, kind=ACKS[kind], evidence=evidence[:WORDS])

    def keep(self, branch: Branch, vote: Vote) -> None:
        self.recent[branch] = vote
        if len(self.recent) > KEPT_VOTES:
            self.recent.popitem(last=False)

    def lines(self) -> Iterator[wire.InDoubt]:
        """The scan. Each line names the log that the branch belongs to, which may be another coordinator's."""
        for branch, state in self.store.scan():
            phase = wire.IN_DOUBT_PHASE_PREPARED if state == PREPARED else wire.IN_DOUBT_PHASE_MARKER
            yield wire.InDoubt(
                transaction_id=branch.transaction, branch=branch.number, log_id=branch.log, phase=phase)

    def branch(self, message) -> Branch:
        if len(message.transaction_id) != 16:
            raise Lost("the coordinator sent a transaction id that is none")
        return Branch(self.log_id, message.transaction_id, message.branch)

    async def send(self, **messages) -> None:
        for frame in frames_of(self.frame_bytes, **messages):
            await self.write(frame)

    async def write(self, frame: wire.SessionRequest) -> None:
        # A peer that takes nothing for so long is as good as silent.
        await asyncio.wait_for(self.call.write(frame), SILENT_HEARTBEATS * self.heartbeat)
        self.sent_at = asyncio.get_running_loop().time()

    async def say_goodbye(self, reading: "asyncio.Future[Optional[wire.SessionResponse]]") -> None:
        goodbye = wire.Goodbye(reason="SHUTDOWN", message="the participant is shutting down")
        try:
            await self.write(wire.SessionRequest(goodbye=goodbye))
            await self.call.done_writing()
            # The coordinator ends its side once it has read the goodbye.
            await asyncio.wait_for(reading, GOODBYE_SECONDS)
        except (grpc.aio.AioRpcError, *LOST):
            log.warning("the coordinator did not take the goodbye in time")


def frames_of(
    limit: int, votes: Iterable = (), acks: Iterable = (), lines: Iterable = (), scan: bool = False
) -> Iterator[wire.SessionRequest]:
    """Packs messages into frames that the coordinator takes. The last frame of a scan says that it is complete."""
    frame, room = wire.SessionRequest(), limit
    for field, messages in (("votes", votes), ("acks", acks), ("in_doubt", lines)):
        for message in messages:
            cost = message.ByteSize() + TAG_BYTES
            if cost > room and room < limit:
                yield frame
                frame, room = wire.SessionRequest(), limit
            getattr(frame, field).append(message)
            room -= cost
    frame.scan_complete = scan
    if scan or room < limit:
        yield frame
