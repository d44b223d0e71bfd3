"""Tokenizers: the checkpoint's own, or one trained on the texts, deterministically."""

import pytest

from thermocline.errors import CheckpointError
from thermocline.inputs.text.tokenizer import fit_vocabulary, load_tokenizer, train_tokenizer

TEXTS = ["the quick brown fox", "jumps over the lazy dog", "Zürich 東京 🙂"] * 5


def test_training_is_deterministic():
    one, two = train_tokenizer(TEXTS, most=400), train_tokenizer(iter(TEXTS), most=400)
    assert one.get_vocab() == two.get_vocab()
    assert len(one) <= 400


def test_any_text_can_be_written_and_read_back():
    tokenizer = train_tokenizer(TEXTS, most=300)
    for text in ["東京 🙂 Ω", "quick fox", "\t tabs\nand lines"]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text.strip()


def test_marks_stand_at_both_ends():
    tokenizer = train_tokenizer(TEXTS, most=300)
    ids = tokenizer("fox")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_saved_and_loaded(tmp_path):
    tokenizer = train_tokenizer(TEXTS, most=300)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path, name="x")
    assert again("the lazy fox")["input_ids"] == tokenizer("the lazy fox")["input_ids"]
    assert again.padding_side == again.truncation_side == "right"


def test_a_tokenizer_without_a_padding_token_gets_one(tmp_path):
    tokenizer = train_tokenizer(TEXTS, most=300)
    tokenizer.pad_token = None
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path, name="x").pad_token_id is not None


def test_a_folder_without_one_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer files"):
        load_tokenizer(tmp_path, name="mine")


def test_a_damaged_one_is_told(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{ not json")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="mine") as caught:
        load_tokenizer(tmp_path, name="mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5", "bart", "modernbert", "deberta-v2"])
def test_a_random_models_special_ids_are_the_tokenizers(kind):
    from transformers import CONFIG_MAPPING

    tokenizer = train_tokenizer(TEXTS, most=300)
    config = CONFIG_MAPPING[kind]()
    fit_vocabulary(config, tokenizer)
    assert config.vocab_size == len(tokenizer)
    assert config.pad_token_id == tokenizer.pad_token_id
    for key in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        value = getattr(config, key, None)
        assert value is None or value < len(tokenizer)


@pytest.mark.parametrize(
    ("said", "package"),
    [
        (
            "LlamaTokenizer requires the SentencePiece library but it was not found in your environment.",
            "sentencepiece",
        ),
        ("requires the protobuf library but it was not found", "protobuf"),
    ],
)
def test_a_package_that_a_tokenizer_needs_is_named_with_its_extra(said, package, tmp_path, monkeypatch):
    import transformers

    from thermocline.errors import CheckpointError, MissingDependencyError
    from thermocline.inputs.text import tokenizer as module

    def refuse(*args, **kwargs):
        raise ImportError(said)

    (tmp_path / "spiece.model").write_bytes(b"")
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(CheckpointError, match="cannot be loaded"):  # both packages are there: another fault
        module.load_tokenizer(tmp_path, name="some/model")
    monkeypatch.setattr(module, "_is_there", lambda name: False)
    with pytest.raises(MissingDependencyError, match=rf"needs the package {package}, .*'thermocline\[sentencepiece\]'"):
        module.load_tokenizer(tmp_path, name="some/model")
