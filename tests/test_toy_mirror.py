"""An example for developers: mirror something other than Frigate to somewhere other than S3.

A new recorder needs a catalog and kinds (`frigate_mirror.catalog`), a new destination needs a sink
(`frigate_mirror.sinks.sink`). The mirror itself stays as it is. Here a shop of toys is the
recorder. The mirror writes a label for each toy and puts it on a shelf.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from frigate_mirror.artifact import Artifact
from frigate_mirror.catalog import Kind
from frigate_mirror.ledger.folders import open_alone
from frigate_mirror.mirror import Mirror
from frigate_mirror.sinks.sink import Probe, Receipt, Stored
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import World

Toy = namedtuple("Toy", "id camera started ended")  # the subject that a label belongs to


class Shop:  # the catalog
    def subjects(self, ids: Sequence[str]) -> list[Toy]:
        return [Toy(one, "shop", 1.0, 2.0) for one in ids if one == "robot"]

    def window(self, since: float, until: float) -> Iterator[list[str]]:
        yield ["robot"]

    def ended_since(self, ended: float, since: float, most: int) -> list[str]:
        return ["robot"]


class Labels(Kind[Toy]):  # the kind
    name = "label"

    def find(self, toy: Toy, held: str) -> Artifact | None:
        return Artifact(id=f"label:{toy.id}", camera=toy.camera, started=toy.started,
                        key=f"labels/{toy.id}-label.txt", origin=toy.id, size=len(toy.id),
                        content_type="text/plain", metadata={}, opener=self.open)  # fmt: skip

    def open(self, artifact: Artifact) -> BinaryIO:
        return BytesIO(artifact.origin.encode())


class Shelf(dict[str, bytes]):  # the sink
    def put(self, key: str, body: BinaryIO, **description: Any) -> Receipt:
        self[key] = data = body.read()
        return Receipt(key, len(data), etag="", sha256=sha256(data).hexdigest())

    def check(self) -> Probe:
        return Probe(took=0.0, clock_skew=None)

    def list(self, prefix: str) -> Iterator[Stored]:
        return (Stored(key, len(data), 0.0) for key, data in self.items() if key.startswith(prefix))


def test_the_label_of_a_toy_is_put_on_the_shelf(tmp_path: Path) -> None:
    settings, shelf = World(tmp_path).settings(), Shelf()
    state = open_alone(settings.state)
    mirror = Mirror(settings, shelf, state, Shop(), [Labels()])
    mirror.start_threads()
    mirror.sweep.sweep()
    until(lambda: shelf == {"labels/robot-label.txt": b"robot"}, "the label is on the shelf")
    mirror.stop(drain=PATIENCE)
    state.ledger.close()


def test_without_a_spool_the_label_comes_from_its_kind(tmp_path: Path) -> None:
    settings, shelf = World(tmp_path).settings(MIRROR_SPOOL_LIMIT_MB="0"), Shelf()
    state = open_alone(settings.state)
    mirror = Mirror(settings, shelf, state, Shop(), [Labels()])
    mirror.sweep.sweep()
    assert mirror.uploader.step()
    state.ledger.close()
    assert shelf == {"labels/robot-label.txt": b"robot"}
