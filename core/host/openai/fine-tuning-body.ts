/** The body of a fine-tuning request, and the run config that it stands for. */
import { Type, type Static } from 'typebox';
import type { ServedBase } from '../daemon-config.ts';
import { invalid } from './api-error.ts';

const nullable = <S extends Parameters<typeof Type.Optional>[0]>(schema: S) => Type.Optional(Type.Union([schema, Type.Null()]));
const auto = <S extends Parameters<typeof Type.Optional>[0]>(schema: S) => Type.Optional(Type.Union([Type.Literal('auto'), schema]));

const supervised = {
  n_epochs: auto(Type.Integer({ minimum: 1, maximum: 1000 })),
  batch_size: auto(Type.Integer({ minimum: 1, maximum: 100_000 })),
  learning_rate_multiplier: auto(Type.Number({ exclusiveMinimum: 0, maximum: 1000 })),
};
const Supervised = Type.Object(supervised, { additionalProperties: false });
const Dpo = Type.Object({ ...supervised, beta: auto(Type.Number({ exclusiveMinimum: 0, maximum: 2 })) }, { additionalProperties: false });

/** What of a run config the field `graft` may say: never where files lie or which code is loaded. */
const GraftField = Type.Object(
  {
    load: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    preprocess: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    inject: Type.Optional(Type.Array(Type.Record(Type.String(), Type.Unknown()), { minItems: 1, maxItems: 16 })),
    train: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    engine: Type.Optional(Type.Unknown()),
  },
  { additionalProperties: false },
);

export const FineTuningBody = Type.Object(
  {
    model: Type.String({ minLength: 1 }),
    training_file: Type.String({ minLength: 1 }),
    validation_file: nullable(Type.String({ minLength: 1 })),
    suffix: nullable(Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' })),
    seed: nullable(Type.Integer({ minimum: 0, maximum: 2_147_483_647 })),
    hyperparameters: Type.Optional(Supervised),
    method: Type.Optional(
      Type.Union([
        Type.Object({ type: Type.Literal('supervised'), supervised: Type.Optional(Type.Object({ hyperparameters: Type.Optional(Supervised) }, { additionalProperties: false })) }, { additionalProperties: false }),
        Type.Object({ type: Type.Literal('dpo'), dpo: Type.Optional(Type.Object({ hyperparameters: Type.Optional(Dpo) }, { additionalProperties: false })) }, { additionalProperties: false }),
      ]),
    ),
    metadata: nullable(Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 512 }))),
    integrations: nullable(Type.Array(Type.Never())),
    graft: Type.Optional(GraftField),
  },
  { additionalProperties: false },
);
export type FineTuningBody = Static<typeof FineTuningBody>;

/** PEFT's usual beginning, where the request says nothing else. */
const LORA = { use: 'lora', r: 8, lora_alpha: 32, target_modules: ['q_proj', 'v_proj'], lora_dropout: 0.01 };
/** The plugins of a method, and what a learning_rate_multiplier multiplies: a rate that suits a LoRA under it. */
const METHODS = {
  supervised: { preprocess: 'instruct', train: 'sft', learningRate: 2e-4 },
  dpo: { preprocess: 'preference', train: 'dpo', learningRate: 1e-5 },
} as const;

export function methodOf({ method }: Pick<FineTuningBody, 'method'>): (typeof METHODS)[keyof typeof METHODS] {
  return METHODS[method?.type ?? 'supervised'];
}

export interface Hyperparameters {
  readonly n_epochs?: 'auto' | number;
  readonly batch_size?: 'auto' | number;
  readonly learning_rate_multiplier?: 'auto' | number;
  readonly beta?: 'auto' | number;
}

export function hyperparametersOf({ method, hyperparameters }: FineTuningBody): Hyperparameters {
  const own = method === undefined ? undefined : method.type === 'dpo' ? method.dpo?.hyperparameters : method.supervised?.hyperparameters;
  return own ?? hyperparameters ?? {};
}

/** What a hyperparameter and an option of `graft.train` both say. */
const SAID_TWICE: readonly (readonly [keyof Hyperparameters, string])[] = [['n_epochs', 'epochs'], ['batch_size', 'batch_size'], ['batch_size', 'batch_tokens'], ['learning_rate_multiplier', 'learning_rate'], ['beta', 'beta']];

/** @throws ApiError 400 where a hyperparameter and `graft.train` say the same thing */
export function refuseContradictions(body: FineTuningBody): void {
  const hyperparameters = hyperparametersOf(body);
  const train = body.graft?.train ?? {};
  const twice = SAID_TWICE.find(([name, option]) => (hyperparameters[name] ?? 'auto') !== 'auto' && Object.hasOwn(train, option));
  if (twice !== undefined) throw invalid(`'graft.train.${twice[1]}' and the hyperparameter '${twice[0]}' both say the same. Leave one of them out.`, `graft.train.${twice[1]}`, 'invalid_value');
}

/**
 * The run config of a request.
 * @param files absolute paths of its training and validation file
 */
export function runConfigOf(body: FineTuningBody, base: ServedBase, files: { readonly training: string; readonly validation: string | undefined }, places: { readonly name: string; readonly seed: number; readonly runsDir: string }): Record<string, unknown> {
  const { graft = {} } = body;
  const { preprocess, train, learningRate } = methodOf(body);
  const { n_epochs, batch_size, learning_rate_multiplier, beta } = hyperparametersOf(body);
  const given = (name: string, value: unknown): Record<string, unknown> => (value === undefined || value === 'auto' ? {} : { [name]: value });
  return {
    name: places.name,
    seed: places.seed,
    runs_dir: places.runsDir,
    ...(graft.engine === undefined ? {} : { engine: graft.engine }),
    load: { use: 'llama', ...base.load, ...graft.load, model: base.model },
    preprocess: [{ use: preprocess, ...graft.preprocess, data: files.training, ...(files.validation === undefined ? {} : { eval_data: files.validation }) }],
    inject: graft.inject ?? [LORA],
    train: {
      use: train,
      ...given('epochs', n_epochs),
      ...given('batch_size', batch_size),
      ...(typeof learning_rate_multiplier === 'number' ? { learning_rate: learningRate * learning_rate_multiplier } : {}),
      ...given('beta', beta),
      ...graft.train,
    },
  };
}
