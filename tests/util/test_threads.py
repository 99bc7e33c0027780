"""Parts side by side: each serial, in order, in the mode of the caller, whose number of threads stays."""

import threading

import pytest
import torch

from padim_nb.util.threads import in_threads, shares


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_part_is_computed_serially_and_the_results_are_in_order(threads):
    together = threading.Barrier(threads)

    def work(part):
        together.wait(timeout=30)  # passes only where so many parts run at once
        return part, torch.get_num_threads(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        results = in_threads(work, range(2 * threads * 3))
    assert results == [(part, 1, True) for part in range(2 * threads * 3)]
    assert torch.get_num_threads() == threads
    started = []
    other = threading.Thread(target=lambda: started.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert started == [threads], "what another thread starts with is as before"


def test_a_failure_is_raised_and_the_number_of_threads_is_as_before(threads):
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 / part, [1, 0, 1])
    assert torch.get_num_threads() == threads


def test_a_single_part_and_parts_on_a_gpu_are_computed_by_the_caller(threads):
    def work(_):
        return threading.current_thread(), torch.get_num_threads()

    assert in_threads(work, [0]) == [(threading.current_thread(), threads)]
    assert set(in_threads(work, [0, 1], "cuda")) == {(threading.current_thread(), threads)}
    assert shares(10) == threads and shares(1) == shares(10, "cuda") == shares(0) == 1
    assert shares(10, most=4) == 3 and shares(4, most=4) == threads and shares(10, "cuda", most=4) == 3
