"""The shapes of the networks and the arithmetic of one step of denoising."""

import hashlib

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import stage

# Latents are multiplied by this before noise is added; at 20 the noise of t_index 32 leaves the picture alone.
SCALE = 20.0
# t_index 32 of 50 steps.
STEP = 359
EMBEDDING = 64
# The latent channel that pictures leave empty; see `textures.py`.
EMPTY = 3
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def make_autoencoder() -> AutoencoderTiny:
    """Three levels, so a latent pixel is four pixels wide; the wide full-size layers of the decoder cost most."""
    autoencoder = AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(0, 0, 1),
        num_decoder_blocks=(1, 0, 0),
        act_fn="relu",
        upsample_fn="nearest",
        latent_channels=4,
        scaling_factor=SCALE,
    )
    for name, module in autoencoder.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            initialise(module, starts_quiet=name.endswith("conv.4"))
    torch.nn.init.constant_(autoencoder.decoder.layers[-1].bias, 0.5)
    return autoencoder


def initialise(convolution: torch.nn.Conv2d, starts_quiet: bool):
    gain = 0.4 if starts_quiet else 1.2
    torch.nn.init.normal_(convolution.weight, 0, gain / (convolution.in_channels * 9) ** 0.5)
    if convolution.bias is not None:
        torch.nn.init.zeros_(convolution.bias)


def make_unet() -> UNet2DConditionModel:
    """Attention only on the lowest level, where a picture of 512 pixels has 16x16 tokens."""
    return UNet2DConditionModel(
        sample_size=128,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=EMBEDDING,
        attention_head_dim=2,
        norm_num_groups=2,
        # The prompt also scales and shifts what every level sees, as in DeepFloyd IF; by cross-attention on the lowest
        # level alone it hardly reaches the fine lines of a drawing.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def make_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=EMBEDDING,
            intermediate_size=4 * EMBEDDING,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            projection_dim=EMBEDDING,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def load_tokenizer(folder) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder)


def encode(autoencoder, pictures, *, is_input: bool):
    """Latents of unit size. An input leaves the last channel empty; a target may use it."""
    latents = autoencoder.encoder(pictures)
    if is_input:
        latents = latents * channel_mask(latents)
    return latents


def channel_mask(latents):
    mask = torch.ones(1, 4, 1, 1, dtype=latents.dtype)
    mask[:, EMPTY] = 0
    return mask


def make_signal_table() -> torch.Tensor:
    """The share of signal left at each of the 1000 times."""
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000) ** 2
    return torch.cumprod(1 - betas, 0)


SIGNAL = make_signal_table()


def denoise(unet, latents, noise, steps, embeddings):
    """Adds noise to unit latents and removes it in one step, as a stream does; returns unit latents."""
    signal = SIGNAL[steps].sqrt().view(-1, 1, 1, 1)
    spread = (1 - SIGNAL[steps]).sqrt().view(-1, 1, 1, 1)
    noisy = signal * latents * SCALE + spread * noise
    guess = unet(noisy, steps, encoder_hidden_states=embeddings, return_dict=False)[0]
    return (noisy - spread * guess) / signal / SCALE


def at_unit_size(unet):
    """The image network as it is trained: with input and output of about unit size. At their real sizes the steps of
    the optimiser are far too large for the first layer's weights and far too small for the last one's, and the prompt
    is never learned. `fold_sizes` moves the factors into the weights."""

    def guess(noisy, steps, **options):
        return (SCALE * unet(noisy / input_sizes(), steps, **options)[0],)

    return guess


@torch.no_grad()
def fold_sizes(unet):
    unet.conv_in.weight /= input_sizes()
    unet.conv_out.weight *= SCALE
    unet.conv_out.bias *= SCALE


def input_sizes() -> torch.Tensor:
    """Of each channel: pictures are scaled, the empty channel holds noise alone."""
    sizes = torch.full((1, 4, 1, 1), SCALE)
    sizes[:, EMPTY] = 1
    return sizes


def load_trained(network, work, stage_name: str, name: str):
    """Fills `network` with the averaged weights of an earlier stage."""
    weights = stage.load_averages(work, stage_name, name)
    if weights is None:
        raise SystemExit(f"the stage {stage_name} has not been run in {work}")
    network.load_state_dict(weights)


def fingerprint(network) -> str:
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:12]
