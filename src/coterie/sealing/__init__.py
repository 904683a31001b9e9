"""Files that only a holder of their key can read or make: prepared data on foreign disks."""

from coterie.sealing.dataset import SealedDataSet, open_sealed_dataset, seal_dataset
from coterie.sealing.keys import DataKey

__all__ = ["DataKey", "SealedDataSet", "open_sealed_dataset", "seal_dataset"]
