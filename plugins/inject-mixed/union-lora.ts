/** The same LoRA in AdapterHub's words (`LoRAConfig`) and in PEFT's (`LoraConfig`). */
import { GraftError } from 'graft';

type Fields = Readonly<Record<string, unknown>>;

/** Where AdapterHub puts each part on a Llama: its `intermediate` is down_proj and its `output` is up_proj. */
const MODULE_TO_PLACE: Readonly<Record<string, 'q' | 'k' | 'v' | 'intermediate_lora' | 'output_lora'>> = {
  q_proj: 'q',
  k_proj: 'k',
  v_proj: 'v',
  down_proj: 'intermediate_lora',
  up_proj: 'output_lora',
};

/** Fields that this conversion carries over. */
const READ = new Set(['architecture', 'alpha', 'attn_matrices', 'dropout', 'intermediate_lora', 'leave_out', 'output_lora', 'r', 'selfattn_lora']);
/** Fields that say only how the values began, or what is the only way here. */
const WITHOUT_EFFECT: Fields = { composition_mode: 'add', dtype: null, init_weights: 'lora', init_weights_seed: null };
const OFF: Fields = { use_dora: false, use_gating: false, vera_b: null, vera_d: null };

/**
 * PEFT's fields of AdapterHub's LoRA.
 * @param tensors names of its tensors: the modules that it stands on, `leave_out` done
 * @param path of the file, for errors
 * @throws GraftError `ADAPTERHUB_UNSUPPORTED`
 */
export function loraToPeft(config: Fields, tensors: readonly string[], path: string): Fields {
  for (const [field, value] of Object.entries(config)) {
    const composition = field === 'composition_mode' && value !== 'add';
    const unknown = !READ.has(field) && !(field in WITHOUT_EFFECT) && value != null && value !== false;
    if (composition || unknown) throw new GraftError('ADAPTERHUB_UNSUPPORTED', `${path}: "${field}": ${JSON.stringify(value)} of its LoRA is something that inject-mixed does not compute.`);
  }
  return {
    peft_type: 'LORA',
    r: config['r'],
    lora_alpha: config['alpha'],
    lora_dropout: config['dropout'],
    target_modules: [...new Set(tensors.map((name) => name.slice(0, name.indexOf('.loras.'))))],
  };
}

/**
 * AdapterHub's fields of PEFT's LoRA, sorted.
 * @param tensors names of its tensors
 * @param layerCount of the model
 * @throws GraftError `UNION_UNSUPPORTED` where AdapterHub can't say it
 */
export function loraFromPeft(peft: Fields, tensors: readonly string[], layerCount: number): Fields {
  const modules = [...new Set(tensors.map((name) => /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(name)?.[1] ?? refuse(`its tensor ${name} has no place in AdapterHub's LoRA`)))];
  for (const field of ['use_rslora', 'rank_pattern', 'alpha_pattern'] as const) {
    const value = peft[field];
    if (value === true || (typeof value === 'object' && value !== null && Object.keys(value).length > 0)) refuse(`AdapterHub's LoRA has no ${field}`);
  }
  const places = modules.map((module) => ({
    layer: Number(/\.(\d+)\./.exec(module)?.[1] ?? refuse(`${module} is in no layer`)),
    place: MODULE_TO_PLACE[module.slice(module.lastIndexOf('.') + 1)] ?? refuse(`AdapterHub puts no LoRA on ${module}`),
  }));
  const layers = new Set(places.map(({ layer }) => layer));
  const kinds = [...new Set(places.map(({ place }) => place))];
  if (places.length !== layers.size * kinds.length) refuse("AdapterHub's LoRA stands on the same modules of each layer");
  const matrices = (['q', 'k', 'v'] as const).filter((matrix) => kinds.includes(matrix));
  const fields: Fields = {
    alpha: peft['lora_alpha'],
    architecture: 'lora',
    attn_matrices: matrices,
    ...WITHOUT_EFFECT,
    dropout: peft['lora_dropout'],
    intermediate_lora: kinds.includes('intermediate_lora'),
    leave_out: Array.from({ length: layerCount }, (_, layer) => layer).filter((layer) => !layers.has(layer)),
    output_lora: kinds.includes('output_lora'),
    r: peft['r'],
    selfattn_lora: matrices.length > 0,
    ...OFF,
  };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** `model.layers.0.self_attn.q_proj.loras.<adapter>.lora_A` -> `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` */
export function peftName(name: string, adapter: string): string {
  return `base_model.model.${name.replace(`.loras.${adapter}.`, '.')}.weight`;
}

/** The other way. */
export function unionName(name: string, adapter: string): string {
  return name.replace(/^base_model\.model\./, '').replace(/\.(lora_[AB])\.weight$/, `.loras.${adapter}.$1`);
}

function refuse(reason: string): never {
  throw new GraftError('UNION_UNSUPPORTED', `This LoRA can't be saved as AdapterHub's union: ${reason}.`, {
    option: ['save_format'],
    hint: "Use save_format: folders, which keeps PEFT's own format.",
  });
}
