import numpy as np
import pytest
from helpers.score_map_makers import random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtl.score_maps import ScoreMap
from mmtl.score_maps.layout import RecordLayout, pack_12_bits, unpack_12_bits


def encode(layout: RecordLayout, score_map: ScoreMap) -> np.ndarray:
    norm = None if score_map.log_norm is None else score_map.log_norm[None]
    return (
        layout.encode(score_map.scores[None], score_map.classes[None], norm)
        .view("<u8")
        .reshape(1, layout.record_bytes // 8)
    )


layouts = st.builds(
    RecordLayout,
    num_classes=st.sampled_from([7, 1000, 4096, 4097, 65535, 65536, 100_000]),
    grid_hw=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    topk=st.integers(1, 5),
    log_norm=st.booleans(),
    score_bits=st.sampled_from([8, 16]),
)


@settings(deadline=None)  # a busy machine is not a failure
@given(layout=layouts, seed=st.integers(0, 2**32 - 1))
def test_decoding_undoes_encoding(layout, seed):
    form = (layout.grid_hw, layout.topk, layout.num_classes, layout.log_norm)
    score_map = random_map(np.random.default_rng(seed), *form)
    record = encode(layout, score_map)[0]
    assert layout.is_intact(record)
    read = layout.decode(record)
    np.testing.assert_array_equal(read.classes, score_map.classes)
    assert read.classes.dtype == (np.uint16 if layout.num_classes <= 65535 else np.uint32)
    assert (read.log_norm is None) == (score_map.log_norm is None)
    if layout.score_bits == 16:
        np.testing.assert_array_equal(read.scores, score_map.scores)
    else:
        scores = score_map.scores.astype(float)
        bound = (scores.max() - scores.min()) / 510 + np.abs(scores).max() * 2**-11
        assert np.abs(read.scores - scores).max() <= bound * 1.001
        assert (np.diff(read.scores.astype(float), axis=-1) <= 0).all()


@settings(deadline=None)  # a busy machine is not a failure
@given(layout=layouts, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_changed_byte_is_detected(layout, seed, data):
    form = (layout.grid_hw, layout.topk, layout.num_classes, layout.log_norm)
    record = encode(layout, random_map(np.random.default_rng(seed), *form))
    position = data.draw(st.integers(0, record.nbytes - 1))
    record.view(np.uint8)[0, position] ^= data.draw(st.integers(1, 255))
    assert not layout.is_intact(record[0])


def test_a_record_of_zeros_is_corrupt():
    layout = RecordLayout(10, (2, 2), 2)
    assert not layout.is_intact(np.zeros(layout.record_bytes // 8, np.uint64))


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 4095), min_size=1, max_size=33))
def test_unpacking_undoes_packing_of_12_bits(values):
    packed = pack_12_bits(np.array([values]))
    assert packed.shape[1] == 3 * ((len(values) + 1) // 2)
    assert unpack_12_bits(packed[0], len(values)).tolist() == values


def test_the_compact_form_of_an_18_x_18_x_5_map_takes_at_most_4900_bytes():
    assert RecordLayout(1000, (18, 18), 5, log_norm=True, score_bits=8).record_bytes <= 4900
    assert RecordLayout(21841, (18, 18), 5, log_norm=False, score_bits=8).record_bytes <= 4900


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(num_classes=3, grid_hw=(2, 2), topk=4), "got topk=4"),
        (dict(num_classes=0, grid_hw=(2, 2), topk=1), "num_classes must.*got 0"),
        (dict(num_classes=3, grid_hw=(0, 2), topk=1), "grid_hw"),
        (dict(num_classes=3, grid_hw=(2, 2), topk=1, score_bits=4), "got score_bits=4"),
    ],
)
def test_impossible_layouts_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RecordLayout(**fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m._replace(classes=m.classes + 10), "Class indices"),
        (lambda m: m._replace(scores=m.scores * np.float16(np.nan)), "must be finite"),
        (lambda m: m._replace(scores=m.scores.astype(np.float32) + 1e6), "65504"),
        (lambda m: m._replace(scores=m.scores[..., ::-1]), "must be sorted"),
        (lambda m: m._replace(scores=m.scores[:1]), "store's shape"),
        (lambda m: m._replace(log_norm=None), "log_norm"),
    ],
)
def test_maps_that_do_not_fit_are_refused(change, message):
    layout = RecordLayout(10, (3, 5), 2)
    with pytest.raises(ValueError, match=message):
        encode(layout, change(random_map(np.random.default_rng(0))))
