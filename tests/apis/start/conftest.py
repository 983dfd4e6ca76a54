"""A folder to start in, without access to weights."""

import pytest

import mmtl.apis.start.teacher as teachers
import mmtl.apis.start.weights as students


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*_):
        raise OSError("offline")

    monkeypatch.setattr(students, "cached_download", refuse)
    monkeypatch.setattr(teachers, "check_hub", refuse)
    monkeypatch.setattr(teachers, "package_weights", refuse)
