"""Losses and gradients of k2, for bench_full_sum.py; runs in an interpreter that has k2.

    python k2_peer.py PROBLEM.npz RESULT.npz ROUNDS

The wheels of k2 need a PyTorch of their own, such as 1.12.1 with Python 3.9, so this script imports
neither sprintcache nor the harness.

PROBLEM: `graphs` (B,) texts of `sprintcache.automata.export.k2_text`, whose labels are counted from
1; `log_probs` (T, B, L); `lengths` (B,). RESULT: `loss` (B,) float64; `gradient` of their sum
(T, B, L) float32; `seconds` (ROUNDS,) that loss and gradient took.
"""

import sys
import time

import k2
import numpy as np
import torch


def main() -> None:
    source, destination, rounds = sys.argv[1:]
    torch.set_num_threads(2)
    with np.load(source) as problem:
        graphs = k2.create_fsa_vec([k2.Fsa.from_str(text) for text in problem["graphs"].tolist()])
        log_probs = torch.from_numpy(problem["log_probs"]).requires_grad_()
        lengths = problem["lengths"].tolist()
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    spans = torch.tensor([[i, 0, lengths[i]] for i in longest_first], dtype=torch.int32)
    graphs = k2.index_fsa(graphs, torch.tensor(longest_first, dtype=torch.int32))
    seconds = []
    for _ in range(int(rounds)):
        log_probs.grad = None
        begin = time.perf_counter()
        # label 0 is epsilon, of which the graphs have none
        scores = torch.nn.functional.pad(log_probs.transpose(0, 1), (1, 0), value=-1e9)
        dense = k2.DenseFsaVec(scores.contiguous(), spans)
        lattice = k2.intersect_dense(graphs, dense, output_beam=1e9)
        loss = -lattice.get_tot_scores(log_semiring=True, use_double_scores=True)
        loss.sum().backward()
        seconds.append(time.perf_counter() - begin)
    in_order = np.empty(len(lengths))
    in_order[longest_first] = loss.detach().numpy()
    np.savez(destination, loss=in_order, gradient=log_probs.grad.numpy(), seconds=seconds)


if __name__ == "__main__":
    main()
