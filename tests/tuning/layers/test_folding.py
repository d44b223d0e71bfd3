from thermocline.tuning.layers.folding import fold_name, folds


def test_folding_keeps_gaps_apart():
    assert folds(["b.0", "b.1", "b.3", "c"]) == [[0, 1], [2], [3]]
    assert fold_name(["b.9", "b.10"]) == "b.[9-10]"
    assert fold_name(["b.1", "c.1"]) is None
