import { describe, expect, it } from 'vitest';
import type { Site } from '../../core/index.ts';
import { checkPatternsMatch, patternValue, selectLinearSites, type ModuleSelection } from '../../core/tensor/modules.ts';

/** The sites of a Llama of so many layers. */
function llamaSites(layers: number): ReadonlyMap<string, Site> {
  const site = (path: string, kind: Site['kind']): [string, Site] => [path, { path, kind, inFeatures: 4, outFeatures: 4, graft: () => () => {} }];
  const perLayer = Array.from({ length: layers }, (_, layer) => `model.layers.${layer}`).flatMap((prefix) => [
    ...['q_proj', 'k_proj', 'v_proj', 'o_proj'].map((name) => site(`${prefix}.self_attn.${name}`, 'linear')),
    site(`${prefix}.self_attn`, 'block'),
    ...['gate_proj', 'up_proj', 'down_proj'].map((name) => site(`${prefix}.mlp.${name}`, 'linear')),
    site(`${prefix}.mlp`, 'block'),
  ]);
  return new Map([...perLayer, site('lm_head', 'linear')]);
}

const select = (selection: ModuleSelection, layers = 12): readonly string[] => selectLinearSites(llamaSites(layers), selection).map((site) => site.path);

function refusal(selection: ModuleSelection, layers = 2): unknown {
  try {
    select(selection, layers);
  } catch (error) {
    return error;
  }
  throw new Error('nothing was refused');
}

describe('target_modules', () => {
  it('takes a name as the end of a path, after a dot', () => {
    expect(select({ target_modules: ['q_proj', 'mlp.up_proj'] }, 2)).toEqual([
      'model.layers.0.self_attn.q_proj',
      'model.layers.0.mlp.up_proj',
      'model.layers.1.self_attn.q_proj',
      'model.layers.1.mlp.up_proj',
    ]);
    expect(refusal({ target_modules: ['proj'] })).toMatchObject({ code: 'TARGET_MODULES_NO_MATCH' });
  });

  it('takes a regular expression that must match a whole path, in Python spelling too', () => {
    expect(select({ target_modules: String.raw`.*\.(?P<layer>[01])\.self_attn\.[qv]_proj` })).toHaveLength(4);
    expect(refusal({ target_modules: 'q_proj' })).toMatchObject({
      message: 'target_modules: as a regular expression for whole paths, "q_proj" matches no linear layer of this model.',
      option: ['target_modules'],
      hint: 'To name modules by their end, write a list: ["q_proj"].',
    });
  });

  it('takes all-linear for every linear layer but lm_head', () => {
    expect(select({ target_modules: 'all-linear' }, 2)).toHaveLength(14);
    expect(select({ target_modules: 'ALL-linear' }, 2)).not.toContain('lm_head');
    expect(select({ target_modules: ['lm_head'] }, 2)).toEqual(['lm_head']);
  });

  it('names the option, the nearest name and what there is when a name matches nothing', () => {
    expect(refusal({ target_modules: ['q_proj', 'v_prj'] })).toMatchObject({
      code: 'TARGET_MODULES_NO_MATCH',
      message: 'target_modules: "v_prj" matches no linear layer of this model. Did you mean "v_proj"?',
      option: ['target_modules', 1],
      hint: 'Linear layers: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head; or a whole path, such as model.layers.0.self_attn.q_proj.',
    });
  });

  it('refuses a broken regular expression with its reason', () => {
    expect(refusal({ target_modules: '(q_proj' })).toMatchObject({ code: 'MODULE_PATTERN', option: ['target_modules'], message: expect.stringMatching(/^target_modules: "\(q_proj" is not a regular expression: .+\.$/) });
  });
});

describe('exclude_modules and modules_to_save', () => {
  it('takes modules out again by suffix, by regular expression, and where they are trained in full', () => {
    expect(select({ target_modules: ['q_proj', 'v_proj'], exclude_modules: ['v_proj'] }, 1)).toEqual(['model.layers.0.self_attn.q_proj']);
    expect(select({ target_modules: ['q_proj'], exclude_modules: String.raw`.*\.0\..*` }, 2)).toEqual(['model.layers.1.self_attn.q_proj']);
    expect(select({ target_modules: ['q_proj', 'lm_head'], modules_to_save: ['lm_head'] }, 1)).toEqual(['model.layers.0.self_attn.q_proj']);
    expect(select({ target_modules: ['q_proj', 'up_proj'], modules_to_save: ['mlp'] }, 1)).toEqual(['model.layers.0.self_attn.q_proj']);
  });

  it('refuses an exclusion that excludes nothing, or everything', () => {
    expect(refusal({ target_modules: ['q_proj'], exclude_modules: ['q_porj'] })).toMatchObject({
      code: 'EXCLUDE_MODULES_NO_MATCH',
      option: ['exclude_modules', 0],
      message: 'exclude_modules: "q_porj" matches no linear layer of this model, so it excludes nothing. Did you mean "q_proj"?',
    });
    expect(refusal({ target_modules: ['q_proj'], exclude_modules: ['q_proj'] })).toMatchObject({
      code: 'TARGET_MODULES_EXCLUDED',
      message: 'every module that target_modules matches is taken out again by exclude_modules or modules_to_save: model.layers.0.self_attn.q_proj, model.layers.1.self_attn.q_proj.',
    });
  });
});

describe('layers_to_transform', () => {
  it('leaves modules of these layers, and tells layer 1 from layer 11', () => {
    expect(select({ target_modules: ['q_proj'], layers_to_transform: [1] })).toEqual(['model.layers.1.self_attn.q_proj']);
    expect(select({ target_modules: ['q_proj'], layers_to_transform: 11, layers_pattern: 'layers' })).toEqual(['model.layers.11.self_attn.q_proj']);
  });

  it('leaves a module named by its whole path where it is, as PEFT does', () => {
    expect(select({ target_modules: ['k_proj', 'model.layers.0.self_attn.q_proj'], layers_to_transform: [1] }, 2)).toEqual(['model.layers.0.self_attn.q_proj', 'model.layers.1.self_attn.k_proj']);
  });

  it('refuses a layer that the model has not', () => {
    expect(refusal({ target_modules: ['q_proj'], layers_to_transform: [1, 2] })).toMatchObject({
      code: 'LAYERS_TO_TRANSFORM',
      option: ['layers_to_transform', 1],
      message: 'layers_to_transform: no targeted module is in layer 2.',
    });
    expect(refusal({ target_modules: ['q_proj'], layers_to_transform: [0], layers_pattern: ['h'] })).toMatchObject({
      code: 'LAYERS_TO_TRANSFORM',
      message: 'layers_to_transform [0] leaves none of the targeted modules: model.layers.0.self_attn.q_proj, model.layers.1.self_attn.q_proj.',
    });
  });

  it('refuses layers beside a regular expression, and a layers_pattern without layers', () => {
    expect(refusal({ target_modules: 'all-linear', layers_to_transform: [0] })).toMatchObject({
      option: ['layers_to_transform'],
      message: 'layers_to_transform works only with a list of target_modules, not with "all-linear".',
    });
    expect(refusal({ target_modules: ['q_proj'], layers_pattern: 'layers' })).toMatchObject({
      option: ['layers_pattern'],
      message: 'layers_pattern says where the layer number stands in a path; layers_to_transform must say which layers.',
    });
  });
});

describe('rank_pattern and alpha_pattern', () => {
  it('takes the first pattern that matches the end of a path', () => {
    const patterns = { 'layers.1.self_attn.q_proj': 2, q_proj: 3, '^model.layers.0.*': 5 };
    expect(patternValue(patterns, 'model.layers.1.self_attn.q_proj', 8, 'rank_pattern')).toBe(2);
    expect(patternValue(patterns, 'model.layers.0.self_attn.q_proj', 8, 'rank_pattern')).toBe(3);
    expect(patternValue(patterns, 'model.layers.0.mlp.up_proj', 8, 'rank_pattern')).toBe(5);
    expect(patternValue(patterns, 'model.layers.1.self_attn.xq_proj', 8, 'rank_pattern')).toBe(8);
  });

  it('refuses a pattern that matches no targeted module', () => {
    expect(() => checkPatternsMatch({ o_proj: 4 }, ['model.layers.0.self_attn.q_proj'], 'rank_pattern')).toThrow('rank_pattern: "o_proj" matches none of the targeted modules. Did you mean "q_proj"?');
  });
});
