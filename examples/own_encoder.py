"""Your own encoder beside pretrainings of this project: a file of weights as a row of the table.

Put the file beside this one, for example a ResNet-18 of timm:

    python -c "import timm, safetensors.torch as st; \
        st.save_file(timm.create_model('resnet18', pretrained=True).state_dict(), 'examples/my_encoder.safetensors')"
    radsweep run --study examples/own_encoder.py --storage own-encoder

runs on synthetic archives. On real ones: strict() instead of demo(), and --raw for each archive. Weights of timm by
name, folders of Hugging Face, checkpoints as people have them: docs/encoders.md.
"""

from dataclasses import replace
from pathlib import Path

from sweep.studies import BASELINE, EncoderRow, Study, demo
from trainables.encoder_source import from_file

WEIGHTS, NETWORK = Path(__file__).with_name("my_encoder.safetensors"), "resnet18"
IMAGE_SIZE = 32  # what the network sees; 224 for most networks of timm, on real archives


def study() -> Study:
    base = demo()
    own = EncoderRow("mine", "My ResNet-18", BASELINE, from_file(WEIGHTS, NETWORK, image_size=IMAGE_SIZE))
    kept = tuple(row for row in base.rows if row.name in ("random", "imagenet", "simclr"))
    return replace(base, name="own_encoder", title="My encoder beside SimCLR", rows=(*kept, own), protocols=("LP",))
