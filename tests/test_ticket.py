"""Masks obey their algebra; a ticket file comes back whole, and nothing else is taken for one."""

import json
import pickle
import struct
import zipfile
from io import BytesIO

import pytest
import torch
from safetensors.torch import save

from lthray.core.random import generator, seed_of
from lthray.core.ticket import Mask, Ticket, TicketError, largest
from lthray.core.ticket_file import MAX_HEADER, read_ticket

SHAPES = {
    "b.weight": (4, 3, 3, 3),
    "a.weight": (7, 5),
}  # not in alphabetical order, and not a multiple of eight


def drawn(density: float, seed: int = 0) -> Mask:
    return Mask(
        {n: torch.rand(s, generator=generator(n, seed)) < density for n, s in SHAPES.items()}
    )


def ticket(density: float = 0.3) -> Ticket:
    mask = drawn(density)
    weights = {n: torch.randn(s, generator=generator("w", n)) for n, s in SHAPES.items()} | {
        "bias": torch.randn(4)
    }
    mask.apply_(weights)
    return Ticket(mask, weights, 20)


def test_mask_counts_and_order():
    mask = drawn(0.3)
    assert mask.kept == sum(int(m.sum()) for m in mask.values())
    assert mask.size == 4 * 27 + 35
    assert mask.density == mask.kept / mask.size
    assert list(mask.densities) == list(SHAPES)
    assert Mask.full(SHAPES).density == 1


def test_mask_algebra():
    a, b = drawn(0.3, 1), drawn(0.6, 2)
    both = a & b
    assert both.within(a)
    assert both.within(b)
    assert not a.within(both)
    assert a.overlap(a) == 1
    assert a.overlap(b) == pytest.approx(both.kept / (a.kept + b.kept - both.kept))
    assert a == drawn(0.3, 1)
    assert a != b


@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_packing_is_exact_and_an_eighth_of_a_byte_a_weight(density):
    mask = drawn(density)
    packed = mask.packed()
    assert packed.numel() == -(-mask.size // 8)
    assert Mask.unpacked(packed, SHAPES) == mask


def test_apply_and_holds():
    mask, weights = drawn(0.5), {n: torch.ones(s) for n, s in SHAPES.items()}
    assert not mask.holds(weights)
    mask.apply_(weights)
    assert mask.holds(weights)
    assert all(torch.equal(weights[n], m.float()) for n, m in mask.items())
    weights["a.weight"].view(-1)[(~mask["a.weight"]).flatten().nonzero()[0]] = float("nan")
    assert not mask.holds(weights)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"a.weight": torch.ones(7, 5, dtype=torch.bool)}, "differ in names: b.weight"),
        ({n: torch.ones(2, dtype=torch.bool) for n in SHAPES}, "shape"),
        (
            {
                **{n: torch.ones(s, dtype=torch.bool) for n, s in SHAPES.items()},
                "c": torch.ones(1, dtype=torch.bool),
            },
            "names: c",
        ),
    ],
)
def test_mask_refuses_other_names_and_shapes(other, said):
    with pytest.raises(ValueError, match=said):
        drawn(0.5) & Mask(other)


def test_mask_refuses_numbers():
    with pytest.raises(ValueError, match=r"torch.float32, expected torch.bool"):
        Mask({"a": torch.ones(2)})


@pytest.mark.parametrize("with_weights", [False, True])
def test_a_ticket_file_comes_back_whole(with_weights):
    made = ticket()
    found, facts = read_ticket(
        made.to_bytes({"round": 3, "weights": "k"}, with_weights=with_weights), SHAPES
    )
    assert found.mask == made.mask
    assert found.start == 20
    assert facts["round"] == 3
    assert found.weights.keys() == (made.weights.keys() if with_weights else set())
    assert all(torch.equal(found.weights[n], made.weights[n]) for n in found.weights)


def test_the_same_ticket_is_the_same_bytes():
    assert ticket().to_bytes({"a": 1, "b": [2]}) == ticket().to_bytes({"a": 1, "b": [2]})


def header(facts: object, tensors: dict | None = None, **more: object) -> bytes:
    """A file with the right mask and the given header facts."""
    text = facts if isinstance(facts, str) else json.dumps(facts)
    return save(
        tensors or {"mask": ticket().mask.packed()},
        {"lthray": text, **{k: str(v) for k, v in more.items()}},
    )


class Canary:
    """Says so if anybody unpickles it."""

    def __reduce__(self):
        return (open, ("canary-was-executed", "w"))


def spoilt(change) -> bytes:
    """A ticket whose header somebody has changed; the bytes of its tensors are as they were."""
    good = ticket().to_bytes({}, with_weights=True)
    length = struct.unpack("<Q", good[:8])[0]
    head = json.loads(good[8 : 8 + length])
    text = json.dumps(change(head) or head).encode()
    return struct.pack("<Q", len(text)) + text + good[8 + length :]


def moved(by: int):
    """Move the first byte of the second tensor, so that it overlaps the first or leaves a hole."""

    def change(head: dict) -> None:
        second = sorted((row["data_offsets"], name) for name, row in head.items() if name[0] != "_")
        begin, end = second[1][0]
        head[second[1][1]]["data_offsets"] = [begin + by, end + by]

    return change


def as_shape(*shape: int):
    return lambda head: head["mask"].update(shape=list(shape))


def hostile() -> dict[str, tuple[bytes, str]]:
    good, shapes = ticket().to_bytes({}), {n: list(s) for n, s in SHAPES.items()}
    zipped = BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Canary()))
    length = struct.unpack("<Q", good[:8])[0]
    twice = good[8 : 8 + length].decode().replace('{"__metadata__"', '{"mask":0,"__metadata__"')
    none = {"mask": torch.zeros(18, dtype=torch.uint8)}
    weights = {"mask": ticket().mask.packed()}
    kept = int(ticket().mask["a.weight"].sum())
    facts = {"shapes": shapes, "start": 0}
    return {
        "empty": (b"", "not a safetensors file"),
        "pickle": (pickle.dumps(Canary()), "never loads pickles"),
        "torch zip": (zipped.getvalue(), "not a safetensors file"),
        "huge header": (struct.pack("<Q", 2**40) + b"{}", "not a safetensors file"),
        "header over the limit": (
            struct.pack("<Q", MAX_HEADER + 1) + b" " * (MAX_HEADER + 9),
            "not a safetensors file",
        ),
        "truncated": (good[:-3], "not a safetensors file"),
        "trailing bytes": (good + b"x", "not a safetensors file"),
        "not json": (struct.pack("<Q", 4) + b"oops", "not a ticket"),
        "duplicate names": (
            struct.pack("<Q", len(twice)) + twice.encode() + good[8 + length :],
            "duplicate names",
        ),
        "deep nesting": (struct.pack("<Q", 100_000) + b"[" * 100_000, "not a ticket"),
        "no metadata": (save({"mask": ticket().mask.packed()}), "__metadata__"),
        "no shapes": (header({"start": 0}), "'shapes'"),
        "start is text": (header({"shapes": shapes, "start": "0"}), "malformed"),
        "start below zero": (header({"shapes": shapes, "start": -1}), "malformed"),
        "huge shape": (header({"shapes": {"a.weight": [2**40, 2]}, "start": 0}), "malformed"),
        "shapes is a list": (header({"shapes": [1], "start": 0}), "not a ticket"),
        "other network": (header({"shapes": {"c.weight": [143]}, "start": 0}), "another network"),
        "a name as a path": (
            header({"shapes": {**shapes, "../../x": [1]}, "start": 0}),
            "another network",
        ),
        "mask too short": (
            header(facts, {"mask": torch.ones(3, dtype=torch.uint8)}),
            "expected 18 packed bytes",
        ),
        "mask of floats": (header(facts, {"mask": torch.ones(18)}), "expected 18 packed bytes"),
        "mask keeps nothing": (header(facts, none), "keeps no weight"),
        "nan weights": (
            header(facts, {**weights, "weights.a.weight": torch.full((kept,), torch.nan)}),
            "finite",
        ),
        "too many weights": (
            header(facts, {**weights, "weights.a.weight": torch.ones(kept + 1)}),
            "the mask keeps",
        ),
        "integer weights": (
            header(facts, {**weights, "weights.a.weight": torch.ones(kept, dtype=torch.int64)}),
            "finite",
        ),
        "stray tensor": (header(facts, {**weights, "optimizer": torch.ones(3)}), "kept weights"),
        "pickle in an old form": (pickle.dumps(Canary(), protocol=0), "never loads pickles"),
        "pickle behind a length": (
            struct.pack("<Q", 40) + pickle.dumps(Canary()).ljust(60, b"."),
            "not a ticket",
        ),
        "tar": (b"weights".ljust(257, b"\0") + b"ustar\0" + bytes(1000), "never loads pickles"),
        "overlapping tensors": (spoilt(moved(-1)), "not a safetensors file"),
        "a hole between tensors": (spoilt(moved(1)), "not a safetensors file"),
        "a tensor of 2^62 entries": (spoilt(as_shape(2**31, 2**31)), "not a safetensors file"),
        "a tensor of 8 GB": (spoilt(as_shape(8 * 10**9)), "not a safetensors file"),
        "a shape below zero": (spoilt(as_shape(-1, 18)), "not a safetensors file"),
        "an unknown dtype": (
            spoilt(lambda head: head["mask"].update(dtype="Q7")),
            "not a safetensors file",
        ),
        "another dtype": (
            spoilt(lambda head: head["mask"].update(dtype="BOOL")),
            "expected 18 packed bytes",
        ),
        "metadata is text": (spoilt(lambda head: head | {"__metadata__": "x"}), "not a ticket"),
        "metadata is a list": (spoilt(lambda head: head | {"__metadata__": []}), "not a ticket"),
        "facts are no JSON": (header("{"), "not a ticket"),
        "facts are a number": (header("3"), "not a ticket"),
        "facts name NaN": (header('{"shapes": {}, "start": NaN}'), "not a finite number"),
        "facts name a word twice": (header('{"start": 0, "start": 1}'), "duplicate names"),
        "an empty name": (header({"shapes": {**shapes, "": [1]}, "start": 0}), "another network"),
        "a name that looks alike": (
            header({"shapes": {"\u0430.weight": [7, 5], "b.weight": [4, 3, 3, 3]}, "start": 0}),
            "another network",
        ),
        "a name of 10 MB": (
            header({"shapes": {**shapes, "x" * 10**7: [1]}, "start": 0}),
            "never loads pickles",
        ),
        "a tensor named as a path": (
            header(facts, {**weights, "weights.../../x": torch.tensor([torch.nan])}),
            "expected a finite float tensor",
        ),
        "infinite weights": (
            header(facts, {**weights, "weights.a.weight": torch.full((kept,), torch.inf)}),
            "finite",
        ),
        "a transposed layer": (
            header({"shapes": {**shapes, "a.weight": [5, 7]}, "start": 0}),
            r"a.weight \(5, 7\) here \(7, 5\)",
        ),
        "many other layers": (
            header({"shapes": {f"l{n}.weight": [1] for n in range(9)}, "start": 0}),
            r"b.weight None here .*; a.weight .*; l0.weight .*; l1.weight .*; l2.weight \(1,\)"
            r" here None$",
        ),
    }


@pytest.mark.parametrize("name", hostile())
def test_what_is_no_ticket_is_refused_and_nothing_of_it_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, said = hostile()[name]
    with pytest.raises(TicketError, match=said):
        read_ticket(data, SHAPES)
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_bit_of_the_header_is_noticed_or_harmless():
    good = ticket().to_bytes({"round": 1})
    noticed, positions = 0, range(0, 8 * (8 + struct.unpack("<Q", good[:8])[0]), 13)
    for position in positions:
        data = bytearray(good)
        data[position // 8] ^= 1 << (position % 8)
        try:
            found, _ = read_ticket(bytes(data), SHAPES)
        except TicketError:
            noticed += 1
            continue
        assert found.mask == ticket().mask
    assert 0 < noticed < len(positions)


def test_streams_are_functions_of_their_words():
    a, b = torch.rand(4, generator=generator("x", 1)), torch.rand(4, generator=generator("x", 1))
    assert torch.equal(a, b)
    assert len({seed_of("x", 1), seed_of("x", 11), seed_of("x1", 1), seed_of("x", 1, 1)}) == 4
    assert seed_of("noise", 0, 0) == 6036130306559937497  # the same on every machine


def test_agreement_is_overlap_beyond_chance():
    shapes = {"a": (300, 200), "b": (40, 100)}
    a, b = (
        Mask(
            {
                n: torch.rand(s, generator=torch.Generator().manual_seed(i)) < 0.1 * (j + 1)
                for j, (n, s) in enumerate(shapes.items())
            }
        )
        for i in (1, 2)
    )
    assert a.agreement(a) == 1.0
    assert abs(a.agreement(b)) < 0.02
    inside = Mask(
        {n: m & (torch.arange(m.numel()).reshape(m.shape) % 2 == 0) for n, m in a.items()}
    )
    assert a.agreement(inside) == 1.0  # as equal as two masks of these densities can be
    half = Mask(
        {
            n: torch.where(torch.arange(m.numel()).reshape(m.shape) % 2 == 0, m, b[n])
            for n, m in a.items()
        }
    )
    assert a.agreement(half) == pytest.approx(0.5, abs=0.05)
    assert Mask.full(shapes).agreement(Mask.full(shapes)) == 0.0  # chance could not do otherwise


def test_a_ticket_can_be_read_by_the_shapes_that_it_names():
    mask = Mask({"a": torch.tensor([[True, False], [False, True]])})
    found, facts = read_ticket(Ticket(mask, {}, 3).to_bytes({"x": 1}))
    assert (found.mask, found.start, facts["x"]) == (mask, 3, 1)


def test_the_largest_tenth_of_a_layer_is_what_its_mask_keeps():
    weight = torch.tensor([[-9.0, 8.0, 8.0, 1.0], [7.0, -6.0, 5.0, 4.0]]).repeat(1, 5)
    layer = torch.ones(2, 20, dtype=torch.bool)
    assert torch.equal(
        largest(weight, layer).nonzero(), torch.tensor([[0, 0], [0, 4], [0, 8], [0, 12]])
    )
    few = torch.tensor([[False, True], [False, True]])
    assert torch.equal(
        largest(torch.tensor([[0.0, 2.0], [0.0, -3.0]]), few),
        torch.tensor([[0.0, 0.0], [0.0, -3.0]]),
    )
    assert torch.equal(
        largest(torch.ones(1, 30), torch.ones(1, 30, dtype=torch.bool)).flatten()[:4],
        torch.tensor([1.0, 1.0, 1.0, 0.0]),
    )
