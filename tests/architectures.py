"""Tiny configurations of the causal language models of transformers, as a table of variants."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 4,
}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}
EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
}
LATENT: dict[str, Any] = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
WINDOW: dict[str, Any] = {"sliding_window": 16}
LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}


def rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **values}}


LONG = {"original_max_position_embeddings": 24}
LONGROPE = rope(
    "longrope", long_factor=[4.0] * 4, short_factor=[1.0] * 4, partial_rotary_factor=1.0, **LONG
)

# Packed: every model that reads a pack in one pass.
PACKED: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (name, GROUPED)
        for name in (
            *("apertus", "arcee", "bitnet", "cohere", "cwm", "diffllama", "ernie4_5", "exaone4"),
            *("gemma", "glm", "glm4", "granite", "helium", "hunyuan_v1_dense", "hyperclovax"),
            *("internlm3", "iquestcoder", "jais2", "llama", "ministral", "ministral3", "mistral"),
            *("nanochat", "olmo", "olmo2", "persimmon", "phi", "qwen3", "seed_oss", "smollm3"),
            *("starcoder2", "vaultgemma", "beam", "gpt_neox"),
        )
    },
    **{name: (name, {}) for name in ("biogpt", "gpt2", "gpt_bigcode", "hrm_text")},
    "opt": ("opt", {"ffn_dim": 64}),
    "ctrl": ("ctrl", {"dff": 64}),
    **{
        name: (name, GROUPED | EXPERTS)
        for name in (
            *("afmoe", "aria_text", "cohere2_moe", "ernie4_5_moe", "exaone_moe", "flex_olmo"),
            *("glm4_moe", "granitemoe", "granitemoeshared", "hunyuan_v1_moe", "hy_v3", "jetmoe"),
            *("kolibri1", "mellum", "minimax_m2", "mixtral", "olmoe", "qwen3_moe", "solar_open"),
            *("laguna", "phimoe"),
        )
    },
    **{
        name: (name, EXPERTS | LATENT)
        for name in ("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "youtu", "minicpm3")
    },
    "dots1": ("dots1", GROUPED | EXPERTS | {"n_shared_experts": 1, "first_k_dense_replace": 1}),
    "gemma2 with windows and soft caps": (
        "gemma2",
        GROUPED | WINDOW | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3_text with windows": ("gemma3_text", GROUPED | WINDOW),
    "mistral with a window": ("mistral", GROUPED | WINDOW),
    "mixtral with a window": ("mixtral", GROUPED | EXPERTS | WINDOW),
    "starcoder2 with a window": ("starcoder2", GROUPED | WINDOW),
    "phi3": ("phi3", GROUPED),
    "phi3 with a window": ("phi3", GROUPED | WINDOW),
    "phi3 with longrope": ("phi3", {"num_key_value_heads": 2} | LONGROPE | LONG),
    "qwen2": ("qwen2", {"num_key_value_heads": 2}),
    "qwen2 with a window": (
        "qwen2",
        {"num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 1} | WINDOW,
    ),
    "cohere2 with windows": ("cohere2", GROUPED | WINDOW),
    "olmo3 with windows": ("olmo3", GROUPED | WINDOW),
    "ministral with windows": ("ministral", GROUPED | WINDOW),
    "exaone4 with windows": ("exaone4", GROUPED | WINDOW),
    "granite with multipliers": (
        "granite",
        GROUPED
        | {"embedding_multiplier": 2.0, "logits_scaling": 3.0, "residual_multiplier": 0.5}
        | {"attention_multiplier": 0.3},
    ),
    "cohere with a logit scale": ("cohere", GROUPED | {"logit_scale": 0.5}),
    "gpt_neox in parallel": ("gpt_neox", {"use_parallel_residual": True}),
    "gpt_neox in series": ("gpt_neox", {"use_parallel_residual": False}),
    "opt-350m": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False, "ffn_dim": 64}),
    "opt with dropout": ("opt", {"dropout": 0.5, "layerdrop": 0.5, "ffn_dim": 64}),
    "gpt2 with dropout": ("gpt2", {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5}),
    "mixtral with router noise": ("mixtral", GROUPED | EXPERTS | {"router_jitter_noise": 0.5}),
    "llama with linear scaling": ("llama", GROUPED | rope("linear", factor=2.0)),
    "llama with dynamic scaling": (
        "llama",
        GROUPED | rope("dynamic", factor=2.0, **LONG),
    ),
    "llama with yarn": ("llama", GROUPED | rope("yarn", factor=2.0, **LONG)),
    "llama3 scaling": (
        "llama",
        GROUPED | rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, **LONG),
    ),
    "llama with tied embeddings": ("llama", GROUPED | {"tie_word_embeddings": True}),
    "llama with attention bias": ("llama", GROUPED | {"attention_bias": True, "mlp_bias": True}),
    "llama with attention dropout": ("llama", GROUPED | {"attention_dropout": 0.5}),
    "lfm2 without convolutions": ("lfm2", GROUPED | {"full_attn_idxs": [0, 1]}),
    "gemma4_unified_text": ("gemma4_unified_text", GROUPED),
}
# Plain: models that are read sequence by sequence.
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "lfm2": ("lfm2", {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}),
    "granitemoehybrid": (
        "granitemoehybrid",
        EXPERTS
        | MAMBA
        | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 32}
        | {"num_key_value_heads": 2},
    ),
    "recurrent_gemma": (
        "recurrent_gemma",
        GROUPED | {"lru_width": 32, "attention_window_size": 16, "num_hidden_layers": 3},
    ),
    "minimax": (
        "minimax",
        GROUPED | EXPERTS | {"block_size": 8, "layer_types": LINEAR["layer_types"]},
    ),
    "bloom": ("bloom", {}),
    "mpt": ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}),
    "falcon": ("falcon", {}),
    "falcon with alibi": ("falcon", {"alibi": True}),
    "falcon with grouped heads": (
        "falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "gptj": ("gptj", {"rotary_dim": 4}),
    "codegen": ("codegen", {"rotary_dim": 4}),
    "gpt_neo": (
        "gpt_neo",
        {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    ),
    "gpt_neox_japanese": ("gpt_neox_japanese", {}),
    "openai-gpt": ("openai-gpt", {}),
    "stablelm": ("stablelm", {"num_key_value_heads": 2}),
    "nemotron": ("nemotron", GROUPED),
    "gpt_oss": ("gpt_oss", GROUPED | EXPERTS | WINDOW),
    "granite_swa": ("granite_swa", GROUPED | WINDOW),
    "mimo_v2_flash": ("mimo_v2_flash", GROUPED | EXPERTS),
    "doge": ("doge", GROUPED | WINDOW),
    "olmoe with a window": ("olmoe", GROUPED | EXPERTS | WINDOW),
    "phimoe with a window": ("phimoe", GROUPED | EXPERTS | WINDOW),
    "qwen2_moe": (
        "qwen2_moe",
        EXPERTS
        | {"num_key_value_heads": 2, "shared_expert_intermediate_size": 16}
        | {"use_sliding_window": True, "max_window_layers": 1}
        | WINDOW,
    ),
    "llama4_text": (
        "llama4_text",
        GROUPED | EXPERTS | {"attention_chunk_size": 16, "intermediate_size_mlp": 32},
    ),
    "deepseek_v32": (
        "deepseek_v32",
        EXPERTS | LATENT | {"index_topk": 8, "index_n_heads": 2, "index_head_dim": 8},
    ),
    "glm_moe_dsa": (
        "glm_moe_dsa",
        EXPERTS | LATENT | {"index_topk": 32, "index_n_heads": 2, "index_head_dim": 8},
    ),
    "mamba": ("mamba", {}),
    "falcon_mamba": ("falcon_mamba", {}),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}),
    "bamba": (
        "bamba",
        MAMBA | {"num_key_value_heads": 2, "attn_layer_indices": [1]},
    ),
    "jamba": (
        "jamba",
        EXPERTS
        | {"num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"mamba_d_state": 8, "use_mamba_kernels": False},
    ),
    "qwen3_next": (
        "qwen3_next",
        GROUPED | EXPERTS | LINEAR | {"shared_expert_intermediate_size": 16},
    ),
    "qwen3_5_text": ("qwen3_5_text", GROUPED | LINEAR),
    "qwen3_5_moe_text": (
        "qwen3_5_moe_text",
        GROUPED | EXPERTS | LINEAR | {"shared_expert_intermediate_size": 16},
    ),
    "olmo_hybrid": ("olmo_hybrid", GROUPED | LINEAR),
    "rwkv": ("rwkv", {"attention_hidden_size": 32}),
    "xglm": ("xglm", {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4}),
    "bart": ("bart", {"decoder_ffn_dim": 64, "decoder_layers": 2, "decoder_attention_heads": 4}),
}
VARIANTS = PACKED | PLAIN
WITHOUT_LINEAR_HEAD = {"bart"}
# Refused: models that are read in no way, and what the line says.
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("bert", {}, "tokens see those after them"),
    "roberta": ("roberta", {}, "tokens see those after them"),
    "electra": ("electra", {}, "tokens see those after them"),
    "roformer": ("roformer", {}, "tokens see those after them"),
    "bert as a decoder": ("bert", {"is_decoder": True}, "unknown output layer"),
    "modernbert-decoder": ("modernbert-decoder", {}, "unknown output layer"),
    "xmod": ("xmod", {}, "does not read text as a language model"),
}


def make_config(variant: str) -> PreTrainedConfig:
    """The configuration of a variant."""
    model_type, values, *_ = (VARIANTS | REFUSED)[variant]
    config_class = type(AutoConfig.for_model(model_type))
    fixed = {
        name
        for name in (*SIZES, *values)
        if isinstance(getattr(config_class, name, None), property)
        and getattr(config_class, name).fset is None
    }
    return config_class(**{k: v for k, v in (SIZES | values).items() if k not in fixed})
