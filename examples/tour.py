# %% [markdown]
# # A tour of sprintcache
#
# Cells begin with `# %%`: open this file as a notebook (VS Code, Spyder, Jupyter with Jupytext), or
# run it as a script. The data are real archives of Sprint in `tests/data`.

# %%
import tempfile
from pathlib import Path

import numpy as np

import sprintcache
from sprintcache.comparison import compare
from sprintcache.statistics import collect

DATA = Path(__file__).parent.parent / "tests" / "data"

# %% [markdown]
# ## Features
# A bundle is opened like an archive; a segment is a matrix of frames by dimension.

# %%
features = sprintcache.open_archive(DATA / "features.bundle")
name = features.segments[0]
matrix = features.read_features(name)
start, end = features.read_times(name)[[0, -1]]
print(f"{len(features.segments)} segments; {name}: {matrix.shape}, {end[1] - start[0]:.2f} s")

# %% [markdown]
# ## Labels
# An alignment holds allophone states; a labeling makes classes of them.

# %%
labeling = sprintcache.AllophoneLabeling(
    silence_phone="[SILENCE]",
    allophone_file=DATA / "allophones",
    state_tying_file=DATA / "state-tying" / "monophone",
)
alignments = sprintcache.open_archive(DATA / "alignment.viterbi.cache")
labels = alignments.read_labels(name, labeling)
alignment = alignments.read_alignment(name)
print(f"{len(labels)} labels, {np.mean(labels == labeling.sil_label_idx):.0%} silence")
print("states:", [labeling.symbol(int(i)) for i in alignment.emission[[60, 80, 100]]])

# %% [markdown]
# ## A soft alignment
# Baum-Welch alignments have several items a frame, with weights.

# %%
soft = sprintcache.open_archive(DATA / "alignment.bw.gz.cache").read_alignment(name)
print(f"{len(soft)} items for {soft.num_frames} frames, weights sum to {soft.weight.sum():.1f}")

# %% [markdown]
# ## The corpus
# Statistics stream over the archives; two alignments can be compared.

# %%
statistics = collect(features)
print(f"{statistics.lengths.total} frames in {statistics.seconds:.1f} s")
print(f"variance of the first cepstra: {np.round(statistics.moments[16].variance[:4], 2)}")
linear = sprintcache.open_archive(DATA / "alignment.linear.cache")
comparison = compare(alignments, linear, labeling=labeling)
print(f"Viterbi against linear: {comparison.units.agreement:.0%} of the frames agree")

# %% [markdown]
# ## Batches for a training
# The dataset orders the corpus and decodes batches, padded, in one copy.

# %%
dataset = sprintcache.SprintCacheDataset(
    {
        "data": {"filename": str(DATA / "features.bundle")},
        "classes": {
            "filename": str(DATA / "alignment.viterbi.cache"),
            "type": "align",
            "allophone_labeling": {
                "silence_phone": "[SILENCE]",
                "allophone_file": str(DATA / "allophones"),
                "state_tying_file": str(DATA / "state-tying" / "monophone"),
            },
        },
    },
    seq_ordering="laplace:.4",
)
dataset.init_seq_order(epoch=1)
batch = dataset.read_batch(dataset.get_current_seq_order()[:4])
for key, (array, lengths) in batch.items():
    print(key, array.shape, lengths)

# %% [markdown]
# ## Writing
# What is written is read by Sprint; a crash never leaves half an archive in place of a whole one.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "normalized.cache")
    with sprintcache.ArchiveWriter(path) as writer:
        for segment, matrix in features.iter_features():
            writer.add_features(segment, (matrix - matrix.mean(0)) / matrix.std(0))
    print(sprintcache.verify(path))
