import pytest

from mmtl.score_maps.class_table import ClassTable

NAMES = ["tench, Tinca tinca", "great white shark, white shark", "crane", "crane", "maillot", "maillot, tank suit"]
WNIDS = [f"n0{index}" for index in range(6)]
TABLE = ClassTable(6, NAMES, WNIDS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("n02", [2]),
        ("great white shark, white shark", [1]),
        ("Great_White_Shark", [1]),
        ("Tinca tinca", [0]),
        ("maillot", [4]),  # the name of one class, a synonym of another
        ("crane", [2, 3]),
        ("shark", []),
        ("", []),
    ],
)
def test_a_class_is_found_by_folder_name_or_synonym(name, found):
    assert TABLE.find(name) == found


def test_folders_are_the_classes_of_their_names_in_any_number():
    assert TABLE.of_folders(["n01", "n05"]) == {"n01": 1, "n05": 5}
    assert TABLE.of_folders(["tank suit", "tench"]) == {"tank suit": 5, "tench": 0}
    assert TABLE.of_folders(["crane", "other", "tench"]) == {"tench": 0}  # ambiguous and unknown names have no class
    assert TABLE.of_folders(["other"]) == TABLE.of_folders([]) == {}


def test_k_folders_are_the_classes_in_order_unless_names_contradict():
    folders = ["a", "b", "c"]
    assert ClassTable(3).of_folders(folders) == {"a": 0, "b": 1, "c": 2}
    assert ClassTable(3, ["a", "bee", "c"]).of_folders(folders) == {"a": 0, "b": 1, "c": 2}
    assert ClassTable(3, ["c", "bee", "a"]).of_folders(folders) == {"c": 0, "a": 2}
    assert ClassTable(3, ["c", "b", "a"]).of_folders(folders) == {"c": 0, "b": 1, "a": 2}
    assert ClassTable(4).of_folders(folders) == {}


def test_the_order_of_folders_is_not_taken_when_their_names_are_not_those_of_known_classes():
    """Guards: new images in folders alfa, bravo, charlie were 0 % correct."""
    names, folders = ["ant", "bee", "cat"], ["alfa", "bravo", "charlie"]
    assert ClassTable(3, names).of_folders(folders) == ClassTable(3, None, names).of_folders(folders) == {}
    assert ClassTable(3, names).of_folders(["ant", "bravo", "charlie"]) == {"ant": 0}
    for annotator, given, takes_order in (
        ({}, folders, True),
        (dict(class_names=names), folders, False),
        (dict(class_names=names), ["ant", "bee", "charlie"], True),
        (dict(class_names=names), names, False),
        ({}, [], False),
    ):
        assert ClassTable.of(annotator, 3, given).takes_order(given) == takes_order


def test_numbers_are_indices_of_imagenets_classes_only():
    imagenet = ClassTable.of({}, 1000, ["n01443537"])
    assert imagenet.find("n01443537") == [1] and imagenet.of_folders(["5", "10"]) == {"5": 5, "10": 10}
    assert imagenet.of_folders(["1", "1000"]) == TABLE.of_folders(["1", "5"]) == {}


def test_without_names_a_class_is_its_index():
    assert (ClassTable(3).name(2), TABLE.name(1), ClassTable(3, ["a"]).name(0)) == ("2", "great white shark", "0")


def test_classes_that_have_only_their_index_as_a_name_are_the_folders_in_order():
    """Guards: `1 0`, `2 0`, `5 1` in a file of classes, for the folders fish and snake, gave an unknown top-1."""
    description = dict(class_names=["0", "sea snake", "2"], class_indices=[[1, 2], [5], [0, 3]])
    table = ClassTable.of(description, 3)
    assert table.of_folders(["fish", "snake", "whale"]) == {"fish": 0, "snake": 1, "whale": 2}
    assert table.of_folders(["fish", "snake"]) == {}
    assert table.of_folders(["fish", "sea_snake", "whale"]) == {"fish": 0, "sea_snake": 1, "whale": 2}
    assert table.of_folders(["a", "fish", "sea snake"]) == {"sea snake": 1}
    assert ClassTable(3, ["0", "1", "2"]).of_folders(["fish", "snake", "whale"]) == {}  # of an annotator's own folders
