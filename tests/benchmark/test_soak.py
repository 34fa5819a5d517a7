import pytest

from dcal_reid.benchmark import soak


@pytest.fixture
def states(monkeypatch):
    """Two cycles after the warm-up, with the given states."""

    def give(*memories, files=6):
        left = iter(memories)
        monkeypatch.setattr(soak, "_cycle", lambda folder, seed: None)
        monkeypatch.setattr(soak, "write_demo_dataset", lambda folder: None)
        monkeypatch.setattr(soak, "_state", lambda: {soak._MEMORY: next(left), "open files": files})

    return give


@pytest.mark.skipif(not soak.Path("/proc/self/fd").is_dir(), reason="reads /proc")
def test_what_grows_is_told(states, capsys, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", "")
    states(900.0, 1000.0, 1000.0, 1020.0, 1040.0)
    soak.benchmark_soak(minutes=0)
    assert "5 cycles" in capsys.readouterr().out
    states(900.0, 1000.0, 1000.0, 1020.0, 1060.0)
    with pytest.raises(SystemExit, match=r"grown: memory \(MiB\)"):
        soak.benchmark_soak(minutes=0)


def test_the_state_of_this_process():
    with open("/dev/null"):
        more = soak._state()
    state = soak._state()
    assert more["open files"] == state["open files"] + 1
    assert 50 < state[soak._MEMORY] < 50_000 and state["threads"] >= state["Python threads"] >= 1
