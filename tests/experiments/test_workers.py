"""Cores and GPUs: what a process may use, and what each of several workers may."""

import os
from types import SimpleNamespace

import pytest

from padim_nb.experiments.costs import peak_mb
from padim_nb.experiments.workers import THREADS, budget, by_host, cores, environment, share


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_a_process_bound_to_one_core_has_one():
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, every)


@pytest.mark.parametrize(
    ("mine", "gpu_gigabytes", "device", "runs", "gigabytes", "workers"),
    [
        (1, (), "auto", 100, 64, 1),
        (2, (), "auto", 100, 64, 2),
        (16, (), "auto", 100, 64, 16),
        (16, (), "auto", 3, 64, 3),  # each of the three has five cores
        (16, (), "auto", 100, 10, 5),  # 8 of the 10 for the runs, 1.2 and a worker's 0.3 each
        (2, (), "auto", 100, 1, 1),  # too little: one run will show it
        (16, (140,), "auto", 100, 64, 16),  # a large GPU has room for as many as there are cores
        (16, (12,), "auto", 100, 64, 4),  # 9.6 of the 12 for the runs, 1.2 and 0.8 for CUDA each
        (16, (12, 12), "auto", 100, 64, 8),
        (16, (1,), "cuda", 100, 64, 1),  # too little: one run will show it
        (16, (12, 12), "cuda", 1, 64, 1),
        (64, (12,), "cpu", 100, 1000, 64),  # the GPU is not used
        (64, (80,) * 8, "auto", 100, 8, 4),  # eight GPUs, main memory for four runs
        (64, (80, 80, 80, 12), "cuda:3", 100, 1000, 4),  # one GPU was named
    ],
)
def test_the_usual_number_of_workers_is_one_a_core_as_far_as_memory_goes(
    mine, gpu_gigabytes, device, runs, gigabytes, workers, monkeypatch
):
    monkeypatch.setattr("padim_nb.experiments.workers.cores", lambda: mine)
    monkeypatch.setattr("padim_nb.experiments.workers.gpu_memory_mb", lambda: [1000 * each for each in gpu_gigabytes])
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", gigabytes * 10**9)
    assert budget(runs, 1200, device=device) == workers


def test_workers_of_so_many_cores_each(monkeypatch):
    monkeypatch.setattr("padim_nb.experiments.workers.cores", lambda: 16)
    monkeypatch.setattr("padim_nb.experiments.workers.gpu_memory_mb", list)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 64 * 10**9)
    assert budget(100, 1200, 4) == 4
    assert share(2, cores_each=1) == 1
    assert share({"a": 1}, "a", 3) == 3
    assert share({"a": 1}, "a", 64) == 16  # what is there


def test_the_largest_recipe_decides_and_an_unknown_one_is_large():
    assert peak_mb(["padim-r18-rd100"]) < 2000 < peak_mb(["padim-r18-rd100", "padim-wr50-rd550"]) < peak_mb(["new"])


@pytest.mark.parametrize(
    ("workers", "mine", "machine", "each"),
    [
        (1, 12, 64, 12),  # processes of this machine divide what this one may use, here 12 of 64
        (5, 12, 64, 2),
        (20, 12, 64, 1),
        ({"a": 1, "b": 4}, 64, 64, 64),  # the only worker of machine a
        ({"a": 4, "b": 1}, 64, 64, 16),
        ({"a": 4}, 8, 64, 8),  # a batch system gave each of four its eight: they are not divided again
        ({"a": 100}, 64, 64, 1),
        ({"b": 4}, 64, 64, 64),  # a worker that came later
    ],
)
def test_workers_divide_a_machine_and_not_what_was_divided_before(workers, mine, machine, each, monkeypatch):
    monkeypatch.setattr("padim_nb.experiments.workers.cores", lambda: mine)
    monkeypatch.setattr("os.cpu_count", lambda: machine)
    assert share(workers, "a") == each


def test_a_worker_finds_its_own_share_and_its_own_gpu(monkeypatch):
    class Client:
        """Of a cluster of two machines, one with seven workers."""

        def nthreads(self):
            return {f"tcp://10.0.0.5:{port}": 1 for port in range(4000, 4007)} | {"tcp://10.0.0.6:4000": 1}

    monkeypatch.setattr("padim_nb.experiments.workers.cores", lambda: 64)
    monkeypatch.setattr("padim_nb.experiments.workers.gpus", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    hosts = by_host(Client())
    for address, name, each, before, gpu in (
        ("tcp://10.0.0.5:4003", 3, "9", None, "1"),
        ("tcp://10.0.0.5:4003", 3, "9", "4,6", "6"),  # two of many are ours
        ("tcp://10.0.0.6:4000", "a-name", "64", "5", "5"),  # started by hand: told there which GPU is its own
    ):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if before:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
        monkeypatch.setattr("distributed.get_worker", lambda a=address, n=name: SimpleNamespace(address=a, name=n))
        variables = environment(hosts)
        assert {variables[name] for name in THREADS} == {each}
        assert variables.get("CUDA_VISIBLE_DEVICES", before) == gpu


def test_a_gpu_that_was_named_is_not_hidden_from_its_worker(monkeypatch):
    monkeypatch.setattr("padim_nb.experiments.workers.gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    worker = SimpleNamespace(address="tcp://10.0.0.5:4003", name=1)
    monkeypatch.setattr("distributed.get_worker", lambda: worker)
    assert "CUDA_VISIBLE_DEVICES" not in environment(2, device="cuda:1")
    assert environment(2)["CUDA_VISIBLE_DEVICES"] == "1"
