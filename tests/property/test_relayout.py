"""Any LoRA comes back from another layout as it was: the same bytes, the same factors of scale."""

import json

from hypothesis import given
from hypothesis import strategies as st

from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout import from_peft, to_peft
from plait.algebra.relayout.lora_module import RelayoutOptions
from plait.model.adapter import parse_adapter_config
from plait.model.key_layouts import sdxl_unet
from plait.model.key_layouts.components import CLIP, UNET
from plait.model.key_layouts.forms import Architecture, Component, Layout
from plait.model.key_layouts.peft import Scale, write_config

SDXL_MODULES = [
    module
    for template in sdxl_unet.ORIGINAL.templates
    if (module := sdxl_unet.to_diffusers(template.replace("#", "0"))) is not None
]
MODULES = st.one_of(
    st.tuples(st.just(Component.UNET), st.sampled_from(SDXL_MODULES)),
    st.tuples(
        st.sampled_from([Component.TEXT_ENCODER, Component.TEXT_ENCODER_2]),
        st.builds(
            lambda template, layer: template.replace("#", str(layer)),
            st.sampled_from(CLIP.templates),
            st.integers(0, 31),
        ),
    ),
)
# Sixteenths, so that alpha is exact in F32 as kohya has it.
SCALES = st.builds(Scale, st.integers(1, 4), st.integers(1, 200).map(lambda n: n / 16))


@st.composite
def loras(draw: st.DrawFn) -> tuple[dict[str, Scale], list[EncodedTensor]]:
    chosen = draw(st.dictionaries(MODULES, SCALES, min_size=1, max_size=6))
    several = len({component for component, _ in chosen}) > 1
    scales: dict[str, Scale] = {}
    tensors: list[EncodedTensor] = []
    for (component, path), scale in chosen.items():
        module = f"{component}.{path}" if several else path
        scales[module] = scale
        for part, shape in (("A", (scale.rank, 3)), ("B", (5, scale.rank))):
            size = 2 * shape[0] * shape[1]
            data = draw(st.binary(min_size=size, max_size=size))
            name = f"base_model.model.{module}.lora_{part}.weight"
            tensors.append(EncodedTensor(name, "BF16", shape, data))
    return scales, sorted(tensors, key=lambda tensor: tensor.name)


@given(lora=loras(), layout=st.sampled_from([layout for layout in Layout if layout != Layout.PEFT]))
def test_lora_comes_back_from_another_layout_as_it_was(
    lora: tuple[dict[str, Scale], list[EncodedTensor]], layout: Layout
) -> None:
    scales, tensors = lora
    config = parse_adapter_config(json.dumps(write_config(scales)).encode())
    is_second = all(UNET.match(module) is None for module in scales)
    options = RelayoutOptions(
        architecture=Architecture.SDXL,
        component=Component.TEXT_ENCODER_2 if is_second and one_component(scales) else None,
    )
    there = from_peft(config, tensors, layout, options=options)
    back = to_peft(there.tensors, metadata=there.metadata)
    assert list(back.tensors) == tensors
    assert back.config == write_config(scales)
    assert there.rounded == {}


def one_component(modules: dict[str, Scale]) -> bool:
    return all(CLIP.match(module) for module in modules)
