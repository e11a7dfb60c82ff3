"""The transformers network of a text encoder: loaded whole or refused, and where its layers and embeddings are.

transformers takes a second to import: only where a network of its is built.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainables.networks.text_config import NOT_OF_THE_NETWORK, HuggingFaceText, check_content, hashed_files
from trainables.networks.weights_file import unchanged

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Of a configuration, beside its origin: what would name code to run, and the type that the weights had in their file.
NOT_STORED = (*NOT_OF_THE_NETWORK, "auto_map", "dtype", "architectures")
SAME = 1e-5  # of the states' size: float32 sums in another order differ by less, a token that is seen by more


def load_with(kind: Any, config: HuggingFaceText, options: dict[str, Any]) -> Any:
    """What `kind`, a class of transformers, makes of a name or folder; no code of the folder is run.

    Raises ValueError, in one sentence, where that fails, and where the folder is not what the study names, or changes
    while it is read.
    """
    here = config.path is not None and Path(config.path).is_dir()
    with unchanged(hashed_files(Path(config.place)) if here else ()):
        check_content(config)
        return _loaded(kind, config, options)


def _loaded(kind: Any, config: HuggingFaceText, options: dict[str, Any]) -> Any:
    try:
        return kind.from_pretrained(config.place, trust_remote_code=False, **options)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"cannot load the text encoder {config.place!r} ({type(error).__name__}: {reason}); give the "
            "folder of a downloaded model as HuggingFaceText.name_or_path where the machine is offline"
        ) from error


def load_text_network(config: HuggingFaceText) -> "PreTrainedModel":
    """The encoder with all its weights, in float32, without the parts that no text vector passes.

    Of T5 and its kind that is the encoder, of a network of images and texts its text tower. Raises ValueError where the
    file lacks a weight, has one of another shape or that is not finite, and for a network without a text encoder.
    """
    from transformers import AutoConfig

    settings = load_with(AutoConfig, config, {})
    kind, own = _class_of(settings, config.place)
    # Weights are kept in float32 whatever the file holds. Of another shape: listed in the report instead of raised.
    options: dict[str, Any] = {
        "dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True
    }  # fmt: skip
    model, report = load_with(kind, config, options if own is settings else {**options, "config": own})
    _drop_unused(model)
    _check_weights(model, report, config.place)
    return model


def build_text_network(text: str) -> "PreTrainedModel":
    """The network that network_json described, with weights of its own initialisation."""
    from transformers import AutoConfig

    values = json.loads(text)
    settings = AutoConfig.for_model(values.pop("model_type"), **values)
    kind, own = _class_of(settings, "the stored text encoder")
    make = getattr(kind, "from_config", None) or kind._from_config
    model: PreTrainedModel = make(own, dtype=torch.float32)
    _drop_unused(model)
    return model


def network_json(model: Any) -> str:
    """What build_text_network makes the same network of, its weights apart."""
    values = {name: value for name, value in model.config.to_dict().items() if name not in NOT_STORED}
    return json.dumps(values, sort_keys=True)


def _class_of(settings: Any, place: str) -> tuple[Any, Any]:
    """The class of transformers that is the text encoder of a configuration, and its own configuration."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES as ENCODERS

    name = ENCODERS.get(settings.model_type, "")
    if name.endswith("EncoderModel"):  # T5Model has a decoder, and so has its file; T5EncoderModel has none
        return getattr(transformers, name), settings
    if getattr(settings, "is_encoder_decoder", False):
        raise ValueError(
            f"{place} is a {settings.model_type} of encoder and decoder, of which transformers has no encoder alone: "
            "take a text encoder such as BERT, or T5"
        )
    text = getattr(settings, "text_config", None) if hasattr(settings, "vision_config") else None
    if settings.model_type.endswith("text_model"):  # a text tower alone, of which AutoModel does not know each kind
        text = settings
    if text is not None:
        kind = getattr(transformers, type(text).__name__.replace("Config", "Model"), None)
        if kind is None:
            raise ValueError(
                f"{place} is a {settings.model_type}, whose text tower transformers has no class of: give a text "
                "encoder such as BERT"
            )
        return kind, text
    return transformers.AutoModel, settings


def _drop_unused(model: Any) -> None:
    """Take out what comes behind the last hidden state: layers that no loss reaches."""
    if hasattr(model, "pooler"):
        model.pooler = None
    parts: tuple[Any, ...] = (model, getattr(model, "text_model", None))
    for part in parts:
        if isinstance(getattr(part, "head", None), nn.Linear):  # SigLIP's, after its own pooling
            part.head = nn.Identity()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # keys and values are kept for a next token, and there is none


def _check_weights(model: nn.Module, report: dict[str, Any], place: str) -> None:
    tensors = model.state_dict()
    missing = sorted(name for name in report["missing_keys"] if name in tensors)
    wrong = sorted(str(key if isinstance(key, str) else key[0]) for key in report.get("mismatched_keys", ()))
    wrong = [name for name in wrong if name in tensors]
    if missing or wrong:
        found = [
            f"{len(names)} of {len(tensors)} tensors {what} (first: {', '.join(names[:3])})"
            for names, what in ((missing, "missing"), (wrong, "of another shape"))
            if names
        ]
        others = sorted(report.get("unexpected_keys", ()))
        others_said = f"; the file has others, such as {', '.join(others[:3])}" if others else ""
        raise ValueError(
            f"the weights of {place} do not fit its config.json: {', '.join(found)}{others_said}; nothing is trained "
            "from random ones: save the encoder itself with save_pretrained, whole and without a prefix of its names"
        )
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if bad:
        raise ValueError(
            f"{len(bad)} of {len(tensors)} tensors of {place} hold NaN or infinity (first: {bad[:3]}): take a whole "
            "copy of the weights"
        )


# -- what a network can take -----------------------------------------------------------------------------------


def check_use(model: "PreTrainedModel", config: HuggingFaceText, vocabulary_size: int | None) -> None:
    """Raise ValueError where a network cannot be used as its configuration says.

    For tokens without an embedding, texts longer than its positions, a width that is not that of its states, and
    pooling `cls` where the first token sees none of the others.
    """
    rows = _tokens(model, config.place)
    if vocabulary_size is not None and vocabulary_size > rows:
        raise ValueError(
            f"the tokenizer of {config.place} has {vocabulary_size} tokens, and the encoder embeddings for {rows}: "
            "give the encoder its own tokenizer, or resize its embeddings and save both"
        )
    positions = positions_of(model)
    if positions is not None and config.max_length > positions:
        raise ValueError(
            f"max_length is {config.max_length}; {config.place} has positions for {positions} tokens: allowed: 2 to "
            f"{positions}"
        )
    states = _states_of_two(model, config.place)
    if states.shape[-1] != model.config.hidden_size:
        raise ValueError(
            f"{config.place} states a width of {model.config.hidden_size}, and its last layer has {states.shape[-1]}: "
            "take another encoder, radsweep cannot tell this one's width"
        )
    # The two texts differ in their last token only.
    apart = (states[0, 0] - states[1, 0]).abs().max()
    if config.pooling == "cls" and float(apart) <= SAME * float(states.abs().max()):
        raise ValueError(
            f"pooling is 'cls', and in {config.place} ({model.config.model_type}) the first token sees none of the "
            "others, so that all texts would have one vector: allowed: 'last' (CLIP's own), 'mean', 'max'"
        )


def _tokens(model: Any, place: str) -> int:
    """How many tokens it has embeddings for."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        table = None
    if not isinstance(table, nn.Embedding):
        raise ValueError(f"{place} ({type(model).__name__}) has no embeddings of tokens: give a text encoder")
    return table.num_embeddings


def positions_of(model: Any) -> int | None:
    """The longest text in tokens; None where positions are relative without a limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:  # XLNet says -1
        return None
    for name, module in model.named_modules():
        # RoBERTa and its kind count positions from behind the padding token: 514 rows are 512 positions.
        if isinstance(module, nn.Embedding) and "position" in name.split(".")[-1] and module.num_embeddings == limit:
            return limit if module.padding_idx is None else limit - module.padding_idx - 1
    return limit


@torch.no_grad()
def _states_of_two(model: Any, place: str) -> Tensor:
    """The last hidden states, (2, 4, width), of two texts that differ in their last token only; in eval mode."""
    special = {getattr(model.config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")}
    rows = _tokens(model, place)
    tokens = [i for i in range(rows - 1, -1, -1) if i not in special][:5]
    if len(tokens) < 5:
        raise ValueError(f"{place} has embeddings for {rows} tokens, too few for texts: give a text encoder")
    ids = torch.tensor([[*tokens[:3], tokens[3]], [*tokens[:3], tokens[4]]])
    training = model.training
    try:
        found: Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"{place} ({type(model).__name__}) gives no vectors for tokens ({type(error).__name__}: {reason}): give a "
            "text encoder"
        ) from error
    finally:
        model.train(training)
    return found


# -- what is fixed in training ---------------------------------------------------------------------------------


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The stack of layers, the nearest to the input first, wherever this kind of model keeps it.

    Raises ValueError for a model without a list of its layers, as ALBERT, whose layers share their weights.
    """
    config: Any = model.config
    if getattr(config, "num_hidden_groups", None) is not None:
        raise ValueError(
            f"{type(model).__name__} has {config.num_hidden_layers} layers that share their weights, so that none can "
            "be fixed alone: allowed: frozen_layers=0"
        )
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers:
            return module
    raise ValueError(
        f"{type(model).__name__} has no list of its {config.num_hidden_layers} layers to freeze: allowed: "
        "frozen_layers=0"
    )


def embeddings_of(model: Any) -> list[nn.Module]:
    """What is before the first layer: the module of that name, or, where there is none, all tables of embeddings."""
    for part in (model, getattr(model, "text_model", None)):
        found = getattr(part, "embeddings", None)
        if isinstance(found, nn.Module) and not isinstance(found, nn.Embedding):  # XLM's is the table of words alone
            return [found]
    # GPT's wte and wpe, Llama's embed_tokens; T5's relative positions are in its first layer, and none of these.
    inside = {id(module) for stack in model.modules() if isinstance(stack, nn.ModuleList) for module in stack.modules()}
    return [module for module in model.modules() if isinstance(module, nn.Embedding) and id(module) not in inside]
