import 'reflect-metadata';
import { createRequire } from 'node:module';
import type * as Tsyringe from 'tsyringe';

const require = createRequire(import.meta.url);
const tsyringe = require('tsyringe') as typeof Tsyringe;
/** Not exported by tsyringe: every decorated class of the process, with what its constructor takes. */
const { typeInfo } = require('tsyringe/dist/cjs/dependency-container.js') as { readonly typeInfo: Map<unknown, unknown> };
/** Nor is this: a look-up in any container leaves an empty entry in the registry of the global one. */
const { _registryMap: tokenToRegistrations } = (tsyringe.container as unknown as { _registry: { _registryMap: Map<unknown, readonly unknown[]> } })._registry;
type Class = Parameters<ReturnType<typeof Tsyringe.injectable>>[0];

/**
 * A generation's own injection container, and the tsyringe that its code imports, whose decorators register in that
 * container rather than in the process's global one. `dispose` takes the generation's classes out of tsyringe's global maps.
 */
export function createContainer(): { readonly container: Tsyringe.DependencyContainer; readonly tsyringe: typeof Tsyringe; dispose(): Promise<void> } {
  const container = tsyringe.container.createChildContainer();
  const classes: Class[] = [];
  const injectable: typeof Tsyringe.injectable = (options) => (target) => {
    classes.push(target);
    tsyringe.injectable()(target);
    for (const token of options?.token === undefined ? [] : [options.token].flat()) container.register(token, target);
  };
  return {
    container,
    tsyringe: {
      ...tsyringe,
      container,
      injectable,
      singleton: () => (target) => {
        injectable()(target);
        container.registerSingleton(target);
      },
      scoped: (lifecycle, token) => (target: Class) => {
        injectable()(target);
        container.register(token ?? target, target, { lifecycle });
      },
      registry: (registrations = []) => (target: unknown) => {
        for (const { token, options, ...provider } of registrations) container.register(token, provider as Tsyringe.ClassProvider<unknown>, options);
        return target;
      },
    },
    dispose: async () => {
      for (const each of classes.splice(0)) typeInfo.delete(each);
      for (const [token, registrations] of tokenToRegistrations) if (registrations.length === 0) tokenToRegistrations.delete(token);
      await container.dispose();
    },
  };
}
