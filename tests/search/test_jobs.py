from pathlib import Path

from dcal_reid.search.jobs import images_and_overrides


def test_overrides_begin_with_a_key_of_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert images_and_overrides(["a.jpg", "B.JPG"]) == (["a.jpg", "B.JPG"], [])
    assert images_and_overrides(["a.jpg", "TEST.FLIP.ENABLED", "True"]) == (["a.jpg"], ["TEST.FLIP.ENABLED", "True"])
    Path("TEST.jpg").touch()
    assert images_and_overrides(["TEST.jpg", "TEST.METRIC", "x"]) == (["TEST.jpg"], ["TEST.METRIC", "x"])
