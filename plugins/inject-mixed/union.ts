/**
 * AdapterHub's `ConfigUnion` of a bottleneck adapter and a LoRA, taken apart into AdapterHub's format of the one and
 * PEFT's of the other, and put together again.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonJson, readJsonFile, readTensors, writeTensors, type NamedTensors } from 'graft';
import { loraFromPeft, loraToPeft, peftName, unionName } from './union-lora.ts';

export const UNION_PARTS = ['lora', 'adapter'] as const;
export type Part = (typeof UNION_PARTS)[number];

type Fields = Readonly<Record<string, unknown>>;

const CONFIG = 'adapter_config.json';
const HUB_WEIGHTS = 'adapter.safetensors';
const PEFT_WEIGHTS = 'adapter_model.safetensors';

/** Fields that AdapterHub asks to be floats. */
const FLOATS = ['scaling', 'dropout', 'stochastic_depth'];

/** Whether a folder holds an AdapterHub union of just these two methods. */
export async function isUnion(dir: string): Promise<boolean> {
  const configs = configsOf(await readJsonFile(join(dir, CONFIG)));
  return configs?.length === 2 && configs.some(isBottleneck) && configs.some(isLora);
}

/** Writes `lora/` and `adapter/` into a folder. */
export async function splitUnion(dir: string, apart: string): Promise<void> {
  const file = await readJsonFile(join(dir, CONFIG));
  const configs = configsOf(file);
  const lora = configs?.find(isLora);
  const adapter = configs?.find(isBottleneck);
  if (file === undefined || lora === undefined || adapter === undefined) throw new Error(`${dir} is not a union`);
  const name = String(file['name']);
  const tensors = await readTensors(join(dir, HUB_WEIGHTS));
  const ofLora = [...tensors].filter(([key]) => key.includes(`.loras.${name}.`));
  const others = [...tensors].filter(([key]) => !key.includes(`.loras.${name}.`));
  await writePart(join(apart, 'lora'), loraToPeft(lora, ofLora.map(([key]) => key), join(dir, CONFIG)), PEFT_WEIGHTS, new Map(ofLora.map(([key, tensor]) => [peftName(key, name), tensor])));
  await writePart(join(apart, 'adapter'), { ...file, config: adapter }, HUB_WEIGHTS, new Map(others));
}

/**
 * Writes the union of `lora/` and `adapter/` as AdapterHub does.
 * @param layerCount of the model
 * @returns the names of the files written
 * @throws GraftError `UNION_UNSUPPORTED` where AdapterHub's LoRA can't say what this one does
 */
export async function joinUnion(apart: string, dir: string, layerCount: number): Promise<readonly string[]> {
  const adapter = await readJsonFile(join(apart, 'adapter', CONFIG));
  const peft = await readJsonFile(join(apart, 'lora', CONFIG));
  if (adapter === undefined || peft === undefined) throw new Error(`${apart} does not hold lora/ and adapter/`);
  const name = String(adapter['name']);
  const ofLora = await readTensors(join(apart, 'lora', PEFT_WEIGHTS));
  const ofAdapter = await readTensors(join(apart, 'adapter', HUB_WEIGHTS));
  const lora = loraFromPeft(peft, [...ofLora.keys()], layerCount);
  const joined: NamedTensors = new Map([...ofAdapter, ...[...ofLora].map(([key, tensor]) => [unionName(key, name), tensor] as const)].sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFile(join(dir, CONFIG), pythonJson({ ...adapter, config: { architecture: 'union', configs: [adapter['config'], lora] } }, FLOATS));
  await writeTensors(join(dir, HUB_WEIGHTS), joined);
  return [CONFIG, HUB_WEIGHTS];
}

async function writePart(dir: string, config: Fields, weights: string, tensors: NamedTensors): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, CONFIG), JSON.stringify(config));
  await writeTensors(join(dir, weights), tensors);
}

function configsOf(file: Fields | undefined): readonly Fields[] | undefined {
  const config = file?.['config'] as { architecture?: unknown; configs?: unknown } | null | undefined;
  return config?.architecture === 'union' && Array.isArray(config.configs) ? (config.configs as Fields[]) : undefined;
}

const isBottleneck = (config: Fields): boolean => config['architecture'] == null && 'mh_adapter' in config;
const isLora = (config: Fields): boolean => config['architecture'] === 'lora';
