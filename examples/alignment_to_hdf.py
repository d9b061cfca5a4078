"""An alignment of Sprint as sparse labels in HDF5, as RETURNN's HDFDataset reads it.

    python examples/alignment_to_hdf.py [OUT.hdf]

needs the extra `hdf`. The same from the command line: ``sprintcache convert ALIGNMENT --to OUT.hdf
--allophones FILE --state-tying FILE``.
"""

import sys
from pathlib import Path

import h5py
import numpy as np

import sprintcache
from sprintcache.convert import convert

DATA = Path(__file__).parent.parent / "tests" / "data"


def main(out: str = "alignment.hdf") -> None:
    labeling = sprintcache.AllophoneLabeling(
        silence_phone="[SILENCE]",
        allophone_file=DATA / "allophones",
        state_tying_file=DATA / "state-tying" / "monophone",
    )
    count = convert([DATA / "alignment.viterbi.cache"], out, labeling=labeling, overwrite=True)
    with h5py.File(out, "r") as file:
        labels, lengths = file["inputs"][:], file["seqLengths"][:, 0]
        first = file["seqTags"].asstr()[0]
        classes = file.attrs["inputPattSize"]
    print(f"{out}: {count} segments, {len(labels)} frames, {classes} labels")
    print(f"{first}: {labels[: lengths[0]][:12]} ...")
    silence = np.mean(labels == labeling.sil_label_idx)
    print(f"{silence:.0%} of the frames are silence")


if __name__ == "__main__":
    main(*sys.argv[1:])
