"""How finely disks are divided: the larger, the fewer clusters a snapshot has to note."""

import pytest

from naos.engines import layouts

GIB = 2**30


@pytest.mark.parametrize(
    ("size", "bits"),
    [
        (1, 16),
        (16 * GIB, 16),
        (16 * GIB + 1, 18),
        (256 * GIB, 18),
        (256 * GIB + 1, 19),
        (512 * GIB, 19),
        (512 * GIB + 1, 20),
        (20480 * GIB, 20),
    ],
)
def test_large_disks_have_large_clusters(size: int, bits: int) -> None:
    assert layouts.cluster_bits(size) == bits
    assert size > 1024 * GIB or size >> bits <= 2**20
    assert layouts.options(bits) == f"cluster_size={2**bits}"


def test_how_long_a_snapshot_holds_a_volume_up_follows_from_the_clusters() -> None:
    assert layouts.snapshot_seconds([]) == 0
    assert layouts.snapshot_seconds([1024 * GIB]) == pytest.approx(0.0734, rel=0.01)
    assert layouts.snapshot_seconds([4096 * GIB, 16 * GIB]) == pytest.approx(0.312, rel=0.01)
