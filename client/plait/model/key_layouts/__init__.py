"""The names that tools give to the tensors of one and the same LoRA, and how to go between them.

    PEFT        base_model.model.down_blocks.0.attentions.0.proj_in.lora_A.weight
    diffusers   unet.down_blocks.0.attentions.0.proj_in.lora_A.weight
    older       unet.down_blocks.0.attentions.0.proj_in.lora.down.weight
    oldest      unet.mid_block.....attn1.processor.to_q_lora.down.weight
    kohya       lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight

Names only, and which tensors belong together; bytes are for `plait.algebra.relayout`.

- `forms`       layouts, components of a pipeline, parts of a module
- `templates`   module paths with `#` for numbers: how underscored names become paths again
- `components`  the module paths of UNets, text encoders and transformers, as diffusers has them
- `sdxl_unet`   SDXL's UNet by the names of its first publication, which kohya's tools use
- `mmdit`       Flux and SD3 by the names of theirs, where q, k and v are one matrix
- `kohya`, `diffusers`, `peft`  one layout each, and `detect` tells which one a file has

kohya flattens a path with underscores, so that `a.b_c` and `a_b.c` look alike. The tables know the
paths of SD 1 and 2, SDXL, Flux, SD3 and their text encoders; for any other model the way back needs
a list of its modules. A name that fits several paths is an error that lists them.
"""
