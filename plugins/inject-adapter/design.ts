import { GraftError } from 'graft';
import type { AdapterOptions, PRESETS } from './options.ts';

/** A bottleneck adapter with nothing left open: AdapterHub's `BnConfig`, as far as this plugin computes it. */
export interface Design {
  readonly mh_adapter: boolean;
  readonly output_adapter: boolean;
  readonly is_parallel: boolean;
  readonly reduction_factor: number | Readonly<Record<string, number>>;
  readonly non_linearity: string;
  readonly original_ln_before: boolean;
  readonly original_ln_after: boolean;
  readonly residual_before_ln: boolean;
  readonly adapter_residual_before_ln: boolean;
  readonly ln_before: boolean;
  readonly ln_after: boolean;
  readonly scaling: number | 'learned' | 'channel';
  readonly dropout: number;
  readonly use_gating: boolean;
  readonly init_weights: 'bert' | 'mam_adapter' | 'houlsby';
  readonly leave_out: readonly number[];
}

/** Down, ReLU, up after the attention block, with a skip connection: what the options change. */
const PLAIN: Omit<Design, 'reduction_factor'> = {
  mh_adapter: true,
  output_adapter: false,
  is_parallel: false,
  non_linearity: 'relu',
  original_ln_before: false,
  original_ln_after: true,
  residual_before_ln: true,
  adapter_residual_before_ln: false,
  ln_before: false,
  ln_after: false,
  scaling: 1,
  dropout: 0,
  use_gating: false,
  init_weights: 'bert',
  leave_out: [],
};

const HOULSBY: Partial<Design> = { mh_adapter: true, output_adapter: true, non_linearity: 'swish', reduction_factor: 16 };
const PFEIFFER: Partial<Design> = { mh_adapter: false, output_adapter: true, original_ln_before: true, reduction_factor: 16 };
const PARALLEL: Partial<Design> = { mh_adapter: false, output_adapter: true, is_parallel: true, init_weights: 'mam_adapter', scaling: 4, reduction_factor: 2 };

/** AdapterHub's configurations of these names: Houlsby et al. 2019 (1902.00751), Pfeiffer et al. 2020 (2005.00247), He et al. 2021 (2110.04366). */
const BY_PRESET: Readonly<Record<(typeof PRESETS)[number], Partial<Design>>> = {
  houlsby: HOULSBY,
  double_seq_bn: HOULSBY,
  pfeiffer: PFEIFFER,
  seq_bn: PFEIFFER,
  parallel: PARALLEL,
  par_bn: PARALLEL,
  scaled_par_bn: { ...PARALLEL, scaling: 'learned' },
};

const BY_PLACEMENT = {
  attention: { mh_adapter: true, output_adapter: false },
  mlp: { mh_adapter: false, output_adapter: true },
  both: { mh_adapter: true, output_adapter: true },
  parallel: PARALLEL,
} satisfies Record<string, Partial<Design>>;

const DEFAULT_SIZE = 64;

/**
 * Resolves the options: a preset, then the placement, then each option by its own name.
 * @param hiddenSize of the model
 * @throws GraftError `ADAPTER_OPTIONS` where two options contradict each other, or one could have no effect
 */
export function designOf(options: AdapterOptions, hiddenSize: number): Design {
  const { preset, placement, adapter_size: size, name: _name, ...own } = options;
  checkPlacement(options);
  if (size !== undefined && own.reduction_factor !== undefined) {
    throw conflict('adapter_size', 'adapter_size and reduction_factor both say how wide the bottleneck is.', 'Keep one of them.');
  }
  const base: Partial<Design> = { ...(preset === undefined ? {} : BY_PRESET[preset]), ...(placement === undefined ? {} : BY_PLACEMENT[placement]) };
  const reduction = size !== undefined ? reductionFor(size, hiddenSize) : (own.reduction_factor ?? (preset === undefined ? undefined : base.reduction_factor));
  const design: Design = { ...PLAIN, ...base, ...own, reduction_factor: reduction ?? reductionFor(DEFAULT_SIZE, hiddenSize) };
  checkEffects(design);
  return design;
}

/** AdapterHub's `int(hidden_size // reduction_factor)`, at least 1. */
export function bottleneckSize(hiddenSize: number, design: Pick<Design, 'reduction_factor'>, layer: number): number {
  const { reduction_factor: factors } = design;
  const factor = typeof factors === 'number' ? factors : (factors[layer] ?? factors['default']);
  if (factor === undefined) {
    throw new GraftError('ADAPTER_OPTIONS', `reduction_factor says nothing of layer ${layer} and has no "default".`, {
      option: ['reduction_factor'],
      hint: 'Add a default: {"0": 8, "default": 16}.',
    });
  }
  return Math.max(1, floorDivide(hiddenSize, factor));
}

/** A factor that gives exactly this size, here and in Python. */
function reductionFor(size: number, hiddenSize: number): number {
  const exact = hiddenSize / size;
  return floorDivide(hiddenSize, exact) === size ? exact : hiddenSize / (size + 0.5);
}

/** Python's `//` on floats: the exact remainder is taken off first. */
function floorDivide(a: number, b: number): number {
  return Math.round((a - (a % b)) / b);
}

function checkPlacement({ placement, mh_adapter: attention, output_adapter: output, is_parallel: parallel }: AdapterOptions): void {
  if (placement === undefined) return;
  const said = { mh_adapter: attention, output_adapter: output, is_parallel: parallel };
  const clash = Object.entries(said).find(([, value]) => value !== undefined)?.[0];
  if (clash !== undefined) throw conflict(clash, `placement and ${clash} both say where the adapters stand.`, 'Keep one of them.');
}

function checkEffects(design: Design): void {
  if (!design.mh_adapter && !design.output_adapter) {
    throw conflict('output_adapter', 'mh_adapter and output_adapter are both false, so no adapter would be added.', 'Set one of them, or placement.');
  }
  if (!design.is_parallel) return;
  const unused = (['original_ln_before', 'adapter_residual_before_ln', 'residual_before_ln'] as const).find((key) => design[key] !== PLAIN[key]);
  if (unused !== undefined) throw conflict(unused, `${unused} has no effect beside a block: a parallel adapter reads the residual stream itself.`, `Remove ${unused}, or is_parallel.`);
}

function conflict(option: string, message: string, hint: string): GraftError {
  return new GraftError('ADAPTER_OPTIONS', message, { option: [option], hint });
}
