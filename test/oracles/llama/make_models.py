"""Makes the models of this folder: python make_models.py ."""
import json, shutil, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

out = Path(sys.argv[1])
sizes = dict(vocab_size=40, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)

def make(name, config, cls, dtype, shard='1GB', edit=None):
    torch.manual_seed(len(name))
    model = cls(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 2: p.normal_(0, 0.1 if 'embed' not in key else 0.5)
            elif key.endswith('.bias'): p.normal_(0, 0.3)
            else: p.uniform_(0.5, 1.5)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    for extra in folder.glob('generation_config.json'): extra.unlink()
    if edit is not None:
        path = folder / 'config.json'
        written = json.loads(path.read_text())
        edit(written)
        path.write_text(json.dumps(written, indent=2) + '\n')
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation='eager').eval()
    ids = torch.randint(3, 40, (2, 28))
    labels = ids.clone()
    labels[0, :9] = -100
    with torch.no_grad():
        result = model(input_ids=ids, labels=labels)
    io = dict(input_ids=ids.tolist(), labels=labels.tolist(), logits=[[[round(v, 6) for v in row] for row in seq] for seq in result.logits.tolist()], loss=result.loss.item())
    (folder / 'io.json').write_text(json.dumps(io, separators=(',', ':')) + '\n')
    print(name, float(result.logits.abs().max()), result.loss.item(), model.config.to_dict().get('rope_parameters'))

def old_keys(written):
    written.pop('rope_parameters')
    written['rope_theta'] = 500.0
    written['rope_scaling'] = {'type': 'linear', 'factor': 4.0}
    written['torch_dtype'] = written.pop('dtype', 'float32')

rope = dict(rope_type='llama3', rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24)
make('llama3_rope', LlamaConfig(**sizes, num_key_value_heads=1, rope_parameters=rope), LlamaForCausalLM, torch.float16)
make('linear_rope', LlamaConfig(**sizes, num_key_value_heads=2, rope_parameters=dict(rope_type='linear', rope_theta=500.0, factor=4.0)), LlamaForCausalLM, torch.float32, edit=old_keys)
make('biases_tied_sharded', LlamaConfig(**sizes, num_key_value_heads=4, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), LlamaForCausalLM, torch.bfloat16, shard='16KB')
make('mistral_window', MistralConfig(**sizes, num_key_value_heads=2, head_dim=12, sliding_window=7), MistralForCausalLM, torch.float16)
