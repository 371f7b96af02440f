"""What every source of new files must do: the tests of FolderSource and S3ListingSource, and of those to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectInfo, micros
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.lake.sources import Facts, Memory, Source, facts_of


class Remembered:
    """A memory that knows what it was told, as ObjectIndex knows the table `objects`."""

    def __init__(self) -> None:
        self.objects: dict[str, ObjectInfo] = {}
        self._places: dict[str, str] = {}

    def keep(self, objects: Iterable[ObjectInfo]) -> None:
        """Makes durable what became of objects."""
        self.objects |= {o.key: o for o in objects}

    def unknown(self, objects: Sequence[Facts]) -> list[Facts]:
        return [facts for facts in objects if facts not in facts_of(self.objects.values())]

    def compare(
        self, prefix: str, objects: Sequence[Facts], before: int | None = None
    ) -> tuple[list[Facts], list[str]]:
        keys = [facts[0] for facts in objects]
        assert keys == sorted(keys)
        own = {key for key in self.objects if key.startswith(f"{prefix}/")}
        if before is not None:
            own = {key for key in own if micros(self.objects[key].modified_at) < before}
        return self.unknown(objects), sorted(own - set(keys))

    def standing(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key in self.objects]

    def place(self, name: str) -> str | None:
        return self._places.get(name)

    def keep_place(self, name: str, value: str) -> None:
        self._places[name] = value


class SourceContract:
    """A subclass gives the fixture `lake`, and another `source` for another kind of source."""

    def source(self, lake: Lake, memory: Memory) -> Source:
        """The source of raw/uploads, as a process that has just started opens it."""
        return source_for(lake, "raw/uploads", memory)

    def deliver(self, lake: Lake, memory: Remembered) -> list[str]:
        """One tick: the keys that a source delivers, which are made durable and then acknowledged."""
        source = self.source(lake, memory)
        objects, cursor = source.poll(None)
        memory.keep(objects)
        source.ack(cursor)
        return sorted(o.key for o in objects)

    def test_what_is_fresh_is_delivered_and_nothing_else(self, lake: Lake) -> None:
        memory = Remembered()
        assert self.deliver(lake, memory) == []
        for key in ("raw/uploads/b.jpg", "raw/uploads/x/a.jpg", "raw/uploads-2/c.jpg", "raw/labels/b.txt"):
            lake.put(key, b"1")
        lake.put("raw/uploads/.hidden/a.jpg", b"1")
        lake.put("raw/uploads/x/late.jpg.part", b"1")
        assert self.deliver(lake, memory) == ["raw/uploads/b.jpg", "raw/uploads/x/a.jpg"]
        assert self.deliver(lake, memory) == []
        lake.put("raw/uploads/y.jpg.part", b"1")
        assert self.deliver(lake, memory) == []
        lake.put("raw/uploads/0.jpg", b"1")  # before all others, in order of key
        assert self.deliver(lake, memory) == ["raw/uploads/0.jpg"]
        lake.put("raw/uploads/x/a.jpg", b"22")
        assert self.deliver(lake, memory) == ["raw/uploads/x/a.jpg"]
        assert memory.objects["raw/uploads/x/a.jpg"].size == 2
        assert self.deliver(lake, memory) == []

    def test_what_is_not_acknowledged_is_delivered_again(self, lake: Lake) -> None:
        memory = Remembered()
        lake.put("raw/uploads/a.jpg", b"1")
        objects, cursor = self.source(lake, memory).poll(None)
        assert [o.key for o in objects] == ["raw/uploads/a.jpg"]
        lake.put("raw/uploads/b.jpg", b"1")
        # Killed here: nothing became of the first delivery, and the next process begins anew.
        again, cursor = self.source(lake, memory).poll(None)
        assert sorted(o.key for o in again) == ["raw/uploads/a.jpg", "raw/uploads/b.jpg"]
        memory.keep(again)
        # Killed here: all is durable, and it was not said. What is delivered again is known.
        assert self.deliver(lake, memory) == []
        self.source(lake, memory).ack(cursor)  # of before, late
        assert self.deliver(lake, memory) == []

    def test_a_cursor_goes_on_without_being_acknowledged(self, lake: Lake) -> None:
        memory = Remembered()
        source = self.source(lake, memory)
        lake.put("raw/uploads/x/a.jpg", b"1")
        first, cursor = source.poll(None)
        memory.keep(first)
        lake.put("raw/uploads/x/b.jpg", b"1")
        assert [o.key for o in source.poll(cursor)[0]] == ["raw/uploads/x/b.jpg"]

    def test_reconcile_finds_what_was_missed_and_what_is_gone(self, lake: Lake) -> None:
        memory = Remembered()
        for name in ("a", "b", "x/c"):
            lake.put(f"raw/uploads/{name}.jpg", b"1")
        source = self.source(lake, memory)
        objects, cursor = source.poll(None)
        memory.keep(o for o in objects if not o.key.endswith("b.jpg"))
        source.ack(cursor)  # though b has been lost
        lake.delete("raw/uploads/a.jpg")
        fresh, gone, cursor = source.reconcile()
        assert ([o.key for o in fresh], gone) == (["raw/uploads/b.jpg"], ["raw/uploads/a.jpg"])
        memory.keep(fresh)
        source.ack(cursor)
        assert self.deliver(lake, memory) == []
