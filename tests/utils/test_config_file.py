import pytest

from mmtl.utils.config_file import read_config


@pytest.mark.parametrize(("name", "kind"), [("absent", "folder or config"), ("my/absent.py", "file")])
def test_an_absent_config_is_named_with_what_writes_one(name, kind):
    with pytest.raises(FileNotFoundError, match=f"{name}: no such {kind}. `mmtl start FOLDER` writes"):
        read_config(name)


@pytest.mark.parametrize("text", ["a = 1 / 0", "a = b", "a = (", "a = [][1]", "assert False", "a = {}['b']",
                                  "_base_ = 'absent.py'", "\0", "raise RuntimeError('two\\nlines')"])  # fmt: skip
def test_any_error_in_a_config_is_one_line_that_names_it(tmp_path, text):
    """Guards: errors other than a few kinds ended in a traceback."""
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ValueError, match="bad.py cannot be read as a config") as error:
        read_config(tmp_path / "bad.py")
    assert "\n" not in str(error.value) and "unknown" not in str(error.value)
