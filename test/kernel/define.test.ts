import { definePlugin, token, Type, type EngineProvider, type Graft, type InjectHook, type PluginDefinition, type Token, type TrainEvent } from 'graft';
import { describe, expect, expectTypeOf, it } from 'vitest';

const never = (): never => {
  throw new Error('not called in this test');
};

// What the compiler is held to here is checked by `npm run typecheck`, which reads the tests too.
describe('definePlugin', () => {
  it('infers the type of a hook\'s config from the schema', () => {
    const plugin = definePlugin({
      stage: 'inject',
      config: Type.Object({ r: Type.Integer({ default: 8 }), name: Type.Optional(Type.String()), mode: Type.Union([Type.Literal('fast'), Type.Literal('exact')]) }),
      setup: () => ({
        inject: async ({ config, target, signal }) => {
          expectTypeOf(config).toEqualTypeOf<{ r: number; name?: string; mode: 'fast' | 'exact' }>();
          expectTypeOf(target.sites.get('x')!.outFeatures).toEqualTypeOf<number>();
          expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
          return never();
        },
      }),
    });
    expectTypeOf(plugin).toEqualTypeOf<PluginDefinition>();
    expect(plugin).toMatchObject({ kind: 'graft-plugin', stage: 'inject', needs: {} });
    expect(Object.isFrozen(plugin)).toBe(true);
  });

  it('infers the types of what a plugin needs from their tokens', () => {
    const lora = token<InjectHook<{ r: number }>>('inject:lora');
    const clock = token<{ now(): Date }>('clock');
    const plugin = definePlugin({
      stage: 'inject',
      config: Type.Object({}),
      needs: { lora, clock },
      setup: ({ needs, scope, container }) => {
        expectTypeOf(needs.lora).toEqualTypeOf<InjectHook<{ r: number }>>();
        expectTypeOf(needs.clock.now()).toEqualTypeOf<Date>();
        expectTypeOf(scope.use('x', 1, () => {})).toEqualTypeOf<number>();
        expectTypeOf(container.resolve(Date)).toEqualTypeOf<Date>();
        // @ts-expect-error there is no such need
        void needs.timer;
        return { inject: never };
      },
    });
    expect(plugin.needs).toEqual({ lora: { name: 'inject:lora' }, clock: { name: 'clock' } });
    expectTypeOf<typeof lora>().toExtend<Token<unknown>>();
  });

  it('asks of setup the hook of the stage, or the service of the token', () => {
    definePlugin({
      stage: 'train',
      config: Type.Object({ epochs: Type.Integer() }),
      setup: async () => ({
        plan: never,
        train: async function* ({ config }): AsyncGenerator<TrainEvent> {
          expectTypeOf(config.epochs).toEqualTypeOf<number>();
          yield never();
        },
      }),
    });
    // @ts-expect-error a train plugin must plan, too
    definePlugin({ stage: 'train', config: Type.Object({}), setup: () => ({ train: never }) });
    // @ts-expect-error inject returns a graft
    definePlugin({ stage: 'inject', config: Type.Object({}), setup: () => ({ inject: async () => 1 }) });
    // @ts-expect-error there is no such stage
    definePlugin({ stage: 'deploy', config: Type.Object({}), setup: () => ({}) });
    const provider = definePlugin({ provides: token<EngineProvider>('engine:mine'), config: Type.Object({}), setup: () => ({ preference: () => 1, probe: never, start: never }) });
    expect(provider.provides).toEqual({ name: 'engine:mine' });
    // @ts-expect-error the service lacks probe and start
    definePlugin({ provides: token<EngineProvider>('engine:mine'), config: Type.Object({}), setup: () => ({ preference: () => 1 }) });
  });

  it('returns a graft from inject', () => {
    expectTypeOf<ReturnType<InjectHook['inject']>>().toEqualTypeOf<Promise<Graft>>();
    expect(token('a')).toEqual({ name: 'a' });
  });
});
