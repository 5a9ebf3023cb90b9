import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GraftError, loadTrainables, saveTrainables, type Disposer, type Graft, type GraftTarget, type InjectCall, type SavedTrainable, type Site } from 'graft';
import { ADAPTER_FILE, adapterHubConfig, adapterNameIn, CONFIG_FILE, savedName, tensorNames } from './adapterhub.ts';
import { bottleneckWrap, createBottleneck, type Bottleneck } from './bottleneck.ts';
import { bottleneckSize, designOf, type Design } from './design.ts';
import type { AdapterOptions } from './options.ts';

/** One adapter in its place. */
interface Placed {
  readonly site: Site;
  /** `model.layers.0` */
  readonly layer: string;
  /** AdapterHub's name of the place. */
  readonly location: 'attention_adapters' | 'output_adapters';
  readonly tensors: Bottleneck;
}

/**
 * Grafts a trainable bottleneck - down, activation, up - onto blocks of the frozen model.
 * @throws GraftError `ADAPTER_OPTIONS` where options contradict each other or name a layer that the model has not
 */
export async function injectAdapter({ config, target, seed }: InjectCall<AdapterOptions>): Promise<Graft> {
  const d = target.config.hidden_size;
  const design = designOf(config, d);
  // Every size is known before the first tensor is made: a layer without one leaves none behind.
  const sized = placesOf(target, design).map(({ index, ...place }) => ({ ...place, size: bottleneckSize(d, design, index) }));
  const placed = sized.map(({ size, ...place }): Placed => ({ ...place, tensors: createBottleneck(d, size, design, seed, place.site.path) }));
  const detach: Disposer[] = placed.map(({ site, tensors }) => site.graft(bottleneckWrap(tensors, design, `adapter ${seed}`, target.engine.ops)));
  const trainables = placed.flatMap(({ layer, location, tensors }): readonly SavedTrainable[] =>
    tensorNames(tensors).map(({ name, copies, variable }) => ({
      name: savedName(layer, location, config.name, name),
      copies: copies?.map((copy) => savedName(layer, location, config.name, copy)),
      variable,
    })),
  );

  return {
    name: 'adapter',
    trainables,
    save: async (dir) => {
      await writeFile(join(dir, CONFIG_FILE), adapterHubConfig(config.name, design, target.config));
      await saveTrainables(join(dir, ADAPTER_FILE), trainables);
      return [CONFIG_FILE, ADAPTER_FILE];
    },
    load: async (dir) => {
      const theirs = await adapterNameIn(dir);
      const rename = (name: string): string => (theirs === undefined ? name : name.replace(`.adapters.${theirs}.`, `.adapters.${config.name}.`));
      await loadTrainables(join(dir, ADAPTER_FILE), trainables, { rename });
    },
    remove: () => {
      for (const undo of detach.splice(0).reverse()) void undo();
      for (const { variable } of trainables.splice(0)) variable.dispose();
    },
  };
}

/** The blocks that the design puts an adapter on, in the model's order. */
function placesOf(target: GraftTarget, design: Design): readonly (Omit<Placed, 'tensors'> & { readonly index: number })[] {
  const layers = target.config.num_hidden_layers;
  const absent = design.leave_out.findIndex((layer) => layer >= layers);
  if (absent >= 0) {
    throw new GraftError('ADAPTER_OPTIONS', `leave_out: the model has no layer ${design.leave_out[absent]}; its ${layers} layers are counted from 0.`, { option: ['leave_out', absent] });
  }
  const { reduction_factor: factors } = design;
  const unused = typeof factors === 'number' ? undefined : Object.keys(factors).find((key) => key !== 'default' && !(/^\d+$/.test(key) && Number(key) < layers));
  if (unused !== undefined) {
    throw new GraftError('ADAPTER_OPTIONS', `reduction_factor: the model has no layer ${JSON.stringify(unused)}; its ${layers} layers are counted from 0.`, { option: ['reduction_factor', unused] });
  }
  const places = [...target.sites.values()].flatMap((site) => {
    const [, layer, digits, block] = /^(.*\.(\d+))\.([^.]+)$/.exec(site.path) ?? [];
    if (site.kind !== 'block' || layer === undefined || design.leave_out.includes(Number(digits))) return [];
    const isAttention = block!.includes('attn') || block!.includes('attention');
    if (!(isAttention ? design.mh_adapter : design.output_adapter)) return [];
    return [{ site, layer, index: Number(digits), location: isAttention ? ('attention_adapters' as const) : ('output_adapters' as const) }];
  });
  if (places.length > 0) return places;
  throw new GraftError('ADAPTER_OPTIONS', 'leave_out leaves no layer for an adapter.', { option: ['leave_out'], hint: `Leave out fewer of the model's ${layers} layers.` });
}
